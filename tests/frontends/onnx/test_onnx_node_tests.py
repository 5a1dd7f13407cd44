"""The ONNX standard's own node tests, carried by the onnx package: each is right in int8, or refused by name.

A test of float operators becomes a model of its first float input; its other inputs are stored. ONNX Runtime
quantizes it over the test's own values, and each layer is compared with ONNX Runtime. Tests of other types
and of values that are no tensors are no models of integers and left out.
RNNPOOL_MCU_NODE_TESTS=N takes N of the tests, evenly; 0 takes all of them. `python -m
tests.frontends.onnx.test_onnx_node_tests` prints the table.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from rnnpool_mcu.errors import ModelError, UsageError
from rnnpool_mcu.importing import source_runtime
from rnnpool_mcu.validate.source import compare_with_source

COUNT = int(os.environ.get("RNNPOOL_MCU_NODE_TESTS", "60"))
OPSET = 23
"""The newest that both read; tests of operators that came later are left out."""
EXACT, STEP, REFUSED, WRONG = "exact", "within one step", "refused by name", "wrong"
LEFT_OUT, UNQUANTIZED = "no float operator of one input", "ONNX Runtime cannot quantize or run it"


class _Values(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, name: str, values: Any) -> None:
        self._left: Iterator[Any] = iter([{name: values}, {name: values}])

    def get_next(self) -> Any:
        return next(self._left, None)


def cases(count: int) -> list[Any]:
    """Tests of single nodes, evenly over their names; all of them for 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        found = [case for case in collect_testcases(None) if case.model and case.data_sets]
    step = max(1, len(found) // count) if count else 1
    return found[::step]


def verdict(case: Any, folder: Path) -> tuple[str, str]:
    """What became of one test, and why."""
    prepared = _float_model(case)
    if prepared is None:
        return LEFT_OUT, ""
    model, values = prepared
    path = folder / "net.onnx"
    try:
        if not _as_the_standard_has_it(model, values, case.data_sets[0][1]):
            return UNQUANTIZED, "ONNX Runtime gives other values"
        _quantize(model, values, path)
    except Exception as error:  # the runtime's and the quantizer's have no common class
        return UNQUANTIZED, str(error)[:100]
    try:
        imported, runtime = source_runtime(path)
    except UsageError as error:  # nothing in it was quantized
        return UNQUANTIZED, str(error)
    except ModelError as error:
        return REFUSED, str(error).partition(": ")[2]
    shape = (3, *imported.graph.input_type.shape)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    found = compare_with_source(imported.graph, runtime, imported.sources, pixels)
    if not found.agrees:
        return WRONG, str([(layer.source, layer.worst_alone) for layer in found.layers])
    worst = max((layer.worst_alone for layer in found.layers), default=0)
    return (EXACT if worst == 0 else STEP), ""


def _float_model(case: Any) -> tuple[Any, Any] | None:
    """A model of the first float input, and its value; None for what is no such model."""
    model = onnx.ModelProto.FromString(case.model.SerializeToString())
    inputs, given = list(model.graph.input), list(case.data_sets[0][0])
    plain = all(isinstance(value, np.ndarray | np.generic) for value in given)
    known = all(_known(node) for node in model.graph.node)
    first = next((i for i, v in enumerate(inputs) if v.type.tensor_type.elem_type == TensorProto.FLOAT), None)
    outputs = [value.type.tensor_type.elem_type for value in model.graph.output]
    if (
        not plain
        or not known
        or first is None
        or len(inputs) != len(given)
        or TensorProto.FLOAT not in outputs
    ):
        return None
    for index, (value, array) in enumerate(zip(inputs, given, strict=True)):
        if index != first:
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), value.name))
            model.graph.input.remove(value)
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    model.ir_version = 10
    return onnx.shape_inference.infer_shapes(model), given[first]


def _known(node: Any) -> bool:
    try:
        onnx.defs.get_schema(node.op_type, OPSET, node.domain)
    except onnx.defs.SchemaError:
        return False
    return node.domain in ("", "ai.onnx")


def _as_the_standard_has_it(model: Any, values: Any, expected: Any) -> bool:
    """Whether ONNX Runtime, which layers are compared with, gives what the test expects."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {model.graph.input[0].name: values})
    pairs = zip(found, expected, strict=True)
    return all(np.allclose(one, other, 1e-3, 1e-5, equal_nan=True) for one, other in pairs)


def _quantize(model: Any, values: Any, path: Path) -> None:
    logging.getLogger().setLevel(logging.ERROR)
    kinds = sorted({node.op_type for node in model.graph.node})
    reader = _Values(model.graph.input[0].name, values)
    int8 = QuantType.QInt8
    quantize_static(model, path, reader, QuantFormat.QDQ, kinds, True, activation_type=int8, weight_type=int8)


def table(count: int) -> Counter[str]:
    """Tests by verdict; wrong ones are printed."""
    found: Counter[str] = Counter()
    onnxruntime.set_default_logger_severity(3)
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(count):
            what, why = verdict(case, Path(folder))
            found[what] += 1
            if what == WRONG:
                print(f"{case.name}: {why}", file=sys.stderr)
    return found


def test_node_tests_are_right_or_refused(capfd: pytest.CaptureFixture[str]) -> None:
    found = table(COUNT)
    assert found[WRONG] == 0, capfd.readouterr().err
    assert found[EXACT] + found[STEP] > 0


@pytest.mark.slow
def test_all_node_tests_are_right_or_refused(capfd: pytest.CaptureFixture[str]) -> None:
    found = table(0)
    assert found[WRONG] == 0, capfd.readouterr().err
    assert found[EXACT] + found[STEP] > 50


if __name__ == "__main__":
    for name, number in sorted(table(COUNT).items()):
        print(f"| {name} | {number} |")
