"""Generated C with states and several inputs: sequences give the definition's bytes on host and board."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.batch import Batch
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.add import Add
from rnnpool_mcu.ops.concat import HEIGHT, Concat
from rnnpool_mcu.ops.graph_file import FILE_NAME, load_graph
from rnnpool_mcu.pipeline import Target, generate
from rnnpool_mcu.run import host, qemu
from rnnpool_mcu.validate.engines import run_reference, validate
from tests.graphs import INPUT, GraphBuilder
from tests.streaming_graphs import SUM, streaming_graphs

RAM_BYTES = 256 * 1024
IMAGE = Quantization(1 / 255, -128)


def _generate(graph: Graph, folder: Path, image: str) -> None:
    target = Target("net", RAM_BYTES, image, "mps2-an386", "test network", "none")
    generate(graph, target, folder, place_effort=0)


def _batch(graph: Graph, count: int = 5) -> Batch:
    """Two sequences, of three runs and of the rest."""
    rng = np.random.default_rng(1)
    shapes = [(count, *given.type.shape) for given in graph.inputs]
    batch = Batch.sequence(*(rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes))
    batch.starts[3] = True
    return batch


@settings(
    max_examples=4,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(streaming_graphs())
def test_random_sequences_on_the_host_under_sanitizers(graph: Graph) -> None:
    for image in ("streamed", "resident"):
        with tempfile.TemporaryDirectory() as folder:
            _generate(graph, Path(folder), image)
            batch = _batch(graph)
            expected = run_reference(graph, batch, lambda _: None, trace=True)
            actual = host.run(Path(folder), batch, trace=True, sanitize=True)
            assert actual.traces == expected.traces
            assert actual.outputs == expected.outputs


def _listener() -> Graph:
    """A ring of frames, a recurrence with margins, an input that is read late; odd sizes."""
    builder = GraphBuilder(TensorType(3, 7, 5, IMAGE))
    context = builder.another_input(TensorType(8, 7, 5, SUM))
    ring = builder.state(TensorType(5, 7, 5, IMAGE))
    builder.takes(ring, INPUT)
    window = builder.add(Concat(IMAGE, HEIGHT), ring, INPUT)
    before = builder.state(TensorType(8, 7, 5, SUM), initial=-3)
    mixed = builder.add(Add(SUM), builder.depthwise(window), builder.conv(before, 5, 3))
    found = builder.add(Add(SUM), mixed, context)
    builder.takes(before, found)
    return builder.graph(builder.classifier(builder.conv(found, 6, 3, 2), 3), builder.conv(before, 1))


@pytest.mark.parametrize("image", ["streamed", "resident"])
def test_sequences_on_the_emulated_board(tmp_path: Path, image: str) -> None:
    graph = _listener()
    _generate(graph, tmp_path, image)
    batch = _batch(graph)
    expected = run_reference(graph, batch, lambda _: None, trace=True)
    assert len(set(expected.outputs)) == len(batch)
    actual = qemu.run(tmp_path, batch, trace=True, jobs=2)
    assert actual.traces == expected.traces
    assert actual.outputs == expected.outputs
    assert actual.memory is not None and actual.memory.state == Project.load(tmp_path).state_bytes > 0


def test_the_definition_in_the_folder_has_states_and_inputs(tmp_path: Path) -> None:
    graph = _listener()
    _generate(graph, tmp_path, "streamed")
    read, batch = load_graph(tmp_path / FILE_NAME), _batch(graph)
    results = [run_reference(one, batch, lambda _: None).outputs for one in (graph, read)]
    assert results[0] == results[1]
    project = Project.load(tmp_path)
    assert [given.field for given in project.inputs] == ["input", "input2"]
    assert project.image_bytes == 3 * 7 * 5 + 8 * 7 * 5


def test_a_difference_is_found_in_the_run_where_it_begins(tmp_path: Path) -> None:
    graph = _listener()
    _generate(graph, tmp_path, "streamed")
    source = tmp_path / "src" / "net.c"
    text = source.read_text(encoding="utf-8")
    kept = "net_keep(arena, state);"
    broken = text.replace(f"    {kept}", f"    if (made.input == 0) {{ {kept} }}", 1)
    assert broken != text
    source.write_text(broken, encoding="utf-8")
    batch = _batch(graph)
    reference = run_reference(graph, batch, lambda _: None)
    outcome, _ = validate(tmp_path, "c", batch, reference, lambda _: None)
    assert not outcome.bit_exact
    assert outcome.first_difference is not None and outcome.first_difference.startswith("image 1, layer 1 ")


def test_inputs_of_another_shape_or_number_are_refused(tmp_path: Path) -> None:
    graph = _listener()
    _generate(graph, tmp_path, "streamed")
    first, second = _batch(graph).inputs
    with pytest.raises(UsageError, match="allowed: as many of each of 'input'"):
        host.run(tmp_path, Batch.sequence(first))
    with pytest.raises(UsageError, match="input 'input2' for 'net' are uint8"):
        host.run(tmp_path, Batch.sequence(first, second[:, :5]))
    with pytest.raises(UsageError, match="as many of each"):
        host.run(tmp_path, Batch.sequence(first, second[:2]))


DRIVER = """
#include <stdio.h>
#include <string.h>
#include "net.h"

static uint8_t arena[NET_ARENA_BYTES] __attribute__((aligned(8)));
static const uint8_t pixels[2][NET_INPUT2_HEIGHT * NET_INPUT2_WIDTH * NET_INPUT2_CHANNELS];

/* rows of an input until a limit */
typedef struct { const uint8_t *from; int32_t limit; } supply;

static const uint8_t *rows(void *user, int32_t y)
{
    const supply *s = user;
    return y < s->limit ? s->from + y * NET_INPUT_WIDTH * NET_INPUT_CHANNELS : NULL;
}

int main(void)
{
    net_state state, before;
    net_output out;
    supply frames = {pixels[0], 3}, context = {pixels[1], 8};
    const net_inputs in = {.input = {rows, &frames}, .input2 = {rows, &context}};
    net_reset(&state);
    if (net_run(arena, &state, &in, &out) != NET_OK) { return 1; }
    memcpy(&before, &state, sizeof state);
    context.limit = 7; /* the last row never comes */
    if (net_run(arena, &state, &in, &out) != NET_NO_ROW) { return 2; }
    if (memcmp(&before, &state, sizeof state) != 0) { return 3; }
    net_reset(&state);
    return memcmp(&before, &state, sizeof state) != 0 && sizeof state == NET_STATE_BYTES ? 0 : 4;
}
"""


def test_a_run_that_fails_leaves_the_state_as_it_was(tmp_path: Path) -> None:
    _generate(_listener(), tmp_path, "streamed")
    (tmp_path / "main.c").write_text(DRIVER, encoding="utf-8")
    sources = [str(path) for path in (tmp_path / "src").rglob("*.c")]
    folders = [f"-I{tmp_path / 'src' / name}" for name in ("", "include", "kernels")]
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-fsanitize=address,undefined"]
    subprocess.run(
        ["gcc", *flags, *folders, str(tmp_path / "main.c"), *sources, "-o", str(tmp_path / "main")],
        check=True,
    )
    assert subprocess.run([str(tmp_path / "main")], check=False).returncode == 0
