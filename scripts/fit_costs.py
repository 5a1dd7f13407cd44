"""Measures every kernel on the emulated board and fits the planner's cost model: `make fit-costs`.

Writes rnnpool_mcu/schedule/costs.json: per kernel the instructions per feature (see schedule/costs.py),
the number of shapes, and the largest relative error over them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.ir.operator import Operator, Work
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.numerics.lookup_tables import SMOOTH
from rnnpool_mcu.ops.add import Add
from rnnpool_mcu.ops.average_pool import GlobalAveragePool
from rnnpool_mcu.ops.chunked_residual import ChunkedResidual
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.ops.fully_connected import FullyConnected
from rnnpool_mcu.ops.inverted_residual import InvertedResidual
from rnnpool_mcu.ops.l2_norm import L2Norm
from rnnpool_mcu.ops.l2_norm_convs import Branch, L2NormConvs
from rnnpool_mcu.ops.max_out import MaxOut
from rnnpool_mcu.ops.replicate_pad import ReplicatePad
from rnnpool_mcu.ops.unpack_row import UnpackRow
from rnnpool_mcu.quantize.rnnpool_cell import quantize_rnnpool
from rnnpool_mcu.schedule.costs import COSTS_FILE, FEATURES
from scripts import cost_cases
from tests.ops import layers
from tests.ops.kernel_harness import KernelCase, random_case, run_qemu

OUT = Path(__file__).resolve().parents[1] / "rnnpool_mcu" / "schedule" / COSTS_FILE
ROWS = 4  # output rows measured of each shape

Kernels = dict[str, dict[str, Any]]


class Sample(NamedTuple):
    """One measured case."""

    features: list[float]
    rest: float  # instructions that the features have to explain
    total: int  # instructions of the whole case


POINTWISE = [  # width, channels in, channels out
    *((40, 64, 128), (40, 128, 32), (40, 32, 64), (20, 64, 128), (20, 128, 64), (112, 16, 96), (56, 96, 24)),
    *((14, 96, 576), (7, 960, 160), (7, 320, 1280), (48, 8, 16), (24, 16, 32), (160, 24, 144), (8, 144, 32)),
    *((8, 64, 128), (8, 32, 64), (4, 96, 24), (10, 24, 144)),  # as narrow as a block's tile
]
SPATIAL = [  # width, channels in, channels out, kernel, stride
    *((320, 1, 4, 3, 2), (224, 3, 32, 3, 2), (40, 32, 4, 3, 1), (40, 32, 2, 3, 1), (20, 64, 4, 3, 1)),
    *((32, 16, 16, 3, 1), (8, 64, 64, 3, 1), (80, 24, 6, 5, 1), (96, 3, 8, 3, 2)),
]
DEPTHWISE = [  # width, channels, kernel, stride
    *((40, 128, 3, 1), (40, 64, 3, 2), (20, 128, 3, 1), (112, 32, 3, 1), (112, 96, 3, 2), (14, 576, 3, 1)),
    *((7, 960, 3, 1), (28, 144, 5, 1), (28, 144, 5, 2), (20, 7, 3, 1)),
    *((8, 128, 3, 1), (4, 64, 3, 1), (8, 144, 3, 2)),
]
BLOCKS = [  # width, channels in, expanded, channels out, stride, tile
    *((40, 64, 128, 32, 1, 8), (40, 32, 64, 32, 1, 8), (40, 32, 64, 64, 2, 8), (20, 64, 128, 64, 1, 4)),
    *((56, 24, 144, 24, 1, 16), (14, 96, 576, 96, 1, 8)),
]
HEADS = [  # width, channels in, kernel, stride, tile
    *((40, 32, 3, 1, 40), (20, 64, 3, 1, 8), (80, 24, 5, 1, 80), (80, 4, 3, 2, 80), (40, 32, 3, 1, 16)),
    (20, 64, 5, 1, 20),
]
RNNPOOL = [(160, 4, 8, 4, 16), (112, 8, 6, 4, 8), (112, 32, 6, 4, 16), (80, 3, 8, 4, 4), (80, 3, 8, 4, 6)]


def _window(kernel: int, stride: int) -> Window:
    pad = kernel // 2
    return Window((kernel, kernel), (stride, stride), Padding(0, pad, 0, pad))


def _image(kernel: int, stride: int, width: int, channels: int) -> TensorType:
    return layers.tensor((ROWS - 1) * stride + kernel, width, channels)


def _rnnpool(channels: int, patch: int, stride: int, hidden: int, image: TensorType) -> Operator:
    rng = np.random.default_rng(0)
    shapes = [(channels, hidden), (hidden, hidden), (hidden,), (hidden,)]
    shapes += [(hidden, hidden), (hidden, hidden), (hidden,), (hidden,)]
    weights = [rng.normal(0, 0.4, shape) for shape in shapes]
    return quantize_rnnpool(
        *weights, patch=(patch, patch), stride=(stride, stride), nonlinearity=SMOOTH, input=image.quantization
    )


def _cases() -> list[KernelCase]:
    found = []
    for width, inner, outer in POINTWISE:
        image = layers.tensor(ROWS, width, inner)
        found.append(random_case(layers.conv(image, outer, _window(1, 1)), (image,)))
    for width, inner, outer, kernel, stride in SPATIAL:
        image = _image(kernel, stride, width, inner)
        found.append(random_case(layers.conv(image, outer, _window(kernel, stride)), (image,)))
    for width, channels, kernel, stride in DEPTHWISE:
        image = _image(kernel, stride, width, channels)
        found.append(random_case(layers.depthwise(image, _window(kernel, stride)), (image,)))
    for width, channels, patch, stride, hidden in RNNPOOL:
        for rows in (2, 10):  # the first has no sweeps to share
            image = layers.tensor((rows - 1) * stride + patch, width, channels)
            found.append(random_case(_rnnpool(channels, patch, stride, hidden, image), (image,)))
    return found + _small_cases() + cost_cases.cases()


def _small_cases() -> list[KernelCase]:
    """Kernels whose cost is nearly one number per element."""
    rng, out, found = np.random.default_rng(0), Quantization(0.05, 0), []
    for width, channels in ((40, 32), (20, 64), (80, 24)):
        image = layers.tensor(ROWS, width, channels)
        found.append(random_case(Add(out), (image, image)))
        found.append(random_case(L2Norm.of(rng.uniform(5, 10, channels), Quantization(0.08, 0)), (image,)))
        found.append(random_case(ReplicatePad(bottom=1, right=1), (image,)))
        found.append(random_case(GlobalAveragePool(out), (image,)))
        found.append(random_case(MaxOut(background=3), (layers.tensor(ROWS, width, 4),)))
        unpack = UnpackRow(2 * width, width, channels // 8, out)
        found.append(
            random_case(unpack, (layers.tensor(ROWS, 1, 2 * width + unpack.width * unpack.channels),))
        )
    for inner, outer in ((1280, 10), (320, 2), (64, 100)):
        weights = rng.integers(-127, 128, (outer, inner), dtype=np.int8)
        op = FullyConnected(weights, np.zeros(outer, np.int32), np.full(outer, 0.001), Quantization(0.1, 0))
        found.append(random_case(op, (layers.tensor(1, 1, inner),)))
    return found


def _blocks() -> list[KernelCase]:
    """Inverted residuals that keep their rows, and that recompute them."""
    found = []
    for width, inner, middle, outer, stride, tile in BLOCKS:
        image = layers.tensor(ROWS * stride, width, inner)
        expand = layers.conv(image, middle, _window(1, 1))
        around = Window((3, 3), (stride, stride), Padding(1, 1, 1, 1))
        depthwise = layers.depthwise(expand.infer_type((image,)), around)
        project = layers.conv(depthwise.infer_type((expand.infer_type((image,)),)), outer, _window(1, 1))
        for keep_rows in (True, False):
            op = InvertedResidual(expand, depthwise, project, None, keep_rows, tile)
            found.append(random_case(op, (image,)))
        found += [random_case(ChunkedResidual(op, chunk), (image,)) for chunk in (16, 32) if middle % 32 == 0]
    return found


def _heads() -> list[KernelCase]:
    """Two convolutions of a normalised map, one of them behind a max-out."""
    found, rng = [], np.random.default_rng(0)
    for width, channels, kernel, stride, tile in HEADS:
        image = layers.tensor(ROWS * stride, width, channels)
        pad = kernel // 2
        window = Window((kernel, kernel), (stride, stride), Padding(pad, pad, pad, pad))
        norm = L2Norm.of(rng.uniform(5, 10, channels), Quantization(0.08, 0))
        normed = norm.infer_type((image,))
        scores, offsets = (layers.conv(normed, 4, window, seed=seed) for seed in (1, 2))
        branches = (Branch(scores, MaxOut(background=3)), Branch(offsets))
        found.append(random_case(L2NormConvs(norm, branches, tile), (image,)))
    return found


def _measured(cases: list[KernelCase], known: Kernels) -> dict[str, list[Sample]]:
    """Features and instructions of each case's own kernel, less what its inner kernels are known to cost."""
    rows: dict[str, list[Sample]] = defaultdict(list)
    for case, result in zip(cases, run_qemu(cases), strict=True):
        *inner, own = case.op.work(case.types)
        rest = result.instructions - sum(_predicted(work, known) for work in inner)
        rows[own.kernel].append(Sample(_features(own), max(rest, 1.0), result.instructions))
    return rows


def _features(work: Work) -> list[float]:
    return [work.macs, work.outputs, work.inputs, work.calls]


def _predicted(work: Work, known: Kernels) -> float:
    factors = known[work.kernel]["coefficients"]
    return sum(factors[name] * amount for name, amount in zip(FEATURES, _features(work), strict=True))


def _fit(
    features: NDArray[np.float64], measured: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Least squares relative to `weight` with factors >= 0: features that would get less are left out."""
    used = [i for i in range(features.shape[1]) if features[:, i].any()]
    scaled = features / weight[:, None]
    while True:
        factors = np.linalg.lstsq(scaled[:, used], measured / weight, rcond=None)[0]
        if factors.min() >= 0 or len(used) == 1:
            break
        used.pop(int(factors.argmin()))
    full = np.zeros(features.shape[1])
    full[used] = np.maximum(factors, 0)
    return full


def _fit_all(rows: dict[str, list[Sample]]) -> Kernels:
    kernels = {}
    for kernel, samples in sorted(rows.items()):
        features = np.array([sample.features for sample in samples], float)
        rest = np.array([sample.rest for sample in samples])
        total = np.array([sample.total for sample in samples], float)
        factors = _fit(features, rest, total)
        error = float(np.abs((features @ factors - rest) / total).max())
        kernels[kernel] = {
            "coefficients": {name: round(float(f), 4) for name, f in zip(FEATURES, factors, strict=True)},
            "shapes": len(samples),
            "largest_error_percent": round(100 * error, 1),
        }
        print(
            f"{kernel:28s} {len(samples):3d} shapes, largest error {100 * error:5.1f} %  {factors.round(3)}"
        )
    return kernels


def main() -> None:
    """Measure, fit, write, and print what is left."""
    kernels = _fit_all(_measured(_cases(), {}))
    kernels |= _fit_all(_measured(_blocks() + _heads(), kernels))
    OUT.write_text(
        json.dumps({"unit": "instructions", "kernels": kernels}, indent=2) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
