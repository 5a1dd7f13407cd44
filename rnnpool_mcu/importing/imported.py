"""What every reader of model files hands on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.source import AS_IT_IS, PLAIN, InputForm, ModelInput, Normalisation, Preprocessing
from rnnpool_mcu.quantize.float_agreement import FloatSource
from rnnpool_mcu.quantize.samples import Samples, samples_from

__all__ = ["AS_IT_IS", "PLAIN", "Calibration", "Imported", "Kind", "Normalisation", "Preprocessing"]

Kind = Literal["detector", "classifier"]


@dataclass(frozen=True)
class Calibration:
    """Inputs that set activation ranges, for formats that need them; at most `count`, drawn by `seed`."""

    folder: Path | None  # of pictures; or a file of arrays, see quantize/samples.py
    count: int = 64
    seed: int = 0
    preprocessing: Preprocessing = AS_IT_IS
    input_shape: tuple[int, ...] | None = None  # the input's in the file, where that leaves sides open

    @property
    def normalisation(self) -> Normalisation:
        """What a float model takes instead of pixels."""
        return self.preprocessing.normalisation

    def samples(
        self, path: Path, form: InputForm, fit: str = "resize", name: str = ""
    ) -> tuple[Samples, str]:
        """The inputs for a model file, and where they are from; UsageError where none were given.

        `fit` is how pictures are fitted where the preprocessing does not say, `name` the model's input.
        """
        if self.folder is None:
            raise UsageError(
                f"{path}: has float weights; give --calibration with a folder of typical pictures (and "
                "--mean, --std, where it was trained on anything but pixel / 255), or with a file of typical "
                "inputs (.npy, .npz, .csv)"
            )
        return samples_from(self.folder, form, self.count, self.seed, self.preprocessing, fit, name)


@dataclass(frozen=True, eq=False, kw_only=True)
class Imported:
    """An integer graph and where it came from."""

    graph: Graph
    kind: Kind  # "classifier" is any model whose outputs are int8 tensors
    calibration: str  # where the activation ranges came from, for the report
    sources: Mapping[str, str]  # value of the graph -> the name of the same value in the source
    labels: Sequence[str] = ()  # names of the classes, in the order of scores or of boxes' labels
    input: ModelInput = ModelInput()  # noqa: RUF009  (frozen)
    floating: FloatSource | None = None  # what it was quantized from here, if it was


def input_of_integers(form: InputForm, calibration: Calibration) -> ModelInput:
    """Of a file that is quantized: a normalisation stands before the graph, whose input's scale is fixed."""
    given = calibration.preprocessing
    return ModelInput(form, given, given.normalisation.is_plain)
