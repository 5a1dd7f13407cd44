"""Windows of convolutions and poolings: their kernel, stride, dilation and padding."""

from __future__ import annotations

from collections.abc import Sequence

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.onnx.call import Call
from rnnpool_mcu.frontends.quantized_layers import MAX_SPAN, same_padding
from rnnpool_mcu.ops.convolution import Padding, Window


def spatial(call: Call, name: str, absent: int, given: Sequence[int] | None = None) -> tuple[int, int]:
    """An attribute of height and width, or of width alone for a signal."""
    values = call.node.integers(name, given or [absent] * (call.rank - 2))
    if call.rank not in (3, 4) or len(values) != call.rank - 2:
        raise ModelError(f"{name} {values} of an input of {call.rank} dimensions, supported: 3 and 4")
    return (values[0], values[1]) if len(values) == 2 else (absent, values[0])


def padding_of(call: Call, kernel: tuple[int, int], stride: tuple[int, int]) -> Padding:
    """Explicit or automatic padding; `kernel` counts its dilation."""
    image, kind, count = call.inputs[0], call.node.text("auto_pad", "NOTSET"), call.rank - 2
    if kind in ("SAME_UPPER", "SAME_LOWER"):
        pairs = [same_padding(image.shape[i], kernel[i], stride[i]) for i in (0, 1)]
        if kind == "SAME_LOWER":
            pairs = [(after, before) for before, after in pairs]
        return Padding(pairs[0][0], pairs[1][0], pairs[0][1], pairs[1][1])
    if kind not in ("NOTSET", "VALID"):
        raise ModelError(f"auto_pad {kind}, supported: NOTSET, VALID, SAME_UPPER, SAME_LOWER")
    pads = call.node.integers("pads", [0] * (2 * count)) if kind == "NOTSET" else [0] * (2 * count)
    if len(pads) != 2 * count or any(not 0 <= pad <= MAX_SPAN for pad in pads):
        raise ModelError(f"pads {pads}, allowed: {2 * count} of 0..{MAX_SPAN}")
    if count == 1:
        return Padding(0, pads[0], 0, pads[1])
    return Padding(*pads)


def window_of(call: Call, kernel: tuple[int, int]) -> tuple[Window, tuple[int, int]]:
    """Window, its kernel counting taps, and dilation of a convolution or pooling of the first input."""
    stride, dilation = spatial(call, "strides", 1), spatial(call, "dilations", 1)
    if min(*stride, *kernel, *dilation) < 1 or max(stride) > MAX_SPAN:
        raise ModelError(f"kernel {kernel}, stride {stride}, dilation {dilation}, allowed: 1..{MAX_SPAN}")
    spans = ((kernel[0] - 1) * dilation[0] + 1, (kernel[1] - 1) * dilation[1] + 1)
    if max(spans) > MAX_SPAN:
        raise ModelError(f"window of {spans[0]}x{spans[1]}, allowed: at most {MAX_SPAN} rows and columns")
    return Window(kernel, stride, padding_of(call, spans, stride)), dilation


def check_kernel(call: Call, sides: Sequence[int]) -> None:
    """ModelError where the file tells another kernel than the weights have."""
    told = call.node.integers("kernel_shape", list(sides))
    if told != list(sides):
        raise ModelError(f"kernel_shape {told}, weights for {list(sides)}; the file is damaged")
