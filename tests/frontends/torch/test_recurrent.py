"""nn.GRU and nn.LSTM: quantized they follow the float module, in C they are the integer graph."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from rnnpool_mcu.api import import_torch  # noqa: E402
from rnnpool_mcu.errors import ModelError  # noqa: E402
from rnnpool_mcu.importing.imported import Calibration  # noqa: E402
from rnnpool_mcu.importing.torch_program import ImportedProgram, as_program, load_pt2, runtime_of  # noqa: E402
from rnnpool_mcu.passes import run_passes  # noqa: E402
from rnnpool_mcu.pipeline import Target, generate  # noqa: E402
from rnnpool_mcu.run import host, qemu  # noqa: E402
from rnnpool_mcu.validate.engines import run_reference  # noqa: E402
from rnnpool_mcu.validate.source import RECURRENT_STEPS, compare_with_source  # noqa: E402

INPUTS, UNITS = 5, 8
LEAST_DB = 30.0
"""Of the integer graph's signal over its error against the float module."""
Read = Callable[[Any, Tensor], Tensor]


class Recurrent(nn.Module):
    """A layer of gates, and what is read of it."""

    def __init__(
        self, kind: type[nn.RNNBase], read: Read, layers: tuple[nn.Module, ...] = (), **options: Any
    ):
        super().__init__()
        settings = {"batch_first": True} | options
        self.cells, self.read = kind(INPUTS, UNITS, **settings), read  # type: ignore[arg-type]
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """x [1, steps, INPUTS]."""
        return self.read(self, x)


def all_steps(model: Any, x: Tensor) -> Tensor:
    return model.cells(x)[0]


def last_step(model: Any, x: Tensor) -> Tensor:
    return model.cells(x)[0][:, -1]


def mean_of_steps(model: Any, x: Tensor) -> Tensor:
    return model.cells(x)[0].mean(1)


def final_state(model: Any, x: Tensor) -> Tensor:
    states = model.cells(x)[1]
    states = states[0] if isinstance(states, tuple) else states
    both = model.cells.bidirectional
    return torch.cat((states[-2], states[-1]), 1) if both else states[-1]


def time_major(model: Any, x: Tensor) -> Tensor:
    return model.cells(x.permute(1, 0, 2))[0][-1]


def own_zeros(model: Any, x: Tensor) -> Tensor:
    h = x.new_zeros(model.cells.num_layers, x.size(0), UNITS)
    return model.cells(x, h if isinstance(model.cells, nn.GRU) else (h, torch.zeros(h.shape)))[0]


def second_direction(model: Any, x: Tensor) -> Tensor:
    return model.cells(x)[0].chunk(2, -1)[1]


def behind_a_convolution(model: Any, x: Tensor) -> Tensor:
    return model.layers[1](model.cells(torch.relu(model.layers[0](x.transpose(1, 2))).transpose(1, 2))[0])


def imported(model: nn.Module, steps: int = 12, seed: int = 0) -> ImportedProgram:
    """Quantized on eight random sequences."""
    generator = torch.Generator().manual_seed(seed)
    shape = (1, steps, INPUTS)
    return import_torch(model.eval(), torch.zeros(shape), torch.randn((8, *shape[1:]), generator=generator))


def sqnr(found: ImportedProgram) -> float:
    """Of the worst output."""
    assert found.floating is not None
    return min(output.sqnr_db for output in found.floating.compare().outputs)


def seeded(*arguments: Any, seed: int = 0, **options: Any) -> Recurrent:
    torch.manual_seed(seed)
    return Recurrent(*arguments, **options)


FORMS: dict[str, tuple[Read, dict[str, Any]]] = {
    "all_steps": (all_steps, {}),
    "last_step": (last_step, {}),
    "mean_of_steps": (mean_of_steps, {}),
    "final_state": (final_state, {"num_layers": 3}),
    "no_biases": (all_steps, {"bias": False}),
    "both_directions": (all_steps, {"bidirectional": True}),
    "both_final_states": (final_state, {"bidirectional": True, "num_layers": 2}),
    "second_direction": (second_direction, {"bidirectional": True}),
    "time_major": (time_major, {"batch_first": False}),
    "own_zeros": (own_zeros, {"num_layers": 2}),
    "dropout_that_is_off": (all_steps, {"num_layers": 2, "dropout": 0.5}),
}


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
@pytest.mark.parametrize("form", FORMS)
def test_it_follows_the_float_module(kind: type[nn.RNNBase], form: str) -> None:
    read, options = FORMS[form]
    assert sqnr(imported(seeded(kind, read, **options))) > LEAST_DB


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_each_layer_is_the_quantized_modules(kind: type[nn.RNNBase]) -> None:
    """Whose weights are what int8 holds: but for what the rounded states of a long sequence add up to."""
    model = seeded(kind, all_steps, num_layers=2, bidirectional=True)
    for parameter in model.parameters():
        parameter.data *= 2
    found = imported(model, steps=60)
    pixels = np.random.default_rng(0).integers(0, 256, (3, *found.graph.input_type.shape), dtype=np.uint8)
    compared = compare_with_source(found.graph, found.runtime(), found.sources, pixels)
    assert [layer.layer for layer in compared.layers if not layer.agrees] == []
    assert max(layer.worst_alone for layer in compared.layers) <= RECURRENT_STEPS
    assert compared.rate_alone < 0.3


@pytest.mark.parametrize(
    "cell", [nn.GRUCell(INPUTS, UNITS), nn.GRUCell(INPUTS, UNITS, bias=False), nn.LSTMCell(INPUTS, UNITS)]
)
def test_a_cell_from_zeros_is_a_layer_of_one_step(cell: nn.Module) -> None:
    class Once(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = cell

        def forward(self, x: Tensor) -> Tensor:
            state = self.cell(x)
            return state[0] if isinstance(state, tuple) else state

    found = import_torch(Once().eval(), torch.zeros(1, INPUTS), torch.randn(8, INPUTS))
    assert sqnr(found) > LEAST_DB


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    st.sampled_from([nn.GRU, nn.LSTM]),
    st.sampled_from([all_steps, last_step, mean_of_steps, final_state]),
    st.fixed_dictionaries(
        {
            "num_layers": st.integers(1, 3),
            "bidirectional": st.booleans(),
            "bias": st.booleans(),
            "batch_first": st.just(True),
        }
    ),
    st.integers(1, 40),
    st.integers(0, 2**31 - 1),
    st.floats(0.2, 3.0),
)
def test_random_layers_follow_the_float_module(
    kind: type[nn.RNNBase], read: Read, options: dict[str, Any], steps: int, seed: int, factor: float
) -> None:
    model = seeded(kind, read, seed=seed % 2**31, **options)
    for parameter in model.parameters():
        parameter.data *= factor
    assert sqnr(imported(model, steps, seed)) > 20.0


NETWORKS = {
    "gru": lambda: seeded(nn.GRU, last_step, num_layers=2),
    "gru_of_both_directions": lambda: seeded(nn.GRU, all_steps, bidirectional=True),
    "lstm_behind_a_convolution": lambda: seeded(
        *(nn.LSTM, behind_a_convolution, (nn.Conv1d(INPUTS, INPUTS, 3), nn.Linear(2 * UNITS, 3))),
        bidirectional=True,
    ),
}


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
@pytest.mark.parametrize("name", NETWORKS)
def test_generated_c_is_the_integer_graph(name: str, tmp_path: Path) -> None:
    graph = run_passes(imported(NETWORKS[name]()).graph)
    pixels = np.random.default_rng(1).integers(0, 256, (3, *graph.input_type.shape), dtype=np.uint8)
    expected = run_reference(graph, pixels, lambda _: None).outputs
    assert len(set(expected)) > 1
    generate(graph, Target("net", 65536, "streamed", "mps2-an386", name, name), tmp_path, place_effort=0)
    assert host.run(tmp_path, pixels, sanitize=True).outputs == expected
    if shutil.which("qemu-system-arm") and shutil.which("arm-none-eabi-gcc"):
        assert qemu.run(tmp_path, pixels).outputs == expected


def test_files_give_the_same_graph_as_the_module(tmp_path: Path) -> None:
    """A float file with its sequences, and the quantized one."""
    model = seeded(nn.LSTM, last_step).eval()
    sequences = np.random.default_rng(0).normal(0, 1, (8, 12, INPUTS)).astype(np.float32)
    found = import_torch(model, torch.zeros(1, 12, INPUTS), sequences)
    torch.export.save(as_program(found.module, *found.shapes), tmp_path / "int8.pt2")
    torch.export.save(torch.export.export(model, (torch.zeros(1, 12, INPUTS),)), tmp_path / "float.pt2")
    np.save(tmp_path / "sequences.npy", sequences)
    from_float = load_pt2(tmp_path / "float.pt2", Calibration(tmp_path / "sequences.npy"))
    quantized, runtime = runtime_of(tmp_path / "int8.pt2")
    pixels = np.random.default_rng(2).integers(0, 256, (4, *found.graph.input_type.shape), dtype=np.uint8)
    graphs = [run_passes(found.graph), from_float.graph, run_passes(quantized.graph)]
    outputs = [run_reference(graph, pixels, lambda _: None).outputs for graph in graphs]
    assert outputs[0] == outputs[1] == outputs[2]
    compared = compare_with_source(quantized.graph, runtime, quantized.sources, pixels)
    assert all(layer.agrees for layer in compared.layers)


def computed_state(model: Any, x: Tensor) -> Tensor:
    return model.cells(x, x[:, :1, :1].expand(1, 1, UNITS))[0]


def stored_state(model: Any, x: Tensor) -> Tensor:
    return model.cells(x, torch.full((1, 1, UNITS), 0.5))[0]


def all_states(model: Any, x: Tensor) -> Tensor:
    return model.cells(x)[1]


def last_cell(model: Any, x: Tensor) -> Tensor:
    return model.cells(x)[1][1]


def plain_layer(model: Any, x: Tensor) -> Tensor:
    return model.layers[0](model.cells(x)[0])[0]


def by_steps(model: Any, x: Tensor) -> Tensor:
    return model.layers[0](x[:, 1], model.layers[0](x[:, 0]))


REFUSED: dict[str, tuple[type[nn.RNNBase], Read, tuple[nn.Module, ...], dict[str, Any], str]] = {
    "computed_state": (nn.GRU, computed_state, (), {}, "first state is computed, supported: zeros"),
    "stored_state": (nn.GRU, stored_state, (), {}, "first state is stored, not 0"),
    "all_states": (nn.GRU, all_states, (), {"num_layers": 2}, "h_n of 2 layers and directions is read whole"),
    "last_cell": (nn.LSTM, last_cell, (), {}, "last cell c_n is read"),
    "projection": (nn.LSTM, all_steps, (), {"proj_size": 3}, "proj_size, supported: 0"),
    "plain_layer": (nn.GRU, plain_layer, (nn.RNN(UNITS, 4, batch_first=True),), {}, "without gates"),
    "relu_cell": (
        *(nn.GRU, lambda model, x: model.layers[0](model.cells(x)[0][:, -1])),
        *((nn.RNNCell(UNITS, 4, nonlinearity="relu"),), {}, "without gates"),
    ),
    "steps_by_a_cell": (nn.GRU, by_steps, (nn.GRUCell(INPUTS, UNITS),), {}, "the whole sequence to nn.GRU"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_means_something_else_is_refused_by_name(name: str) -> None:
    kind, read, layers, options, message = REFUSED[name]
    with pytest.raises(ModelError, match=message) as raised:
        imported(seeded(kind, read, layers, **options))
    assert "aten." in str(raised.value)


def test_dropout_in_training_mode_is_refused() -> None:
    model = seeded(nn.GRU, all_steps, num_layers=2, dropout=0.5).train()
    program = torch.export.export(model, (torch.zeros(1, 4, INPUTS),))
    with pytest.raises(ModelError, match="dropout in training mode"):
        import_torch(program, None, torch.randn(4, 4, INPUTS))


def test_steps_before_the_batch_are_told_how_to_turn() -> None:
    with pytest.raises(ModelError, match=r"steps before the batch, .* x.permute\(1, 0, 2\)"):
        import_torch(nn.GRU(INPUTS, UNITS), torch.zeros(9, 1, INPUTS), torch.randn(4, 9, INPUTS))


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_layers_written_out_are_refused_as_such(kind: type[nn.RNNBase], tmp_path: Path) -> None:
    """As a program, and from a file."""
    shape = (1, 3, INPUTS)
    program = torch.export.export(seeded(kind, last_step).eval(), (torch.zeros(shape),)).run_decompositions()
    torch.export.save(program, tmp_path / "model.pt2")
    for one in (program, torch.export.load(tmp_path / "model.pt2")):
        with pytest.raises(
            ModelError, match=f"{kind.__name__} written out step by step, .* without run_decom"
        ):
            import_torch(one, None, torch.randn(4, *shape[1:]))
