"""The `.pt` file of a trained model: weights with everything needed to use them, and no code.

    {format_version, arch, config, state_dict, preprocessing, labels, metrics}

and optionally `calibration`: {name of an activation: (scale, zero point)}, the int8 ranges found on
calibration images, so that the model compiles to the same integers wherever it goes.

Loaded with `weights_only=True`: a file that would run code is refused.
"""

from __future__ import annotations

import io
import os
import pickle
import reprlib
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.nn.plain_tensors import check_tensor
from rnnpool_mcu.system.plain_files import check_archive
from rnnpool_mcu.zoo.registry import create, names

FORMAT_VERSION = 1
LARGEST_SETTING = 1 << 16  # of a model's configuration
MOST_VALUES = 100_000  # of a field
MOST_WEIGHTS = 64 << 20
KEYS = ("format_version", "arch", "config", "state_dict", "preprocessing", "labels", "metrics")
HOW_TO_SAVE = "save it with rnnpool_mcu.zoo.checkpoint.save_checkpoint(path, model, arch, config, ...)"
OWN_ARCHITECTURE = (
    "a .pt file is a model of rnnpool_mcu.zoo; for an architecture of your own call "
    "rnnpool_mcu.compile(module, example, calibration) in Python, or save it by torch.export.save("
    "torch.export.export(module.eval(), (example,)), 'model.pt2') and give the .pt2 file"
)

GRAY_PREPROCESSING: dict[str, Any] = {
    "color": "gray", "scale": 1 / 255, "mean": [0.0], "std": [1.0], "resize": "fit", "pad": "right-bottom",
    "fill": 0,
}  # fmt: skip
RGB_PREPROCESSING: dict[str, Any] = {
    "color": "rgb", "scale": 1 / 255, "mean": [0.0] * 3, "std": [1.0] * 3, "resize": "stretch",
}  # fmt: skip


def detector_preprocessing(channels: int) -> dict[str, Any]:
    """What a detector of one (grey) or three channels (RGB) is shown: letterboxed pixels / 255."""
    colour = {"color": "rgb", "mean": [0.0] * 3, "std": [1.0] * 3} if channels == 3 else {}
    return GRAY_PREPROCESSING | colour


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode and what its checkpoint says about it."""

    model: nn.Module
    arch: str
    config: dict[str, Any]
    preprocessing: dict[str, Any]
    labels: list[str]
    metrics: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, tuple[float, int]] | None = None  # scale and zero point by activation


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    arch: str,
    config: dict[str, Any],
    preprocessing: dict[str, Any],
    labels: list[str],
    metrics: dict[str, Any] | None = None,
    calibration: dict[str, tuple[float, int]] | None = None,
) -> None:
    """Write a model to `path`, whole or not at all."""
    state = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    values = (FORMAT_VERSION, arch, config, state, preprocessing, labels, metrics or {})
    content = dict(zip(KEYS, values, strict=True))
    if calibration is not None:
        content["calibration"] = calibration
    atomic_save(content, path)


def atomic_save(content: Any, path: str | Path) -> None:
    """torch.save into a temporary file beside `path`, then rename it: no reader sees half a file.

    Links are followed, and what is no file (a pipe, a device) is written to. Raises OSError with `path` where
    it cannot be written.
    """
    path, archive = Path(path).resolve(), io.BytesIO()
    torch.save(content, archive)  # straight into a file, it hides why the file cannot be written
    if path.exists() and not path.is_file():
        path.write_bytes(archive.getbuffer())
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=path.name + ".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(archive.getbuffer())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def load_checkpoint(path: str | Path) -> LoadedModel:
    """Read a checkpoint and build its model, in evaluation mode; ModelError says what is wrong."""
    path = Path(path)
    content = read_plain(path)
    _check_keys(path, content)
    arch, config, state = content["arch"], content["config"] or {}, content["state_dict"] or {}
    for name, value in state.items():
        _check_entry(path, name, value)
    _check_size(path, arch, config)
    check_finite(path, state)
    model = create(arch, **config)
    load_weights(path, model, state)
    model.eval()
    labels, metrics = content["labels"] or [], content["metrics"] or {}
    calibration = _calibration(path, content.get("calibration"))
    preprocessing = dict(content["preprocessing"] or {})
    return LoadedModel(model, arch, dict(config), preprocessing, list(labels), dict(metrics), calibration)


def read_plain(path: Path) -> Any:
    """Content of a torch archive without code; ModelError for every other file."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ModelError(f"{path}: {what}; give a .pt file of this project")
    try:
        _refuse_other_files(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except ModelError:
        raise
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path}: holds pickled Python objects (a whole nn.Module?), which are not loaded since they can "
            f"run code; {OWN_ARCHITECTURE}"
        ) from error
    except Exception as error:  # a damaged archive brings whatever its bytes happen to mean
        raise ModelError(f"{path}: damaged or not a checkpoint ({error}); fetch or save it again") from error


def _refuse_other_files(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        raise ModelError(_why_not_zip(path))
    with zipfile.ZipFile(path) as archive:
        check_archive(archive)
        members = archive.namelist()
    if any("/code/" in name or name.endswith("constants.pkl") for name in members):
        raise ModelError(
            f"{path}: a TorchScript archive, which is not read; {OWN_ARCHITECTURE}; or load it with "
            f"torch.jit.load, copy its state_dict() into a model of rnnpool_mcu.zoo and {HOW_TO_SAVE}"
        )


def _why_not_zip(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(4)
    if not head:
        return f"{path}: the file is empty; fetch or save it again"
    if head[:2] == b"PK":
        size = path.stat().st_size
        return f"{path}: the file is truncated ({size} bytes, no end of archive); fetch or save it again"
    if head[:1] == b"\x80":
        return f"{path}: a bare pickle, which is not loaded since it can run code; {OWN_ARCHITECTURE}"
    return f"{path}: not a model (no PyTorch archive); give a .pt file of this project"


def _check_keys(path: Path, content: Any) -> None:
    if not isinstance(content, dict):
        raise ModelError(f"{path}: holds a {type(content).__name__}, not a checkpoint; {HOW_TO_SAVE}")
    missing = [key for key in KEYS if key not in content]
    if missing:
        kind = "a bare state_dict" if all(isinstance(v, torch.Tensor) for v in content.values()) else "a dict"
        raise ModelError(
            f"{path}: {kind} without {', '.join(missing)}; {OWN_ARCHITECTURE}; for a model of the zoo "
            f"{HOW_TO_SAVE}"
        )
    foreign = [
        key for key in content if key not in ("state_dict", "format_version") and not is_plain(content[key])
    ]
    if foreign:
        raise ModelError(
            f"{path}: {foreign[0]!r} is {_told(content[foreign[0]])}, allowed: numbers, texts, lists "
            f"and dicts of these; {HOW_TO_SAVE}"
        )
    version = content["format_version"]
    if type(version) is not int or version != FORMAT_VERSION:
        raise ModelError(
            f"{path}: format_version {reprlib.repr(version)}, supported {FORMAT_VERSION}; "
            "use a matching release"
        )
    if not isinstance(content["arch"], str) or content["arch"] not in names():
        raise ModelError(
            f"{path}: model {reprlib.repr(content['arch'])} is not known; known: {', '.join(names())}; "
            f"{OWN_ARCHITECTURE}"
        )
    dicts = [
        {} if content[key] is None else content[key]
        for key in ("config", "state_dict", "preprocessing", "metrics")
    ]
    plain = all(isinstance(value, dict) and all(isinstance(k, str) for k in value) for value in dicts)
    labels = [] if content["labels"] is None else content["labels"]
    if not plain or not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ModelError(
            f"{path}: config, state_dict, preprocessing and metrics must be dicts by name, "
            f"labels a list of texts; {HOW_TO_SAVE}"
        )


def _calibration(path: Path, content: Any) -> dict[str, tuple[float, int]] | None:
    """The stored activation ranges, checked; None when the checkpoint has none."""
    if content is None:
        return None
    try:
        found = {str(name): (float(scale), int(zero_point)) for name, (scale, zero_point) in content.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path}: calibration must be {{name: (scale, zero point)}}; calibrate again"
        ) from error
    for name, (scale, zero_point) in found.items():
        if not (0.0 < scale < float("inf") and -128 <= zero_point <= 127):
            raise ModelError(
                f"{path}: calibration of {name!r} is ({scale}, {zero_point}), allowed: a finite scale > 0 "
                "and a zero point in -128..127; calibrate again"
            )
    return found


def _check_entry(path: Path, name: str, value: Any) -> None:
    if not isinstance(value, torch.Tensor):
        raise ModelError(f"{path}: state_dict entry {name!r} is a {type(value).__name__}, not a tensor")
    try:
        check_tensor(name, value)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _check_size(path: Path, arch: str, config: dict[str, Any]) -> None:
    """ModelError for a model too large for any board, before memory is taken for it."""
    large = [key for key, value in config.items() if isinstance(value, int) and abs(value) > LARGEST_SETTING]
    if large:
        raise ModelError(
            f"{path}: config {large[0]!r} is {config[large[0]]}, allowed: at most {LARGEST_SETTING}"
        )
    with torch.device("meta"):
        model = create(arch, **config)
    count = sum(value.numel() for value in model.state_dict().values())
    if count > MOST_WEIGHTS:
        raise ModelError(
            f"{path}: config makes {count:,} weights, allowed: {MOST_WEIGHTS:,}; use a smaller model"
        )


def is_plain(value: Any) -> bool:
    """Whether a value is numbers, texts, None and not too many lists, tuples and dicts of these."""
    waiting, seen = [value], 0
    while waiting and seen <= MOST_VALUES:
        seen += 1
        item = waiting.pop()
        if isinstance(item, dict):
            waiting.extend(item.keys())
            waiting.extend(item.values())
        elif isinstance(item, list | tuple | set | frozenset):
            waiting.extend(item)
        elif item is not None and not isinstance(item, bool | int | float | str):
            return False
    return not waiting


def _told(value: Any) -> str:
    kind = type(value).__name__
    return f"a {kind} with more than plain values" if isinstance(value, list | tuple | dict) else f"a {kind}"


def check_finite(path: Path, state: dict[str, torch.Tensor]) -> None:
    """Refuse NaN and infinite weights, naming the tensor."""
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise ModelError(f"{path}: state_dict entry {name!r} is a {type(value).__name__}, not a tensor")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            bad = int((~torch.isfinite(value)).sum())
            raise ModelError(
                f"{path}: tensor {name!r} has {bad} of {value.numel()} values NaN or infinite; "
                "the training diverged: use an earlier checkpoint or a lower learning rate"
            )


def load_weights(path: Path, model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Copy a state dict into a model; ModelError for missing, unexpected and wrongly shaped tensors."""
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"{path}: the weights do not fit the model: {error}") from error
    if missing or unexpected:
        lost = f"missing {', '.join(missing[:5])}" if missing else ""
        extra = f"unexpected {', '.join(unexpected[:5])}" if unexpected else ""
        parts = "; ".join(part for part in (lost, extra) if part)
        raise ModelError(
            f"{path}: the weights do not fit the model ({len(missing)} missing, "
            f"{len(unexpected)} unexpected): {parts}; check 'arch' and 'config' in the checkpoint"
        )
