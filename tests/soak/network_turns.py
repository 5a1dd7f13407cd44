"""Turns of networks: a batch from every generator, proven as one program on each engine."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable

from rnnpool_mcu.errors import UserError
from tests.soak.activities import Failure, Outcome, Turn, again
from tests.soak.coverage import cell
from tests.soak.networks.network import Disagreement, Drawn, Network, joined
from tests.soak.programs import BOARD, ENGINES, Workshop
from tests.soak.proof import DefinitionError, Planned, differences, kind_of, planned
from tests.soak.reduction import script_of, smallest

Generate = Callable[[int, int], Drawn]
LINES_EVERY = 6  # turns: QEMU writes down what it runs
MOST_REDUCED = 3  # failures of one turn; where more fail, they have a cause in common


def turn(given: Turn) -> Outcome:
    """Networks of every kind, drawn, planned and run."""
    counts, failures = Counter[str](), list[Failure]()
    drawn = _drawn(given.seed, failures)
    workshop = Workshop(given.kept)
    models = [model for one in drawn.networks if (model := _planned(one, counts, failures)) is not None]
    counts |= Counter({"refused by a reader": len(drawn.refused), "compared with a runtime": drawn.compared})
    counts["disagree with a runtime"] = len(drawn.disagreements)
    failures += [_disagreeing(one) for one in drawn.disagreements]
    for engine in ENGINES:
        lines = engine.name == BOARD.name and given.seed % LINES_EVERY == 0
        found = list(differences(workshop, engine, models, lines=lines))
        counts[f"run on {engine.name}"] += len(models)
        counts["mismatches"] += len(found)
        for mismatch in found[:MOST_REDUCED]:
            small = smallest(workshop, engine, mismatch)
            words = f"{small.network.kind} {small.network.seed}, {small.engine}: {small.where}"
            failures.append(Failure(kind_of(small), words, script_of(small)))
    counts["runs"] = sum(len(model.network.batch) for model in models)
    for model in models:
        counts[f"of {model.network.kind.split()[0]}"] += 1
    reached = tuple(cell(one) for model in models for one in model.network.reached)
    return Outcome(counts, reached, tuple(failures))


def _drawn(seed: int, failures: list[Failure]) -> Drawn:
    parts = []
    for generate, count in _generators():
        try:
            parts.append(generate(seed, count))
        except Exception as error:  # whatever else a front end raises is a defect
            failures.append(_raised(f"{generate.__name__} {seed}", error, seed))
    return joined(parts)


def _generators() -> list[tuple[Generate, int]]:
    """Each with how many networks of a batch it makes; those whose packages are not there are left out."""
    from tests.soak.networks.operators import operator_networks
    from tests.soak.networks.strategies import strategy_networks

    found: list[tuple[Generate, int]] = [(operator_networks, 18), (strategy_networks, 8)]
    try:
        from tests.soak.networks.onnx_files import onnx_networks
        from tests.soak.networks.tflite_files import tflite_networks
        from tests.soak.networks.torch_modules import torch_networks
    except ModuleNotFoundError:
        return found
    return [*found, (onnx_networks, 9), (tflite_networks, 9), (torch_networks, 2)]


def _planned(network: Network, counts: Counter[str], failures: list[Failure]) -> Planned | None:
    try:
        return planned(network)
    except UserError:
        counts["refused by planning"] += 1
    except DefinitionError as error:
        counts["mismatches"] += 1
        failures.append(Failure(f"definition: {str(error)[:60]}", f"{network.kind} {network.seed}: {error}"))
    except Exception as error:  # anything else is a defect
        failures.append(_raised(f"{network.kind} {network.seed}", error, network.seed // 1000))
    return None


def _raised(where: str, error: Exception, seed: int) -> Failure:
    lines = traceback.extract_tb(error.__traceback__)
    place = f"{lines[-1].filename.rpartition('/')[2]}:{lines[-1].lineno}"
    words = "".join(traceback.format_exception(error))
    files = {"case.py": again("networks", seed).encode()}
    return Failure(f"{type(error).__name__} at {place}", f"{where}: {words}", files)


def _disagreeing(found: Disagreement) -> Failure:
    """A file beside a script that compares it again; of a torch module its seed."""
    if not found.suffix:
        text = (
            "from tests.frontends.torch.test_differential import differs, imported\n\n"
            f"print(differs(imported({found.seed})))\n"
        )
        return Failure(f"{found.kind} disagrees", f"{found.seed}: {found.where}", {"case.py": text.encode()})
    if found.suffix == ".onnx":
        from tests.soak.networks.onnx_files import shortest

        found = shortest(found)
    text = (
        "from pathlib import Path\n\nfrom tests.soak.networks.files import from_file\n\n"
        f'data = Path(__file__).with_name("net{found.suffix}").read_bytes()\n'
        f"print(from_file({found.kind!r}, {found.seed}, {found.suffix!r}, data).disagreements)\n"
    )
    files = {"case.py": text.encode(), f"net{found.suffix}": found.data}
    operators = sorted({part.rpartition("(")[2].partition(")")[0] for part in found.where.split(";")})
    return Failure(f"{found.kind} disagrees: {', '.join(operators)}", f"{found.seed}: {found.where}", files)
