"""Flash and static RAM of a built image, told apart by the output sections of `sections.ld`."""

from __future__ import annotations

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from rnnpool_mcu.ir.firmware import ElfImage, FlashAndStatic

_HARNESS_SECTIONS = (".vectors", ".text", ".rodata", ".ARM.exidx", ".ARM.extab")


def measure(elf: ElfImage) -> FlashAndStatic:
    """The sizes of `elf`'s sections in bytes, as linked."""
    with elf.path.open("rb") as file:
        image = ELFFile(file)
        sizes = {section.name: int(section["sh_size"]) for section in image.iter_sections()}
        arena_region, weights_log2 = (
            _symbol(image, "__arena_region_bytes"),
            _symbol(image, "__weights_log2_bytes"),
        )
        used_bytes = _symbol(image, "__ram_used_end") - _symbol(image, "__ram_start")
    return FlashAndStatic(
        model_code_bytes=sizes.get(".model_text", 0),
        model_constants_bytes=sizes.get(".model_rodata", 0),
        weights_bytes=sizes.get(".weights", 0),
        library_bytes=sizes.get(".library", 0),
        harness_flash_bytes=sum(sizes.get(name, 0) for name in _HARNESS_SECTIONS),
        data_bytes=sizes.get(".data", 0),
        bss_bytes=sizes.get(".bss", 0),
        buffers_bytes=sizes.get(".buffers", 0),
        arena_bytes=sizes.get(".arena", 0),
        stack_reserve_bytes=sizes.get(".stack", 0),
        ram_without_stack_bytes=used_bytes - sizes.get(".stack", 0),
        arena_region_bytes=arena_region,
        shared_protection=arena_region > 0 or weights_log2 > 0,
    )


def _symbol(image: ELFFile, name: str) -> int:
    """The value of a linker script's symbol."""
    table = image.get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection), "our linker command never strips"
    symbols = table.get_symbol_by_name(name)
    assert symbols, f"sections.ld defines {name}"
    return int(symbols[0]["st_value"])
