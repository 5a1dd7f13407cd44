"""From a zoo checkpoint to the integer graph: quantization and frontend in their order."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.torch.call import Call, Converter
from rnnpool_mcu.frontends.torch.converters import CONVERTERS
from rnnpool_mcu.frontends.torch.front import ImportedGraph, import_exported
from rnnpool_mcu.importing.imported import Calibration, Imported, Kind, Preprocessing
from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.source import InputForm, ModelInput
from rnnpool_mcu.ir.verify import verify_graph
from rnnpool_mcu.nn.fastgrnn import NONLINEARITIES
from rnnpool_mcu.ops.detector_decode import DetectorDecode
from rnnpool_mcu.passes import run_passes
from rnnpool_mcu.quantize.calibration import as_batches, synthetic_images
from rnnpool_mcu.quantize.float_agreement import FloatSource
from rnnpool_mcu.quantize.post_training import QuantizedModel, quantize_model
from rnnpool_mcu.quantize.rnnpool_cell import quantize_rnnpool
from rnnpool_mcu.quantize.samples import Samples
from rnnpool_mcu.quantize.torch_runtime import TorchFloatRuntime, TorchRuntime
from rnnpool_mcu.zoo.checkpoint import LoadedModel, load_checkpoint, save_checkpoint

log = logging.getLogger(__name__)

SCORE_THRESHOLD = 0.02
"""Least probability of a box that leaves the model; low, so that average precision can be measured."""
DETECTIONS_NAME = "detections"
SYNTHETIC_IMAGES = 8
"""Made up at most, when there is neither a folder nor a stored calibration."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ImportedCheckpoint(Imported):
    """A checkpoint's integer graph with the float model it came from."""

    float_model: nn.Module
    quantized: QuantizedModel


def import_checkpoint(
    path: Path,
    *,
    calibration: Path | None = None,
    count: int = 64,
    seed: int = 0,
    score_threshold: float = SCORE_THRESHOLD,
) -> ImportedCheckpoint:
    """Integer graph of a `.pt` checkpoint; a detector's ends in the decode of its boxes.

    Activation ranges come from `calibration`, a folder of pictures or a file of arrays of which at most
    `count` are drawn by `seed`; else from the checkpoint; else from made-up images, which is for trials only,
    at most `count` of them too. Raises UserError.
    """
    loaded = load_checkpoint(path)
    check_preprocessing(path, loaded.preprocessing)
    input_size, form = input_size_of(loaded.model), form_of(loaded.model)
    given = Calibration(calibration, count, seed)
    samples = None if calibration is None else given.samples(path, form, fit_of(loaded.preprocessing))
    quantized, origin = quantize_loaded(loaded, input_size, samples, count, seed)
    imported = import_exported(quantized.module, input_size, TORCH_CONVERTERS)
    kind: Kind = "detector" if hasattr(loaded.model, "anchors") else "classifier"
    graph = imported.graph
    if kind == "detector":
        graph = with_decode(graph, loaded.model, score_threshold)
    return ImportedCheckpoint(
        graph=run_passes(graph),
        kind=kind,
        calibration=origin,
        sources=imported.sources,
        input=ModelInput(form, Preprocessing(fit=fit_of(loaded.preprocessing))),
        floating=None if samples is None else float_source(loaded.model, quantized, imported, samples[0]),
        float_model=loaded.model,
        labels=loaded.labels,
        quantized=quantized,
    )


def runtime_of(path: Path) -> tuple[ImportedCheckpoint, TorchRuntime]:
    """A checkpoint's integer graph and torch's own quantized graph of the same model."""
    imported = import_checkpoint(path)
    form = form_of(imported.float_model)
    return imported, TorchRuntime(imported.quantized.module, imported.graph, imported.sources, form)


def float_source(
    model: nn.Module, quantized: QuantizedModel, imported: ImportedGraph, samples: Samples
) -> FloatSource:
    """A checkpoint's float model beside its integer graph, passes not run."""
    graph, sources, form = imported.graph, imported.sources, form_of(model)
    runtime = TorchFloatRuntime(
        *(model, quantized.float_module, graph, sources, form, imported.last), outputs=imported.outputs
    )
    return FloatSource(graph, runtime, samples, sources)


def check_preprocessing(path: Path, preprocessing: Mapping[str, Any]) -> None:
    """Camera bytes go in as they are: refuse a model that wants anything but pixel / 255."""
    scale, mean, std = (preprocessing.get(key) for key in ("scale", "mean", "std"))
    plain = scale in (None, 1 / 255) and not np.any(mean or 0.0) and np.all(np.asarray(std or 1.0) == 1.0)
    if not plain:
        raise ModelError(
            f"{path}: preprocessing scale {scale}, mean {mean}, std {std}; supported 1/255, 0 and 1: "
            "put the normalisation into the model's first layer before saving"
        )


def quantize_loaded(
    loaded: LoadedModel,
    input_size: tuple[int, int, int],
    given: tuple[Samples, str] | None,
    count: int,
    seed: int,
) -> tuple[QuantizedModel, str]:
    """Quantize a checkpoint's model; also says where the activation ranges came from."""
    if given is None and loaded.calibration is not None:
        quantized = quantize_model(loaded.model, input_size, calibration=loaded.calibration)
        return quantized, "stored in the checkpoint"
    if given is None:
        images = synthetic_images(input_size, min(count, SYNTHETIC_IMAGES), seed)
        given = images, "synthetic images: for trials only"
        log.warning(
            "%s: no activation ranges stored and no --calibration given: synthetic images set them, which is "
            "for trials only; give --calibration with a folder of typical pictures",
            loaded.arch,
        )
    samples, origin = given
    return quantize_model(loaded.model, input_size, as_batches(samples)), origin


def with_decode(graph: Graph, detector: Any, score_threshold: float) -> Graph:
    """The graph with its head outputs (loc_1, conf_1, ..) decoded to boxes by the model's own priors."""
    decode = DetectorDecode(
        anchors=tuple((int(size), int(stride)) for size, stride in detector.anchors),
        image_size=graph.input_type.shape[:2],
        score_threshold=score_threshold,
        variances=tuple(detector.variances),
    )
    node = Node(DETECTIONS_NAME, decode, graph.outputs)
    decoded = replace(graph, nodes=(*graph.nodes, node), outputs=(node.name,))
    verify_graph(decoded)
    return decoded


@dataclass(frozen=True, eq=False)
class CalibratedCheckpoint:
    """What ranges were found, the float model beside the integer graph, and torch's own quantized one."""

    values: int  # with a range
    floating: FloatSource
    runtime: TorchRuntime


def calibrate_checkpoint(path: Path, out: Path, images: Samples) -> CalibratedCheckpoint:
    """Write a checkpoint again with activation ranges stored in it, found on samples [N, H, W, C]."""
    loaded = load_checkpoint(path)
    quantized = quantize_model(loaded.model, input_size_of(loaded.model), as_batches(images))
    save_checkpoint(
        out,
        loaded.model,
        loaded.arch,
        loaded.config,
        loaded.preprocessing,
        loaded.labels,
        loaded.metrics,
        quantized.calibration,
    )
    imported = import_exported(quantized.module, input_size_of(loaded.model), TORCH_CONVERTERS)
    runtime = TorchRuntime(
        *(quantized.module, imported.graph, imported.sources, form_of(loaded.model), imported.last)
    )
    floating = float_source(loaded.model, quantized, imported, images)
    return CalibratedCheckpoint(len(quantized.calibration), floating, runtime)


def input_size_of(model: nn.Module) -> tuple[int, int, int]:
    """Height, width and channels of a zoo model's input."""
    height, width, channels = cast(Any, model).input_size
    return (int(height), int(width), int(channels))


def form_of(model: nn.Module) -> InputForm:
    """A zoo model's input in torch."""
    height, width, channels = input_size_of(model)
    return InputForm((1, channels, height, width))


def fit_of(preprocessing: Mapping[str, Any]) -> str:
    """How a checkpoint's pictures are fitted, by the name of today."""
    fitted = str(preprocessing.get("resize", "fit"))
    return {"fit": "letterbox", "stretch": "resize"}.get(fitted, fitted)


def convert_rnnpool(call: Call) -> Operator:
    """rnnpool_mcu.rnnpool: its cells are quantized from their weights alone."""
    names = ("w1", "u1", "bias_gate1", "bias_update1", "w2", "u2", "bias_gate2", "bias_update2")
    weights = [call.constant(name) for name in names]
    if any(array is None for array in weights):
        raise ModelError("RNNPool: a weight is missing; export the layer with all eight")
    patch, stride = int(call.arguments["patch"]), int(call.arguments["stride"])
    function = {code: name for name, code in NONLINEARITIES.items()}[int(call.arguments["nonlinearity"])]
    return quantize_rnnpool(
        *weights,  # type: ignore[arg-type]
        patch=(patch, patch),
        stride=(stride, stride),
        nonlinearity=function,
        input=call.inputs[0].quantization,
    )


TORCH_CONVERTERS = {**CONVERTERS, torch.ops.rnnpool_mcu.rnnpool.default: Converter(("x",), convert_rnnpool)}
