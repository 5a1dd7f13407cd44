"""Several models in one program: kernels shared, as sources and as libraries, from C and from C++."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from rnnpool_mcu.ir.evaluate import evaluate_graph, image_to_int8
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.pipeline import Target, generate
from tests.graphs import INPUT, GraphBuilder

NAMES = ("first", "second", "third")
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Werror")
ARM = ("-mcpu=cortex-m4", "-mthumb", "-O2", "-ffunction-sections", "-fdata-sections")


def _network(number: int) -> Graph:
    """The same kernels in every one, with other weights; the later ones have more outputs."""
    builder = GraphBuilder(TensorType(8, 6, 3, Quantization(1 / 255, -128)), seed=number)
    value = builder.residual(builder.conv(INPUT, 4, 3, 2))
    heads = [builder.conv(value, 2) for _ in range(number)]
    return builder.graph(*heads, builder.classifier(value, 3))


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Graph]]:
    """A folder with one of C for each model, and the models."""
    root = tmp_path_factory.mktemp("models")
    found = {name: _network(number) for number, name in enumerate(NAMES)}
    for name, graph in found.items():
        target = Target(name, 2**18, "streamed", "mps2-an386", "test", "none", labels=("a", 'b"?', "ü"))
        generate(graph, target, root / name, place_effort=0)
    return root, found


def _run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)


def _done(*command: object, cwd: Path) -> str:
    made = _run(*command, cwd=cwd)
    assert made.returncode == 0, made.stderr
    return made.stdout


def _objects(compiler: str, source: Path, out: Path, *flags: str) -> list[Path]:
    """The objects of one model; nothing but its own folder is searched for headers."""
    out.mkdir(parents=True)
    made = []
    for file in sorted(source.rglob("*.c")):
        made.append(out / f"{file.stem}.o")
        _done(compiler, "-std=c99", *WARNINGS, *flags, "-c", file, "-o", made[-1], cwd=out)
    return made


def _main(names: tuple[str, ...]) -> str:
    """Runs every model on the image of counting bytes and prints its outputs."""
    includes = "".join(f'#include "{name}.h"\n' for name in names)
    runs = "".join(
        f"    {{\n        static {name}_output out;\n"
        f"        if ({name}_run(arena, row, 0, &out) != {name.upper()}_OK) return 1;\n"
        "        show(&out, sizeof out);\n    }\n"
        for name in names
    )
    return (
        f"{includes}#include <stdio.h>\n"
        "static uint8_t pixels[18];\n"
        "#ifdef __cplusplus\nalignas(8)\n#else\n_Alignas(8)\n#endif\nstatic uint8_t arena[65536];\n"
        "static const uint8_t *row(void *user, int32_t y)\n{\n    (void)user;\n"
        "    for (int i = 0; i < 18; ++i) pixels[i] = (uint8_t)(y * 18 + i);\n    return pixels;\n}\n"
        "static void show(const void *out, unsigned long bytes)\n{\n"
        '    for (unsigned long i = 0; i < bytes; ++i) printf("%d ", ((const signed char *)out)[i]);\n'
        '    printf("\\n");\n}\n'
        f"int main(void)\n{{\n{runs}    return 0;\n}}\n"
    )


def _expected(graph: Graph) -> list[int]:
    image = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)
    values = evaluate_graph(graph, image_to_int8(image))
    return [int(v) for name in graph.outputs for v in values[name].ravel()]


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("form", ["sources", "libraries"])
def test_models_share_their_kernels_in_one_program(
    graphs: tuple[Path, dict[str, Graph]], tmp_path: Path, form: str, count: int
) -> None:
    root, models = graphs
    names = NAMES[:count]
    (tmp_path / "main.c").write_text(_main(names))
    linked: list[object] = []
    for name in names:
        objects = _objects("gcc", root / name / "src", tmp_path / name)
        if form == "libraries":
            _done("ar", "rcs", f"lib{name}.a", *objects, cwd=tmp_path)
        linked += objects if form == "sources" else [f"lib{name}.a"]
    includes = [f"-I{root / name / 'src'}" for name in names]
    _done("gcc", "-std=c11", *WARNINGS, *includes, "main.c", *linked, "-o", "main", cwd=tmp_path)
    lines = _done(tmp_path / "main", cwd=tmp_path).splitlines()
    assert [[int(v) for v in line.split()] for line in lines] == [_expected(models[name]) for name in names]


@pytest.mark.parametrize("form", ["sources", "libraries"])
def test_kernels_of_two_versions_do_not_link(
    graphs: tuple[Path, dict[str, Graph]], tmp_path: Path, form: str
) -> None:
    root, _ = graphs
    first = _objects("gcc", root / "first" / "src", tmp_path / "first")
    other = tmp_path / "other"
    for file in (root / "second" / "src").rglob("*.*"):
        path = other / file.relative_to(root / "second" / "src")
        path.parent.mkdir(parents=True, exist_ok=True)
        text = file.read_text().replace(
            "another_version_of_conv2d_s8, 0x", "another_version_of_conv2d_s8, 0x1"
        )
        path.write_text(text)
    second = _objects("gcc", other, tmp_path / "second")
    (tmp_path / "main.c").write_text(_main(("first", "second")))
    linked: list[object] = [*first, *second]
    if form == "libraries":
        _done("ar", "rcs", "libfirst.a", *first, cwd=tmp_path)
        _done("ar", "rcs", "libsecond.a", *second, cwd=tmp_path)
        linked = ["libfirst.a", "libsecond.a"]
    includes = [f"-I{root / 'first' / 'src'}", f"-I{other}"]
    made = _run("gcc", "-std=c11", *includes, "main.c", *linked, "-o", "main", cwd=tmp_path)
    assert made.returncode != 0
    assert "multiple definition of `another_version_of_conv2d_s8'" in made.stderr


def test_a_firmware_in_cpp_holds_each_kernel_once(
    graphs: tuple[Path, dict[str, Graph]], tmp_path: Path
) -> None:
    root, _ = graphs
    names = NAMES[:2]
    body = "".join(f"static {n}_output {n}_out; " for n in names)
    calls = " | ".join(f"{n}_run(arena, row, nullptr, &{n}_out)" for n in names)
    (tmp_path / "main.cpp").write_text(
        "".join(f'#include "{name}.h"\n' for name in names)
        + "static const char *const classes[FIRST_CLASSES] = FIRST_CLASS_NAMES;\n"
        f"alignas(8) static uint8_t arena[65536];\n{body}\n"
        "extern const uint8_t *row(void *, int32_t);\n"
        "const uint8_t *row(void *, int32_t) { return arena; }\n"
        "const char *name_of(int i);\nconst char *name_of(int i) { return classes[i]; }\n"
        f"int main() {{ return {calls}; }}\n"
    )
    includes = [f"-I{root / name / 'src'}" for name in names]
    cpp = ("-std=c++17", "-Wpedantic", "-fno-exceptions", "-fno-rtti")
    _done("arm-none-eabi-g++", *cpp, *WARNINGS, *ARM, *includes, "-c", "main.cpp", cwd=tmp_path)
    objects = [o for n in names for o in _objects("arm-none-eabi-gcc", root / n / "src", tmp_path / n, *ARM)]
    link = ("-nostartfiles", "-Wl,--gc-sections", "-Wl,-e,main", "-Wl,-Map=map")
    _done("arm-none-eabi-gcc", *ARM, *link, "main.o", *objects, "-o", "main.elf", cwd=tmp_path)
    discarded, kept = (tmp_path / "map").read_text().split("Memory Configuration")
    of_model = r"\.text\.add_s8\s+0x[0-9a-f]+\s+0x0*[1-9a-f][0-9a-f]*\s+\S*/{}/add_s8_m4\.o"
    assert re.search(of_model.format("first"), kept)
    assert re.search(of_model.format("second"), discarded)
    assert not re.search(of_model.format("second"), kept)


def test_class_names_are_written_as_c_reads_them(
    graphs: tuple[Path, dict[str, Graph]], tmp_path: Path
) -> None:
    root, _ = graphs
    (tmp_path / "main.c").write_text(
        '#include "first.h"\n#include <stdio.h>\n'
        "int main(void)\n{\n    static const char *const names[FIRST_CLASSES] = FIRST_CLASS_NAMES;\n"
        "    for (int i = 0; i < FIRST_CLASSES; ++i) puts(names[i]);\n    return 0;\n}\n"
    )
    _done("gcc", "-std=c99", *WARNINGS, f"-I{root / 'first' / 'src'}", "main.c", "-o", "main", cwd=tmp_path)
    assert _done(tmp_path / "main", cwd=tmp_path).splitlines() == ["a", 'b"?', "ü"]
