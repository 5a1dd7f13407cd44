"""What is asked of an ONNX model and its nodes before they are converted, and the names of its values."""

from __future__ import annotations

from collections.abc import Mapping

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.builder import INPUT_NAME
from rnnpool_mcu.frontends.channels_first import image_shape
from rnnpool_mcu.frontends.node_names import readable_names
from rnnpool_mcu.frontends.onnx.call import HOW_TO_QUANTIZE
from rnnpool_mcu.frontends.onnx.domain.bodies import OWN_DOMAIN, OWN_KINDS
from rnnpool_mcu.frontends.onnx.reader import STANDARD, OnnxInput, OnnxModel, OnnxNode

LONGEST_NAME = 80
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
EDGES: Mapping[str, str] = {
    DEQUANTIZE: "int8, uint8: before an operator, or at an output, where it is left out; int32 biases",
    QUANTIZE: "int8, uint8, one scale: behind an operator, or at the input, where it is left out; between "
    "two quantizations a table",
}
_DOMAINS = (*STANDARD, "com.microsoft")  # whose QuantizeLinear is ONNX's with more types
_CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")
_DYNAMIC = ("DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul")


def check_precision(model: OnnxModel) -> None:
    """Refuse models that are not QDQ as a whole, with one message instead of a layer's."""
    kinds = {node.kind for node in model.nodes}
    if any(kind in kinds for kind in _DYNAMIC):
        raise ModelError(f"the model is quantized dynamically, supported: statically; {HOW_TO_QUANTIZE}")
    if any(kind.startswith("QLinear") for kind in kinds):
        raise ModelError(
            f"the model is in QOperator format (QLinearConv ..), supported: QDQ; {HOW_TO_QUANTIZE}"
        )
    if QUANTIZE not in kinds and not kinds & set(_CONTROL_FLOW):
        raise ModelError(f"the model is float, supported: int8 or uint8; {HOW_TO_QUANTIZE}")


def check_domain(node: OnnxNode) -> None:
    """Refuse control flow and operators that are not ONNX's own."""
    if node.kind in _CONTROL_FLOW:
        raise ModelError("control flow is not supported; unroll it before export")
    edge = node.kind in EDGES
    own = node.domain == OWN_DOMAIN and node.kind in OWN_KINDS
    if not own and node.domain not in (_DOMAINS if edge else STANDARD):
        raise ModelError(
            f"is of the domain '{node.domain}', supported: ONNX's own, see `rnnpool-mcu supported-ops`; "
            "cut the model before it, and do its work in your own C"
        )


BEFORE_OUTPUT = "_QuantizeLinear_Input"
"""What ONNX Runtime's quantizer adds to the name of an output's tensor before it is quantized."""


def node_names(model: OnnxModel, taken: tuple[str, ...] = (INPUT_NAME,)) -> dict[str, str]:
    """Graph node name of every tensor that an operator computes."""
    kinds = (QUANTIZE, DEQUANTIZE)
    made = list(dict.fromkeys(t for node in model.nodes if node.kind not in kinds for t in node.outputs))
    paths = [
        name.removesuffix(BEFORE_OUTPUT).strip("/").removesuffix("_output_0").replace("/", ".")[:LONGEST_NAME]
        for name in made
    ]
    return dict(zip(made, readable_names(paths, taken=taken), strict=True))


def input_shape(value: OnnxInput) -> tuple[int, ...]:
    """Shape of an input of the model, an open batch being 1."""
    shape = (1, *value.shape[1:]) if len(value.shape) >= 2 and value.shape[0] == -1 else value.shape
    if any(side < 1 for side in shape):
        raise ModelError(
            f"input '{value.name}' has sides that are not fixed, it is {list(value.shape)}; give "
            f"--input-shape {','.join(_asked(shape))}"
        )
    if value.dtype not in ("FLOAT", "INT8", "UINT8"):
        raise ModelError(f"input '{value.name}' is {value.dtype}, supported: FLOAT, INT8, UINT8")
    image_shape(value.name, shape)
    return shape


def _asked(shape: tuple[int, ...]) -> list[str]:
    """The sides to give, those of an image by a letter where they are open."""
    letters = {4: "NCHW", 3: "NCW"}.get(len(shape), "N" + "X" * len(shape))
    return [str(side) if side > 0 else letters[at] for at, side in enumerate(shape)]
