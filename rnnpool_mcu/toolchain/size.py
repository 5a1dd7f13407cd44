"""Flash and static RAM of a built image, told apart by the output sections of `sections.ld`."""

from __future__ import annotations

from elftools.elf.elffile import ELFFile

from rnnpool_mcu.ir.firmware import ElfImage, FlashAndStatic

_HARNESS_SECTIONS = (".vectors", ".text", ".rodata", ".ARM.exidx", ".ARM.extab")


def measure(elf: ElfImage) -> FlashAndStatic:
    """The sizes of `elf`'s sections in bytes, as linked."""
    with elf.path.open("rb") as file:
        sizes = {section.name: int(section["sh_size"]) for section in ELFFile(file).iter_sections()}
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
    )
