"""Networks from ONNX files: chains and single operators, quantized in each form or calibrated here."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantFormat

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.importing import load_graph
from tests import onnx_models
from tests.frontends.onnx.test_onnx import OPERATORS
from tests.frontends.onnx.test_onnx_random import chain
from tests.onnx_models import Builder, quantized
from tests.soak.networks.files import from_file
from tests.soak.networks.network import Disagreement, Drawn, Random, joined, network

NETWORKS = (onnx_models.small_network, onnx_models.shuffle_unit, onnx_models.unet, onnx_models.mobilenet_v2)
FORMS = (("int8", QuantFormat.QDQ), ("uint8", QuantFormat.QDQ), ("uint8", QuantFormat.QOperator))


def onnx_networks(seed: int, count: int) -> Drawn:
    """About so many: most are chains of odd operators with QDQ, the others by ONNX Runtime's quantizer, or
    float with calibration."""
    return joined([_one(seed * 1000 + i) for i in range(count)])


def _one(seed: int) -> Drawn:
    rng = np.random.default_rng([seed, 7])
    draw = rng.random()
    if draw < 0.7:
        data = chain(seed)
        return Drawn() if data is None else from_file("onnx chain", seed, ".onnx", data)
    if draw < 0.8:
        return _calibrated(seed, _operator(seed, rng))
    activations, form = FORMS[rng.integers(len(FORMS))]
    model = _operator(seed, rng) if draw < 0.95 else NETWORKS[rng.integers(len(NETWORKS))](seed)
    every = ("all",) if form == QuantFormat.QDQ else ()
    data = quantized(model, activations, every, form)
    return from_file(f"onnx {form.name} {activations}", seed, ".onnx", data)


def _operator(seed: int, rng: Random) -> object:
    """One operator of the front end's tests behind a convolution with other weights."""
    b = Builder(seed)
    x = b.conv(b.input(1, 3, 9, 11), 3, 8)
    return b.finish(list(OPERATORS.values())[rng.integers(len(OPERATORS))](b, x))


def _calibrated(seed: int, model: object) -> Drawn:
    """A float file whose ranges come from arrays. It has no runtime of integers to compare with."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        path, arrays = Path(folder) / "net.onnx", Path(folder) / "inputs.npy"
        path.write_bytes(model.SerializeToString())  # type: ignore[attr-defined]
        inputs = np.random.default_rng(seed).uniform(0, 1, (6, 3, 9, 11)).astype(np.float32)
        np.save(arrays, inputs)
        try:
            imported = load_graph(path, calibration=arrays)
        except ModelError as error:
            return Drawn(refused=[str(error)])
    return Drawn([network("onnx float", seed, imported.graph)])


def shortest(found: Disagreement) -> Disagreement:
    """The same with the shortest beginning of the file's graph that disagrees still."""
    for data in _beginnings(found.data):
        drawn = from_file(found.kind, found.seed, ".onnx", data)
        if drawn.disagreements:
            return drawn.disagreements[0]
    return found


def _beginnings(data: bytes) -> Iterator[bytes]:
    """Models that end at each tensor which is quantized and given back as real."""
    model = onnx.ModelProto.FromString(data)
    makers = {name: node for node in model.graph.node for name in node.output}
    for last in model.graph.node:
        before = makers.get(last.input[0]) if last.op_type == "DequantizeLinear" else None
        if before is None or before.op_type != "QuantizeLinear" or before.input[0] not in makers:
            continue
        needed, left = set[str](), [last.output[0]]
        while left:
            name = left.pop()
            if name not in needed:
                needed.add(name)
                left += makers[name].input if name in makers else ()
        cut = onnx.ModelProto.FromString(data)
        nodes = [node for node in cut.graph.node if needed & set(node.output)]
        stored = [tensor for tensor in cut.graph.initializer if tensor.name in needed]
        for field, kept in ((cut.graph.node, nodes), (cut.graph.initializer, stored)):
            copies = [type(one).FromString(one.SerializeToString()) for one in kept]
            del field[:]
            field.extend(copies)
        del cut.graph.output[:]
        output = helper.make_tensor_value_info(last.output[0], TensorProto.FLOAT, None)
        cut.graph.output.extend([output])
        yield cut.SerializeToString()
