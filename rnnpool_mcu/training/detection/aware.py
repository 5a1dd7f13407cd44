"""A detector under quantization-aware training."""

from __future__ import annotations

from typing import Any

from rnnpool_mcu.quantize.qat import QatModule
from rnnpool_mcu.quantize.quantizer import Calibration


class AwareDetector(QatModule):
    """The detector on int8 grids, with what decoding its outputs takes."""

    def __init__(self, detector: Any, calibration: Calibration) -> None:
        super().__init__(detector, detector.input_size, calibration)
        self.input_size = detector.input_size
        self.anchors, self.variances = detector.anchors, detector.variances
