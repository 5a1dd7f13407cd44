"""Networks from ONNX files: chains and single operators, quantized in each form or calibrated here."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from onnxruntime.quantization import QuantFormat

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.importing import load_graph
from tests import onnx_models
from tests.frontends.onnx.test_onnx import OPERATORS
from tests.frontends.onnx.test_onnx_random import chain
from tests.onnx_models import Builder, quantized
from tests.soak.networks.files import from_file
from tests.soak.networks.network import Drawn, Random, joined, network

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
