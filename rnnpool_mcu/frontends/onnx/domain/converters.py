"""Table from the operators of our own ONNX domain to integer operators.

RNNPool's cells are quantized by a stage of its own, so that its converter comes with the importer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.onnx.call import Call, Converter
from rnnpool_mcu.frontends.onnx.domain.bodies import OWN_DOMAIN
from rnnpool_mcu.frontends.onnx.reader import OnnxNode
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ops.detector_decode import DetectorDecode
from rnnpool_mcu.ops.l2_norm import L2Norm
from rnnpool_mcu.ops.lookup import Lookup
from rnnpool_mcu.ops.max_out import MaxOut

DECODE = "DetectorDecode"
DECODE_LIMITS = (
    "Boxes of an S3FD detector from its heads, loc_1, conf_1, loc_2, ..: one square prior per pixel; at an "
    "output of the model."
)


def convert_l2_norm(call: Call) -> Operator:
    """Over the channels of each pixel, times a stored factor per channel."""
    return L2Norm.of(np.asarray(call.stored(1), np.float64).reshape(-1), call.output)


def convert_lookup(call: Call) -> Operator:
    """A stored int8 table of 256 entries, by the int8 that the input is at its own scale and zero point."""
    table = call.weight(3).integers.reshape(-1)
    if table.dtype != np.int8 or table.size != 256:
        raise ModelError(f"table of {table.size} {table.dtype}, allowed: 256 int8; export the model again")
    given, label = call.inputs[0].quantization, call.node.text("function", "table")
    scale, zero_point = call.number(1), call.number(2)
    if scale != float(np.float32(given.scale)) or zero_point not in (
        given.zero_point,
        given.zero_point + 128,
    ):
        raise ModelError(
            f"a table for scale {scale}, zero point {zero_point}, its input has {given.scale:g}, "
            f"{given.zero_point}; export the model again"
        )
    return Lookup(table, given, call.output, label)


def convert_max_out(call: Call) -> Operator:
    """The largest of the first `background` channels in their place."""
    return MaxOut(call.node.integer("background", 0))


OWN_CONVERTERS: Mapping[str, Converter] = {
    "L2Norm": Converter((0,), convert_l2_norm),
    "Lookup": Converter((0,), convert_lookup),
    "MaxOut": Converter((0,), convert_max_out, keeps=True),
}
"""Converter of each operator of our domain that needs nothing but the call."""


def is_decode(node: OnnxNode) -> bool:
    """Whether a node makes a detector's boxes."""
    return node.kind == DECODE and node.domain == OWN_DOMAIN


def decode_of(node: OnnxNode) -> DetectorDecode:
    """The operator of a DetectorDecode node; ModelError where an attribute is missing or of another kind."""
    anchors, size = node.integers("anchors", ()), node.integers("image_size", ())
    variances = node.attributes.get("variances")
    if len(anchors) % 2 or len(size) != 2 or not _are_two_reals(variances):
        raise ModelError(
            f"anchors {anchors}, image_size {size}, variances {variances}, allowed: pairs of prior size and "
            "stride, height and width, two numbers; export the model again"
        )
    return DetectorDecode(
        anchors=tuple(zip(anchors[::2], anchors[1::2], strict=True)),
        image_size=(size[0], size[1]),
        variances=(decimal(variances[0]), decimal(variances[1])),  # type: ignore[index]
        score_threshold=decimal(node.real("score_threshold", 0.0)),
        iou_threshold=decimal(node.real("iou_threshold", 0.0)),
        max_candidates=node.integer("max_candidates", 0),
        max_detections=node.integer("max_detections", 0),
    )


def decimal(value: float) -> float:
    """The shortest decimal number that a float32 attribute stands for: 0.1 for what is stored of 0.1."""
    return float(str(np.float32(value)))


def _are_two_reals(values: Any) -> bool:
    return isinstance(values, (list, tuple)) and len(values) == 2 and all(map(np.isfinite, values))
