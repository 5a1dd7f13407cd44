"""The soak itself: it finds what is wrong, makes it small, shows it again, and its counts add up."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rnnpool_mcu.codegen.emit import emit
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.arg_max import ArgMax
from tests.graphs import INPUT, GraphBuilder
from tests.soak import programs
from tests.soak.activities import Failure, Outcome
from tests.soak.coverage import cell, modes
from tests.soak.fault_turns import MODEL, not_whole, wrong
from tests.soak.faults import FAULTS, OK, Fault
from tests.soak.networks.network import Network, Reached, network
from tests.soak.networks.operators import operator_networks
from tests.soak.networks.strategies import strategy_networks
from tests.soak.programs import ENGINES, HOST, Workshop
from tests.soak.proof import Mismatch, differences, planned
from tests.soak.reduction import script_of, smallest
from tests.soak.state import KEPT_OF_A_KIND, Run, State, totals


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("objects"))


@pytest.mark.parametrize("generate", [operator_networks, strategy_networks])
def test_networks_give_the_definitions_bytes(workshop: Workshop, generate: Callable[..., object]) -> None:
    models = [planned(one) for one in generate(11, 12).networks]  # type: ignore[attr-defined]
    assert len(models) == 12
    for engine in ENGINES:
        assert [one.where for one in differences(workshop, engine, models)] == []


def test_a_seed_makes_the_same_networks() -> None:
    one, other = (operator_networks(5, 6).networks for _ in range(2))
    assert [n.reached for n in one] == [n.reached for n in other]
    assert [planned(n).record for n in one] == [planned(n).record for n in other]


def test_every_mode_is_drawn() -> None:
    drawn = {
        cell(reached).rpartition("|")[0] for n in operator_networks(1, 900).networks for reached in n.reached
    }
    assert drawn <= modes()
    assert len(drawn) > 0.9 * len(modes())


def _classifier() -> Network:
    """Layers beside and behind one that will be broken."""
    builder = GraphBuilder(TensorType(9, 7, 3, Quantization(1 / 255, -128)))
    value = builder.residual(builder.conv(INPUT, 4, 3, 2))
    best = builder.add(ArgMax(), value)
    return network("test", 3, builder.graph(best, builder.classifier(value, 3)))


def _broken(monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    """The kernel of ArgMax with another text."""

    def changed(*arguments: object, **more: object) -> dict[str, str]:
        files = emit(*arguments, **more)  # type: ignore[arg-type]
        path = "kernels/arg_max_s8.c"
        if path in files:
            assert old in files[path]
            files[path] = files[path].replace(old, new)
        return files

    monkeypatch.setattr(programs, "emit", changed)


def _found(tmp_path: Path) -> Mismatch:
    models = [planned(one) for one in (_classifier(), *operator_networks(2, 2).networks, _classifier())]
    found = list(differences(Workshop(tmp_path), HOST, models))
    assert [one.network.kind for one in found] == ["test", "test"]
    return found[0]


def test_a_wrong_kernel_is_found_and_made_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _broken(monkeypatch, "out[x] = ", "out[x] = 1 ^ ")
    found = _found(tmp_path)
    assert "arg_max_s8" in found.where
    small = smallest(Workshop(tmp_path), HOST, found).network
    assert [type(node.op) for node in small.graph.nodes] == [ArgMax]
    assert len(small.batch) == 1 and small.graph.input_type.shape[:2] == (1, 1)


def test_what_follows_a_program_that_ends_is_run_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _broken(monkeypatch, "out[x] = ", "out[x + (1 << 20)] = ")
    assert "AddressSanitizer" in _found(tmp_path).where


def test_a_kept_failure_is_shown_again(tmp_path: Path, repository: Path) -> None:
    for name, data in script_of(Mismatch(_classifier(), "qemu", "run 0")).items():
        (tmp_path / name).write_bytes(data)
    shown = subprocess.run(
        [sys.executable, tmp_path / "case.py"], env={"PYTHONPATH": str(repository), "PATH": "/usr/bin:/bin"},
        cwd=repository, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "every engine gives the definition's bytes" in shown.stdout


def test_counts_of_several_runs_add_up(tmp_path: Path) -> None:
    file, times = tmp_path / "state.json", KEPT_OF_A_KIND + 2
    outcome = Outcome({"networks": 3}, ("Add|usual|1x1x1",), (Failure("a kind", "words", {"case.py": b"x"}),))
    for _ in range(2):
        state = State.load(file)
        state.runs.append(Run(1, "abc"))
        for _ in range(times):
            state.add("networks", outcome, 1.5)
        state.save()
    state = State.load(file)
    total = totals(state.runs)["networks"]
    assert (total.turns, total.counts) == (2 * times, {"networks": 3 * 2 * times})
    assert total.processor_seconds == 1.5 * 2 * times
    assert state.reached == {"Add|usual|1x1x1": 2 * times}
    assert state.runs[1].failures == {"networks: a kind": times}
    assert len(list((tmp_path / "failures").iterdir())) == KEPT_OF_A_KIND


def test_faults_are_put_around_a_command(tmp_path: Path) -> None:
    for seed, make in enumerate(FAULTS):
        work = tmp_path / f"{seed}" / "work"
        work.mkdir(parents=True)
        fault = make(np.random.default_rng(seed), work)
        assert fault is None or (fault.shell or fault.environment or fault.signal)
        assert fault is None or OK in fault.allowed


def test_a_half_written_output_is_noticed(tmp_path: Path) -> None:
    out, work = tmp_path / "out", tmp_path / "work"
    out.mkdir()
    (work / "tmp" / "left").mkdir(parents=True)
    (work / MODEL).write_bytes(b"another")
    assert not_whole(out)[0].startswith("the output is not whole")
    found = wrong(Fault("none", (OK,)), work, 1, "Traceback", True)
    said = "exit code 1", "a traceback", "the model is another", "the former output is gone"
    assert tuple(found) == (*said, "left behind: left")


def test_a_file_that_disagrees_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    onnx_files = pytest.importorskip("tests.soak.networks.onnx_files")
    onnx = pytest.importorskip("onnx")
    data = onnx_files.quantized(onnx_files.onnx_models.small_network())
    assert not onnx_files.from_file("test", 1, ".onnx", data).disagreements
    monkeypatch.setattr("rnnpool_mcu.validate.source.STEPS_ALLOWED", -1)
    (found,) = onnx_files.from_file("test", 1, ".onnx", data).disagreements
    assert found.where.count(";") > 3
    small = onnx_files.shortest(found)
    assert ";" not in small.where and "Conv2d" in small.where
    kinds = [node.op_type for node in onnx.ModelProto.FromString(small.data).graph.node]
    assert kinds.count("Conv") == 1 and "Add" not in kinds


def test_shapes_have_kinds() -> None:
    assert cell(Reached("Add", "usual", (1, 4, 33))) == "Add|usual|1x4x16"
    assert cell(Reached("Add", "usual", (7, 13, 6))) == "Add|usual|2x5x5"
