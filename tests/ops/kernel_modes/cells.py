"""Modes of recurrent operators and of detectors' ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.numerics.lookup_tables import PIECEWISE_LINEAR, SMOOTH
from rnnpool_mcu.ops.detector_decode import DetectorDecode
from rnnpool_mcu.ops.gru import Gru
from rnnpool_mcu.ops.lstm import Lstm
from rnnpool_mcu.ops.rnnpool import RnnPool
from rnnpool_mcu.ops.ssd_post_process import SsdPostProcess
from rnnpool_mcu.ops.svdf_features import SvdfFeatures
from rnnpool_mcu.ops.svdf_time import SvdfTime
from tests.ops.kernel_modes.mode import Build, Made, Modes, modes
from tests.ops.test_gru import gru
from tests.ops.test_lstm import STEPS, lstm
from tests.ops.test_rnnpool import float_weights, make_op
from tests.ops.test_svdf import features, rows, times

SCORES = Quantization(1 / 256, -128)


def _rnnpool(
    hidden: tuple[int, int],
    patch: tuple[int, int],
    stride: tuple[int, int],
    kind: str = SMOOTH,
    **changes: object,
) -> Build:
    def build(image: TensorType) -> Made:
        weights = float_weights(image.channels, *hidden, seed=image.channels)
        op = make_op(weights, patch, stride, kind, image.quantization)
        return replace(op, **changes), (image,)  # type: ignore[arg-type]

    return build


def _lstm(units: int, **changes: object) -> Build:
    """The map's row is the steps."""

    def build(image: TensorType) -> Made:
        return lstm(image.channels, units, seed=image.width, **changes), (replace(image, quantization=STEPS),)

    return build


def _lstm_with_state(units: int, **changes: object) -> Build:
    """The map's row is the steps; the state comes beside it."""

    def build(image: TensorType) -> Made:
        op = lstm(image.channels, units, seed=image.width, keeps=True, **changes)
        return op, (replace(image, quantization=STEPS), op.state_type)

    return build


def _gru(units: int, **changes: object) -> Build:
    """The map's row is the steps."""

    def build(image: TensorType) -> Made:
        return gru(image.channels, units, seed=image.width, **changes), (replace(image, quantization=STEPS),)

    return build


def _decode(image: TensorType) -> Made | None:
    """One level; the map gives its height and width."""
    if image.channels != 4:
        return None
    op = DetectorDecode(((16, 8),), (64, 64), 0.3, iou_threshold=0.3, max_candidates=20, max_detections=9)
    return op, (replace(image, quantization=Quantization(0.03, -1)), replace(image, channels=2))


def _post_process(by_class: bool) -> Build:
    """The map gives the anchors, by rows and pixels, and the classes."""

    def build(image: TensorType) -> Made:
        count, rng = image.height * image.width, np.random.default_rng(image.width)
        anchors = np.concatenate([rng.uniform(0, 1, (count, 2)), rng.uniform(0.05, 0.6, (count, 2))], axis=1)
        op = SsdPostProcess(
            anchors, (96, 128), (10.0, 10.0, 5.0, 5.0), Quantization(0.08, -3), SCORES, 0.3, 0.5,
            background=False, by_class=by_class, max_candidates=30, max_detections=9,
        )  # fmt: skip
        return op, (
            TensorType(*image.shape[:2], 4, Quantization(0.08, -3)),
            replace(image, quantization=SCORES),
        )

    return build


def _svdf_features(wide: bool) -> Build:
    """The map's channels are a frame, its width the filters."""

    def build(image: TensorType) -> Made:
        op = features(image.channels, image.width, wide=wide)
        return op, (replace(image, height=1, width=1),)

    return build


def _svdf_times(rank: int, *, wide: bool) -> Build:
    """The map's rows are the frames before the last, its channels the units."""

    def build(image: TensorType) -> Made:
        op = times(image.height + 1, image.channels, rank, wide=wide)
        return op, tuple(rows(op))

    return build


MODES: Modes = {
    DetectorDecode: modes(one_level=_decode),
    Gru: modes(
        one_unit=_gru(1),
        three_units=_gru(3, output=Quantization(1 / 100, -7)),
        four_units=_gru(4),
        nine_units=_gru(9),
        five_units_reset_before=_gru(5, reset_after=False),
        eight_units_reset_before=_gru(8, reset_after=False),
    ),
    Lstm: modes(
        one_unit=_lstm(1),
        three_units=_lstm(3, cell_bits=15, output=Quantization(1 / 100, -7)),
        four_units=_lstm(4, cell_bits=12),
        nine_units=_lstm(9, cell_bits=9, cell_limit=700),
        state_of_one_unit=_lstm_with_state(1),
        state_of_five_units=_lstm_with_state(5, cell_bits=12),
    ),
    RnnPool: modes(
        one_by_one=_rnnpool((4, 4), (1, 1), (1, 1)),
        columns=_rnnpool((5, 3), (4, 1), (1, 1)),
        overlapping=_rnnpool((8, 8), (3, 3), (1, 2)),
        whole=_rnnpool((16, 4), (4, 4), (2, 2)),
        rows=_rnnpool((2, 7), (1, 3), (1, 3), PIECEWISE_LINEAR),
        padded=_rnnpool((4, 6), (2, 2), (2, 2), pad_bottom=1, pad_right=2),
        in_ram=_rnnpool((8, 8), (2, 2), (1, 1), constants_in_ram=True),
    ),
    SvdfFeatures: modes(wide=_svdf_features(True), narrow=_svdf_features(False)),
    SvdfTime: modes(
        wide=_svdf_times(1, wide=True), rank_two=_svdf_times(2, wide=True), narrow=_svdf_times(3, wide=False)
    ),
    SsdPostProcess: modes(best_class=_post_process(False), by_class=_post_process(True)),
}
