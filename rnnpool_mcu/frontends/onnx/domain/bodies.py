"""Our operators in ONNX: a domain of its own, and a body of standard operators for each.

A file that holds one carries its body as a model-local function, so that any ONNX runtime computes it in
float without a plug-in; our own reader takes the node as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx

from rnnpool_mcu.frontends.onnx.forms.domains import OWN_DOMAIN as OWN_DOMAIN

OWN_VERSION = 1
OWN_KINDS = ("DetectorDecode", "L2Norm", "Lookup", "MaxOut", "RNNPool")
OPSET = 17  # of the bodies, and of the files that hold them
_HEADER = f'<domain: "{OWN_DOMAIN}", opset_import: ["" : {OPSET}, "{OWN_DOMAIN}" : {OWN_VERSION}]>\n'

_MAX_OUT = """
MaxOut <background> (x) => (y) {
    zero = Constant <value_ints = [0]> ()
    one = Constant <value_ints = [1]> ()
    all = Constant <value_ints = [2147483647]> ()
    count = Constant <value_int : int = @background> ()
    end = Reshape (count, one)
    first = Slice (x, zero, end, one)
    rest = Slice (x, end, all, one)
    largest = ReduceMax <axes = [1], keepdims = 1> (first)
    y = Concat <axis = 1> (largest, rest)
}"""

_LOOKUP = """
Lookup <function> (x, scale, zero_point, table) => (y) {
    q = QuantizeLinear (x, scale, zero_point)
    step = Cast <to = 7> (q)
    first = Constant <value_int = 128> ()
    index = Add (step, first)
    y = Gather <axis = 0> (table, index)
}"""

_L2_NORM = """
L2Norm (x, weight) => (y) {
    sum = ReduceSumSquare <axes = [1], keepdims = 1> (x)
    root = Sqrt (sum)
    epsilon = Constant <value_float = 1e-10> ()
    norm = Add (root, epsilon)
    unit = Div (x, norm)
    shape = Constant <value_ints = [1, -1, 1, 1]> ()
    factors = Reshape (weight, shape)
    y = Mul (unit, factors)
}"""

_FAST_GRNN = """
FastGrnn <nonlinearity> (steps, u, bias_gate, bias_update) => (last) {
    zero = Constant <value_int = 0> ()
    minus_one = Constant <value_float = -1.0> ()
    one = Constant <value_float = 1.0> ()
    code = Constant <value_int : int = @nonlinearity> ()
    is_linear = Cast <to = 9> (code)
    first = Gather <axis = 0> (steps, zero)
    shape = Shape (first)
    start = ConstantOfShape (shape)
    last = Scan <num_scan_inputs = 1, body = step (float[r, s, h] state, float[r, s, h] wx)
                 => (float[r, s, h] next) {
        uh = MatMul (state, u)
        a = Add (wx, uh)
        gate = Add (a, bias_gate)
        update = Add (a, bias_update)
        smooth_z = Sigmoid (gate)
        linear_z = HardSigmoid <alpha = 0.5, beta = 0.5> (gate)
        z = Where (is_linear, linear_z, smooth_z)
        smooth_c = Tanh (update)
        linear_c = Clip (update, minus_one, one)
        c = Where (is_linear, linear_c, smooth_c)
        difference = Sub (state, c)
        kept = Mul (z, difference)
        next = Add (c, kept)
    }> (start, steps)
}"""

_RNN_POOL = """
RNNPool <patch, stride, nonlinearity>
    (x, w1, u1, bias_gate1, bias_update1, w2, u2, bias_gate2, bias_update2) => (y) {
    zero = Constant <value_int = 0> ()
    one = Constant <value_int = 1> ()
    first_axis = Constant <value_ints = [0]> ()
    second_axis = Constant <value_ints = [1]> ()
    patch_size = Constant <value_int : int = @patch> ()
    step = Constant <value_int : int = @stride> ()
    last_step = Sub (patch_size, one)
    pixels = Transpose <perm = [0, 2, 3, 1]> (x)
    image = Squeeze (pixels, first_axis)
    wx = MatMul (image, w1)
    shape = Shape (wx)
    height = Gather <axis = 0> (shape, zero)
    width = Gather <axis = 0> (shape, one)
    free_height = Sub (height, last_step)
    free_width = Sub (width, last_step)
    tops = Range (zero, free_height, step)
    lefts = Range (zero, free_width, step)
    times = Range (zero, patch_size, one)
    forwards = Unsqueeze (times, second_axis)
    backwards = Sub (last_step, forwards)
    rows = Add (forwards, tops)
    rows_back = Add (backwards, tops)
    columns = Add (forwards, lefts)
    columns_back = Add (backwards, lefts)
    by_column = Gather <axis = 1> (wx, columns)
    row_steps = Transpose <perm = [1, 0, 2, 3]> (by_column)
    column_steps = Gather <axis = 0> (wx, rows)
    row_summaries = rnnpool_mcu.FastGrnn <nonlinearity : int = @nonlinearity>
        (row_steps, u1, bias_gate1, bias_update1)
    column_summaries = rnnpool_mcu.FastGrnn <nonlinearity : int = @nonlinearity>
        (column_steps, u1, bias_gate1, bias_update1)
    wx_rows = MatMul (row_summaries, w2)
    wx_columns = MatMul (column_summaries, w2)
    down = Gather <axis = 0> (wx_rows, rows)
    up = Gather <axis = 0> (wx_rows, rows_back)
    to_right = Gather <axis = 1> (wx_columns, columns)
    to_left = Gather <axis = 1> (wx_columns, columns_back)
    right = Transpose <perm = [1, 0, 2, 3]> (to_right)
    left = Transpose <perm = [1, 0, 2, 3]> (to_left)
    state_1 = rnnpool_mcu.FastGrnn <nonlinearity : int = @nonlinearity> (down, u2, bias_gate2, bias_update2)
    state_2 = rnnpool_mcu.FastGrnn <nonlinearity : int = @nonlinearity> (up, u2, bias_gate2, bias_update2)
    state_3 = rnnpool_mcu.FastGrnn <nonlinearity : int = @nonlinearity> (right, u2, bias_gate2, bias_update2)
    state_4 = rnnpool_mcu.FastGrnn <nonlinearity : int = @nonlinearity> (left, u2, bias_gate2, bias_update2)
    states = Concat <axis = 2> (state_1, state_2, state_3, state_4)
    map = Transpose <perm = [2, 0, 1]> (states)
    y = Unsqueeze (map, first_axis)
}"""

_DECODE_LEVEL = """
DecodeLevel <prior, stride, centre_variance, size_variance> (loc, conf) => (boxes, scores) {
    zero = Constant <value_int = 0> ()
    one = Constant <value_int = 1> ()
    two = Constant <value_int = 2> ()
    three = Constant <value_int = 3> ()
    half = Constant <value_float = 0.5> ()
    side = Constant <value_float : float = @prior> ()
    step = Constant <value_float : float = @stride> ()
    centre_factor = Constant <value_float : float = @centre_variance> ()
    size_factor = Constant <value_float : float = @size_variance> ()
    shape = Shape (loc)
    height = Gather <axis = 0> (shape, two)
    width = Gather <axis = 0> (shape, three)
    rows = Range (zero, height, one)
    columns = Range (zero, width, one)
    last_axis = Constant <value_ints = [-1]> ()
    rows_down = Unsqueeze (rows, last_axis)
    real_rows = Cast <to = 1> (rows_down)
    real_columns = Cast <to = 1> (columns)
    middle_rows = Add (real_rows, half)
    middle_columns = Add (real_columns, half)
    prior_y = Mul (middle_rows, step)
    prior_x = Mul (middle_columns, step)
    batch_and_channel = Constant <value_ints = [0, 1]> ()
    dx4, dy4, dw4, dh4 = Split <axis = 1> (loc)
    dx = Squeeze (dx4, batch_and_channel)
    dy = Squeeze (dy4, batch_and_channel)
    dw = Squeeze (dw4, batch_and_channel)
    dh = Squeeze (dh4, batch_and_channel)
    centre_step = Mul (centre_factor, side)
    moved_x = Mul (dx, centre_step)
    moved_y = Mul (dy, centre_step)
    x = Add (prior_x, moved_x)
    y = Add (prior_y, moved_y)
    half_side = Mul (side, half)
    log_w = Mul (dw, size_factor)
    log_h = Mul (dh, size_factor)
    grown_w = Exp (log_w)
    grown_h = Exp (log_h)
    w = Mul (grown_w, half_side)
    h = Mul (grown_h, half_side)
    left = Sub (x, w)
    top = Sub (y, h)
    right = Add (x, w)
    bottom = Add (y, h)
    left3 = Unsqueeze (left, last_axis)
    top3 = Unsqueeze (top, last_axis)
    right3 = Unsqueeze (right, last_axis)
    bottom3 = Unsqueeze (bottom, last_axis)
    corners = Concat <axis = 2> (left3, top3, right3, bottom3)
    box_shape = Constant <value_ints = [-1, 4]> ()
    boxes = Reshape (corners, box_shape)
    background, face = Split <axis = 1> (conf)
    difference = Sub (face, background)
    flat = Reshape (difference, last_axis)
    scores = Sigmoid (flat)
}"""

_DECODE_END = """
    corners = Concat <axis = 0> ({boxes})
    probabilities = Concat <axis = 0> ({scores})
    zero = Constant <value_int = 0> ()
    nothing = Constant <value_float = 0.0> ()
    size = Constant <value_ints : ints = @image_size> ()
    real_size = Cast <to = 1> (size)
    order = Constant <value_ints = [1, 0, 1, 0]> ()
    limits = Gather <axis = 0> (real_size, order)
    positive = Max (corners, nothing)
    clipped = Min (positive, limits)
    lefts, tops, rights, bottoms = Split <axis = 1> (clipped)
    widths = Sub (rights, lefts)
    heights = Sub (bottoms, tops)
    areas = Mul (widths, heights)
    column = Constant <value_ints = [1]> ()
    flat_areas = Squeeze (areas, column)
    visible = Greater (flat_areas, nothing)
    kept_scores = Where (visible, probabilities, nothing)
    candidates = Constant <value_int : int = @max_candidates> ()
    count = Shape (kept_scores)
    most = Min (count, candidates)
    top_scores, top_indices = TopK <axis = 0> (kept_scores, most)
    top_boxes = Gather <axis = 0> (clipped, top_indices)
    batch = Constant <value_ints = [0]> ()
    batch_and_class = Constant <value_ints = [0, 1]> ()
    boxes_3d = Unsqueeze (top_boxes, batch)
    scores_3d = Unsqueeze (top_scores, batch_and_class)
    detections = Constant <value_int : int = @max_detections> ()
    most_detections = Reshape (detections, column)
    overlap = Constant <value_float : float = @iou_threshold> ()
    least = Constant <value_float : float = @score_threshold> ()
    chosen = NonMaxSuppression (boxes_3d, scores_3d, most_detections, overlap, least)
    box_column = Constant <value_int = 2> ()
    indices = Gather <axis = 1> (chosen, box_column)
    final_boxes = Gather <axis = 0> (top_boxes, indices)
    final_scores = Gather <axis = 0> (top_scores, indices)
    scores_2d = Unsqueeze (final_scores, column)
    found = Concat <axis = 1> (final_boxes, scores_2d)
}}"""

_DECODE_ATTRIBUTES = (
    *("anchors", "image_size", "variances"),
    *("score_threshold", "iou_threshold", "max_candidates", "max_detections"),
)


def own_functions(
    kinds: set[str], anchors: Sequence[tuple[int, int]] = (), variances: tuple[float, float] = (0.1, 0.2)
) -> list[Any]:
    """Bodies of the operators of a model, as FunctionProtos; anchors and variances are those of its decode.

    They compute in float what the integer operators approximate: `RNNPool`, `L2Norm`, `MaxOut`, `Lookup`, and
    `DetectorDecode`, whose result is [detections, left, top, right, bottom in pixels, probability].
    """
    needed = {
        "MaxOut": [_MAX_OUT],
        "L2Norm": [_L2_NORM],
        "Lookup": [_LOOKUP],
        "RNNPool": [_FAST_GRNN, _RNN_POOL],
        "DetectorDecode": [_DECODE_LEVEL, _decode_body(anchors, variances)],
    }
    texts = [text for kind, bodies in needed.items() if kind in kinds for text in bodies]
    return [onnx.parser.parse_function(_HEADER + text.strip()) for text in texts]


def _decode_body(anchors: Sequence[tuple[int, int]], variances: tuple[float, float]) -> str:
    """Of DetectorDecode for so many levels: a function has no variable number of inputs."""
    levels = range(1, len(anchors) + 1)
    given = ", ".join(f"loc_{level}, conf_{level}" for level in levels)
    lines = [
        f"    boxes_{level}, scores_{level} = {OWN_DOMAIN}.DecodeLevel <prior = {float(prior)!r}, stride = "
        f"{float(stride)!r}, centre_variance = {variances[0]!r}, size_variance = {variances[1]!r}> "
        f"(loc_{level}, conf_{level})"
        for level, (prior, stride) in zip(levels, anchors, strict=True)
    ]
    boxes, scores = (", ".join(f"{kind}_{level}" for level in levels) for kind in ("boxes", "scores"))
    head = f"DetectorDecode <{', '.join(_DECODE_ATTRIBUTES)}> ({given}) => (found) {{\n"
    return head + "\n".join(lines) + _DECODE_END.format(boxes=boxes, scores=scores)
