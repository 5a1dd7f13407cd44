"""Reader of .pt2 files, torch.export.save's archives; nothing in them is executed.

torch unpickles some parts of an archive without restriction, and runs compiled ones: files with such parts
are refused before torch sees them.
"""

from __future__ import annotations

import io
import json
import logging
import zipfile
from pathlib import Path
from typing import Any

import torch

import rnnpool_mcu.nn  # noqa: F401  registers torch.ops.rnnpool_mcu
from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.file_size import check_file_size
from rnnpool_mcu.nn.plain_tensors import check_tensor
from rnnpool_mcu.system.plain_files import check_archive

MAX_FILE_BYTES = 256 << 20
"""Of float weights, four bytes each; no Cortex-M4 has the flash for a quarter of it."""
_FOREIGN = ("aotinductor/", "custom_obj_", "opaque_obj_", "serialized_", "executorch/")
_HOW = "save the model again with torch.export.save(torch.export.export(module, (example,)), 'model.pt2')"


def read_pt2(path: Path) -> torch.export.ExportedProgram:
    """The program in the file; ModelError when it is damaged, too large, or holds more than tensors."""
    check_file_size(path, MAX_FILE_BYTES)
    try:
        _check_archive(path)
        return _loaded(path)
    except ModelError as error:
        raise ModelError(f"{path}: {error}; {_HOW}") from error
    except Exception as error:  # torch's reader raises many types; all of them mean the same to the user
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelError(f"{path}: torch.export cannot read it ({reason}); {_HOW}") from error


def _loaded(path: Path) -> torch.export.ExportedProgram:
    """As torch reads it; it logs what it fails at before it tries another format."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        program = torch.export.load(io.BytesIO(path.read_bytes()))
    finally:
        logging.disable(disabled)
    if not isinstance(program, torch.export.ExportedProgram):
        raise ModelError(f"holds {type(program).__name__}, supported: an exported program")
    for name, tensor in {**program.state_dict, **program.constants}.items():
        if isinstance(tensor, torch.Tensor):
            check_tensor(name, tensor)
    return program


def _check_archive(path: Path) -> None:
    """Refuse anything that torch would unpickle freely or execute."""
    if not zipfile.is_zipfile(path):
        raise ModelError("is no archive of torch.export")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        check_archive(archive, MAX_FILE_BYTES)
        models = [member for member in members if "models/" in member.filename]
        if len(models) != 1:
            raise ModelError(f"holds {len(models)} programs of this version, supported: 1")
        for member in members:
            name = member.filename
            if any(part in name for part in _FOREIGN):
                raise ModelError(f"holds '{name}', supported: a program with tensors only")
            if name.endswith(".pt"):
                _check_pickle(name, archive.read(member))
            elif name.endswith("_config.json"):
                _check_payloads(name, json.loads(archive.read(member)))


def _check_pickle(name: str, data: bytes) -> None:
    """Example inputs: tensors and plain containers, or nothing."""
    if "sample_inputs/" not in name:
        raise ModelError(f"holds a pickle, '{name}', supported: plain tensors")
    if data:
        try:
            torch.load(io.BytesIO(data), weights_only=True)
        except Exception as error:
            raise ModelError(f"'{name}' holds more than tensors") from error


def _check_payloads(name: str, payloads: Any) -> None:
    for key, payload in payloads["config"].items():
        if payload["use_pickle"]:
            raise ModelError(f"'{key}' in '{name}' is pickled, supported: plain tensors")
