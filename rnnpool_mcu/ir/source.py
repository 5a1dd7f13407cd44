"""Where a model came from: its input's form, the preprocessing of pictures, and the runtimes that know it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.evaluate import Inputs, image_to_int8
from rnnpool_mcu.ir.tensor_type import TensorType

CHANNEL_ORDERS = ("rgb", "bgr")
FITS = ("resize", "crop", "letterbox")
"""How a picture of other sides is brought to the input's: stretched, its middle cut out, or padded."""


@dataclass(frozen=True)
class Normalisation:
    """A float model takes (pixel * scale - mean) / std, one mean and std in all or one per channel."""

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    scale: float = 1 / 255

    @property
    def is_plain(self) -> bool:
        """Whether the model takes pixel / 255."""
        return self == Normalisation()

    def per_channel(self, channels: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Factor and term of each channel: the model takes pixel * factor + term.

        Raises UsageError for another number of means or standard deviations than one or `channels`.
        """
        for values in (self.mean, self.std):
            if len(values) not in (1, channels):
                raise UsageError(
                    f"--mean, --std: {len(values)} values for {channels} channels; give one, or one per "
                    "channel"
                )
        mean, std = (np.broadcast_to(np.array(v, np.float64), (channels,)) for v in (self.mean, self.std))
        return self.scale / std, -mean / std

    def real(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """What the model takes for pixels [.., C]."""
        factor, term = self.per_channel(pixels.shape[-1])
        return pixels * factor + term


PLAIN = Normalisation()


@dataclass(frozen=True)
class Preprocessing:
    """From a picture to a model's input: sides, order of channels, values."""

    normalisation: Normalisation = PLAIN
    channel_order: str = CHANNEL_ORDERS[0]
    fit: str = ""  # one of FITS; without it a detector's pictures are letterboxed, others resized

    def fit_of(self, kind: str) -> str:
        """How pictures are fitted for a "detector" or a "classifier"."""
        return self.fit or ("letterbox" if kind == "detector" else "resize")

    def as_json(self) -> dict[str, Any]:
        """Its fields by name, as JSON has them: lists, no tuples."""
        normalisation = {key: _plain(value) for key, value in asdict(self.normalisation).items()}
        return {**normalisation, "channel_order": self.channel_order, "fit": self.fit}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Preprocessing:
        """Of what `as_json` gave; KeyError, TypeError and ValueError for anything else."""
        mean, std = (tuple(float(each) for each in value[key]) for key in ("mean", "std"))
        found = cls(Normalisation(mean, std, float(value["scale"])), value["channel_order"], value["fit"])
        if found.channel_order not in CHANNEL_ORDERS or found.fit not in ("", *FITS):
            raise ValueError(f"channel order '{found.channel_order}', fit '{found.fit}'")
        return found


AS_IT_IS = Preprocessing()


def in_order(images: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """RGB pictures [.., C] with their channels in the model's order; grey ones have but one."""
    return images if preprocessing.channel_order == "rgb" else np.ascontiguousarray(images[..., ::-1])


PIXELS = (1.0 / 255.0, -128)
"""Scale and zero point of a model's input pixel / 255: the pixel byte minus 128 is its int8 form."""

FIT_NOTES = {
    "resize": "A picture is resized to the input's width and height.",
    "crop": "The middle of a picture, as large as the input's aspect ratio allows, is resized.",
    "letterbox": "A picture keeps its aspect ratio at the upper left; what is left over is 0.",
}


@dataclass(frozen=True)
class InputForm:
    """Shape and order of the one input: [1, channels, height, width], or with its channels last.

    Of fewer dimensions a signal is [1, channels, length] or [1, length, channels], features [1, channels].
    """

    shape: tuple[int, ...]  # batch first
    channels_last: bool = False

    @property
    def size(self) -> tuple[int, int, int]:
        """Height, width and channels in the graph."""
        sides = self.shape[1:] if len(self.shape) > 1 else self.shape
        if len(sides) > 1 and not self.channels_last:
            sides = (*sides[1:], sides[0])
        height, width, channels = (1, 1, 1, *sides)[-3:]
        return height, width, channels

    @property
    def is_picture(self) -> bool:
        """Whether pictures can be its input."""
        return len(self.shape) == 4 and self.size[2] in (1, 3)

    def as_json(self) -> dict[str, Any]:
        """Its fields by name, as JSON has them."""
        return {key: _plain(value) for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> InputForm:
        """Of what `as_json` gave; KeyError and TypeError for anything else."""
        return cls(tuple(int(side) for side in value["shape"]), bool(value["channels_last"]))

    def to_graph(self, given: NDArray[Any]) -> NDArray[Any]:
        """One input in the framework's order, of whatever shape, as the graph's [H, W, C]."""
        height, width, channels = self.size
        if self.channels_last:
            return given.reshape(self.size)
        return np.ascontiguousarray(given.reshape(channels, height, width).transpose(1, 2, 0))

    def from_graph(self, image: NDArray[Any]) -> NDArray[Any]:
        """The graph's [H, W, C] as the framework has it."""
        ordered = image if self.channels_last else image.transpose(2, 0, 1)
        return np.ascontiguousarray(ordered).reshape(self.shape)


@dataclass(frozen=True)
class NamedForm:
    """One of several inputs: its name in the file, and its form there."""

    name: str
    form: InputForm


@dataclass(frozen=True)
class ModelInput:
    """How inputs reach the graph."""

    form: InputForm | None = None  # as the model's framework has it; None: not known
    preprocessing: Preprocessing = AS_IT_IS
    takes_pixels: bool = True  # what remains of the preprocessing is in the graph and its input's scale
    several: tuple[NamedForm, ...] = ()  # every input, in the graph's order, where there are several

    def bytes_of(self, pixels: NDArray[np.uint8], kind: TensorType) -> NDArray[np.uint8]:
        """What the C takes for RGB or grey pixels [.., H, W, C]; `kind` is the graph's input."""
        ordered = in_order(pixels, self.preprocessing)
        if self.takes_pixels:
            return ordered
        return input_bytes(kind, self.preprocessing.normalisation.real(ordered))

    def notes(self) -> list[str]:
        """How a picture becomes the bytes, where there is more to say than that they are its pixels."""
        given, notes = self.preprocessing, []
        if given.channel_order != "rgb":
            notes.append("The channels of a pixel are blue, green, red.")
        if given.fit:
            notes.append(FIT_NOTES[given.fit])
        normalisation = given.normalisation
        if normalisation.is_plain:
            return notes
        mean, std = (
            ", ".join(f"{v:g}" for v in values) for values in (normalisation.mean, normalisation.std)
        )
        real = f"(pixel * {normalisation.scale:.9g} - mean) / std, mean {mean}, std {std}"
        if self.takes_pixels:
            return [*notes, f"The bytes are pixels; {real} is part of the model."]
        return [*notes, f"The model was trained on {real}: bytes are these / INPUT_SCALE + INPUT_ZERO_POINT."]

    @property
    def shape_in_file(self) -> tuple[int, ...] | None:
        """The input's shape there; None where it is not known."""
        return None if self.form is None else self.form.shape

    def form_in(self, kind: TensorType) -> InputForm:
        """The form; of a graph alone where it is not known."""
        return self.form or InputForm((1, *kind.shape), channels_last=True)

    def as_json(self) -> dict[str, Any]:
        """Its fields by name, as JSON has them."""
        form = None if self.form is None else self.form.as_json()
        more = {"several": [{"name": each.name, **each.form.as_json()} for each in self.several]}
        told = {**self.preprocessing.as_json(), "takes_pixels": self.takes_pixels, "form": form}
        return {**told, **more} if self.several else told

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ModelInput:
        """Of what `as_json` gave; KeyError, TypeError and ValueError for anything else."""
        form = value["form"]
        known = None if form is None else InputForm.from_json(form)
        several = tuple(
            NamedForm(str(each["name"]), InputForm.from_json(each)) for each in value.get("several", ())
        )
        return cls(known, Preprocessing.from_json(value), bool(value["takes_pixels"]), several)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def quantized_input(kind: TensorType, sample: NDArray[Any]) -> NDArray[np.int8]:
    """The graph's int8 input for a sample [H, W, C]: camera bytes (uint8), or real values (floating)."""
    if sample.dtype == np.uint8:
        return image_to_int8(sample)
    steps = np.rint(sample.astype(np.float64) / kind.scale) + kind.zero_point
    found: NDArray[np.int8] = np.clip(steps, -128, 127).astype(np.int8)
    return found


def real_values(given: NDArray[np.uint8], kind: TensorType) -> NDArray[np.float32]:
    """What the bytes that the C takes stand for."""
    steps = given.astype(np.float64) - 128 - kind.zero_point
    return (steps * kind.scale).astype(np.float32)


def input_bytes(kind: TensorType, samples: NDArray[Any]) -> NDArray[np.uint8]:
    """Samples [N, H, W, C] as the bytes that the C takes: camera bytes as they are, int8 values + 128."""
    if samples.dtype == np.uint8:
        return samples
    steps = quantized_input(kind, samples).astype(np.int16) + 128
    return steps.astype(np.uint8)


class SourceRuntime(Protocol):
    """Runs the model file itself, by the framework's own kernels."""

    name: str  # for people: runtime, version, kernels

    def reset(self) -> None:
        """Forget all earlier inputs: what comes next is the first of a sequence."""

    def values(self, image: Inputs) -> Mapping[str, NDArray[np.int8]]:
        """int8 height x width x channels of each value of the integer graph that the runtime has, by name.

        `image` is the graph's int8 input, or each input by name where it has several. A value that the
        runtime does not compute is left out; states are as they were before this run.
        """


class FloatRuntime(Protocol):
    """Runs the float model that an integer graph was quantized from, by the framework's own kernels."""

    name: str  # for people: runtime, version, that it is float

    def values(self, samples: Any) -> Iterator[Mapping[str, NDArray[Any]]]:
        """Real values, height x width x channels, of each value of the integer graph that it has, by name.

        One mapping for each of the samples [N, H, W, C], or for each tuple of one of each input: camera bytes
        (uint8), which it takes as they are normalised for the model, or real values (floating) as the model
        itself takes them. Every output of the graph is there, or what its decode reads.
        """
