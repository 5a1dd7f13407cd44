"""The training recipe of the detectors, and `train`, which runs it.

The shipped checkpoint's command is in examples/models/face_m4.md.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.training.data.boxed_images import default_data_root, load_split
from rnnpool_mcu.training.engine.launch import Place, choose_device, launch, output_folder, process_count
from rnnpool_mcu.zoo import create


@dataclass(frozen=True)
class Phase:
    """Part of the training with one view size; ends at `until`, a share of the whole."""

    until: float
    height: int
    width: int
    batch: int
    zoom_low: float
    zoom_high: float
    anchor_sampling: float


CROP_SIDES = (160, 256)
"""Pixels; crops are half as wide as the model's input, within these."""
CROP_PIXELS, FULL_PIXELS = 32 * 160 * 160, 16 * 240 * 320
"""Pixels of a batch: so a step on large views takes no more memory than one on small views."""
SMALL_MODEL = 320 * 240
LARGE_MODEL_SETTINGS = {"evaluations": 4, "validation_images": 60}
"""Of models whose input has more pixels than SMALL_MODEL: a validation of theirs takes long."""


def crops_then_full(input_size: tuple[int, int, int]) -> tuple[Phase, ...]:
    """Crops for most of the time, then views of the model's own size (height, width, channels)."""
    height, width, _ = input_size
    side = min(height, width, CROP_SIDES[1], max(CROP_SIDES[0], width // 2 // 32 * 32))
    return (
        Phase(0.72, side, side, max(4, CROP_PIXELS // side**2), 0.75, 1.5, 0.3),
        Phase(1.00, height, width, max(4, FULL_PIXELS // (height * width)), 0.85, 1.25, 0.15),
    )


def full_views(input_size: tuple[int, int, int]) -> tuple[Phase, ...]:
    """Views of the model's own size only."""
    height, width, _ = input_size
    return (Phase(1.0, height, width, max(4, FULL_PIXELS // (height * width)), 0.85, 1.4, 0.2),)


def anchor_sizes(anchors: Sequence[tuple[int, int]], phase: Phase) -> tuple[int, ...]:
    """Priors that a box is zoomed to in this phase: those that fit twice into the view, or the smallest."""
    room = max(phase.height, phase.width) // 2
    sizes = [size for size, _ in anchors]
    return tuple(size for size in sizes if size <= room) or (min(sizes),)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is learnt; written into the checkpoint's metrics and the log's header."""

    arch: str
    config: dict[str, Any] = field(default_factory=dict)
    minutes: float | None = None
    steps: int | None = None
    learning_rate: float = 2e-3
    warmup: float = 0.02
    weight_decay: float = 1e-4
    ema_decay: float = 0.9985
    clip_norm: float = 5.0
    seed: int = 1
    processes: int = 1
    phases: tuple[Phase, ...] = ()
    """Those of `crops_then_full` unless given."""
    validation_images: int = 200
    initial: str | None = None
    """Checkpoint whose weights the training begins with."""
    qat: bool = False
    """Quantization-aware, with the activation ranges stored in `initial`; all views have the model's size."""
    teacher: str | None = None
    """Checkpoint of a larger detector with the same priors, whose answers are learnt besides the labels."""
    teacher_weight: float = 1.0
    rnn_density: tuple[float, float] | None = None
    """Final shares of RNNPool's W and U that are not 0; see `sparsity`."""
    device: str = "auto"
    """One of `launch.DEVICES`."""
    amp: bool = False
    """Convolutions in bfloat16."""
    compile: bool = False
    """By torch.compile, all but RNNPool."""
    workers: int | None = None
    """Processes that draw batches in advance; None: none on a CPU, up to 8 for each GPU."""
    evaluations: int = 14
    """Validations over the whole training, evenly spread."""
    saves: int = 50
    """Times last.pt is written, evenly spread; a killed run loses at most the part since the last."""

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise UsageError(
                "train: give either a number of minutes or a number of steps, not both and not neither"
            )
        if self.processes < 1:
            raise UsageError(f"train: processes {self.processes}, at least 1")
        if self.qat and self.initial is None:
            raise UsageError("train --qat: goes on from a trained checkpoint; name it with --init")
        if self.qat and self.device == "cuda":
            raise UsageError("train --qat: computes RNNPool's integers on the CPU; leave --device cuda out")
        clashing = [name for name in ("amp", "compile", "rnn_density") if getattr(self, name)]
        if self.qat and clashing:
            raise UsageError(f"train --qat: cannot be combined with {', '.join(clashing)}; leave it out")


def train(
    arch: str,
    out_dir: str | Path,
    data_root: str | Path | None = None,
    *,
    resume: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Train a detector of the zoo.

    Returns {"best": path, "ap50": best validation AP, "steps": n, "skipped": paths of unreadable images}.
    `settings` are Recipe's; give either `minutes` (wall clock, over all resumed parts) or `steps`. Writes
    into `out_dir`: best.pt (a checkpoint, chosen by AP on part_b_val), last.pt (to resume from), log.csv.
    UsageError for bad settings.
    """
    recipe = _for_size(Recipe(arch=arch, **settings), settings)
    recipe = replace(recipe, processes=process_count(recipe.processes))
    device = "cpu" if recipe.qat else choose_device(recipe.device)  # RNNPool's integers are numpy's
    root = _data_folder(data_root)
    out = output_folder(Path(out_dir), resume)
    return launch(run_worker, recipe.processes, device, recipe, root, out, resume, quiet, time.time())


def _for_size(recipe: Recipe, given: dict[str, Any]) -> Recipe:
    """The recipe with what follows from the size of the model, unless given."""
    size = _input_size(recipe)
    large = size[0] * size[1] > SMALL_MODEL
    fitting: dict[str, Any] = {"phases": full_views(size) if recipe.qat else crops_then_full(size)}
    fitting |= LARGE_MODEL_SETTINGS if large else {}
    return replace(recipe, **{name: value for name, value in fitting.items() if name not in given})


def _input_size(recipe: Recipe) -> tuple[int, int, int]:
    detector: Any = create(recipe.arch, **recipe.config)
    if not hasattr(detector, "anchors"):
        raise UsageError(f"train: {recipe.arch!r} is no detector, such as face-m4")
    height, width, channels = detector.input_size
    return (height, width, channels)


def _data_folder(named: str | Path | None) -> Path:
    """The data's root; read once, so that what is missing fails early and not in a process of its own."""
    root = Path(named) if named else default_data_root()
    if not root.is_dir():
        raise UsageError(f"train: no data folder {root}")
    load_split(root, "part_b_val")
    return root


def run_worker(
    place: Place, recipe: Recipe, root: Path, out: Path, resume: bool, quiet: bool, started: float
) -> dict[str, Any]:
    """One training process; the first one validates, logs and saves."""
    from rnnpool_mcu.training.detection.trainer import Trainer

    return Trainer(recipe, root, out, place, quiet, started).run(resume)


def describe(recipe: Recipe) -> dict[str, Any]:
    """Plain values of a recipe, for the checkpoint's metrics; of files their names, not where they lie."""
    plain = asdict(recipe)
    plain |= {key: Path(plain[key]).name for key in ("initial", "teacher") if plain[key]}
    plain["phases"] = [list(asdict(phase).values()) for phase in recipe.phases]
    return plain
