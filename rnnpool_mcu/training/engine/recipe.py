"""The settings of a training that every task shares."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from rnnpool_mcu.errors import UsageError


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is learnt; written into the checkpoint's metrics.

    A task has a subclass with its own settings, and its own defaults for these.
    """

    resumed_alike: ClassVar[tuple[str, ...]] = ("arch", "config", "seed", "rnn_density", "qat")
    """Settings that a resumed training cannot change."""

    arch: str
    config: dict[str, Any] = field(default_factory=dict)
    minutes: float | None = None
    steps: int | None = None
    learning_rate: float = 2e-3
    warmup: float = 0.02
    """Share of the training over which the learning rate rises."""
    least_rate: float = 0.01
    """Learning rate at the end, as a share of the highest."""
    weight_decay: float = 1e-4
    ema_decay: float = 0.9985
    clip_norm: float = 5.0
    seed: int = 1
    processes: int = 1
    initial: str | None = None
    """Checkpoint whose weights the training begins with."""
    qat: bool = False
    """Quantization-aware, with the activation ranges stored in `initial`."""
    teacher: str | None = None
    """Checkpoint of a larger model of the same task, whose answers are learnt besides the labels."""
    teacher_weight: float = 1.0
    rnn_density: tuple[float, float] | None = None
    """Final shares of RNNPool's W and U that are not 0; see `sparsity`."""
    device: str = "auto"
    """One of `launch.DEVICES`."""
    amp: bool = False
    """All but RNNPool in bfloat16."""
    compile: bool = False
    """By torch.compile, all but RNNPool."""
    workers: int | None = None
    """Processes that draw batches in advance; None: none on a CPU, up to 8 for each GPU."""
    evaluations: int = 10
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

    def describe(self) -> dict[str, Any]:
        """Plain values for the checkpoint's metrics; of files their names, not where they lie."""
        plain = asdict(self)
        return plain | {key: Path(plain[key]).name for key in ("initial", "teacher") if plain[key]}
