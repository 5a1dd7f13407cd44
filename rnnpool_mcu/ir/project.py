"""What a compiled project folder says about itself: `project.json`, read by all that builds or runs it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

from rnnpool_mcu.errors import ModelError, UsageError, UserError
from rnnpool_mcu.ir.firmware import arena_region_bytes
from rnnpool_mcu.ir.model_name import check_name
from rnnpool_mcu.ir.source import ModelInput
from rnnpool_mcu.system.plain_files import MAX_ARCHIVE_BYTES, FileFault, check_size, read_json
from rnnpool_mcu.system.typed import check_fields, checked, field_types

IMAGE_MODES = ("resident", "streamed")
OPTIMIZE = ("speed", "size")
OBJECTIVES = ("cycles", "ram")
KINDS = ("detector", "classifier")
DEFAULT_STACK_BYTES = 2048
FORMAT_VERSION = 1
GRAPH_NAME = "graph.npz"
"""The file beside it with the graph that was compiled."""
_GRAPH_HASH, _OWN_HASH = "graph_sha256", "sha256"
_MOST_BYTES = 16 << 20
_MOST_INPUT_BYTES = 1 << 28


@dataclass(frozen=True)
class InputShape:
    """One input of a compiled model: its name in C, and its rows of width x channels bytes."""

    field: str
    height: int
    width: int
    channels: int
    arena_offset: int | None = None  # where the arena holds it when it is resident

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.height, self.width, self.channels

    @property
    def row_bytes(self) -> int:
        return self.width * self.channels

    @property
    def bytes(self) -> int:
        return self.height * self.row_bytes


@dataclass(frozen=True)
class PlanOptions:
    """What a plan has to meet."""

    ram_bytes: int | None  # None: no limit
    image: str  # one of IMAGE_MODES
    optimize: str  # one of OPTIMIZE
    objective: str  # one of OBJECTIVES


@dataclass(frozen=True)
class Project:
    """One compiled model: its interface, its memory and where it runs.

    `inputs` names every input where there are several. `output_bytes` is `sizeof(<name>_output)`,
    `state_bytes` that of `<name>_state`, 0 where a run does not depend on earlier ones. `labels` are the
    names of the classes, if the model came with them. `ram_bytes` is the whole budget: stack, static
    variables, image (or row), output and state buffers, arena. `stack_bytes` is what the linker sets aside
    of it. `arena_region` and `weights_region` are memories of the board beside its RAM and flash.
    """

    FILE_NAME: ClassVar[str] = "project.json"

    name: str
    kind: str
    input_height: int
    input_width: int
    input_channels: int
    output_bytes: int
    arena_bytes: int
    image_mode: str
    ram_bytes: int
    board: str
    stack_bytes: int = DEFAULT_STACK_BYTES
    optimize: str = "speed"
    labels: tuple[str, ...] = ()
    preprocessing: dict[str, Any] = dataclasses.field(default_factory=lambda: ModelInput().as_json())
    format_version: int = FORMAT_VERSION
    state_bytes: int = 0
    inputs: tuple[InputShape, ...] = ()
    arena_region: str | None = None
    weights_region: str | None = None

    def __post_init__(self) -> None:
        _check_one_of("kind", self.kind, KINDS)
        _check_one_of("image_mode", self.image_mode, IMAGE_MODES)
        _check_one_of("optimize", self.optimize, OPTIMIZE)
        check_name(self.name, "model name")
        object.__setattr__(self, "labels", tuple(str(label) for label in self.labels))
        for field in ("input_height", "input_width", "input_channels", "output_bytes", "arena_bytes"):
            if getattr(self, field) <= 0:
                raise UsageError(f"project '{self.name}': {field} is {getattr(self, field)}, must be above 0")
        if self.format_version != FORMAT_VERSION:
            raise UsageError(f"format_version is {self.format_version}, supported: {FORMAT_VERSION}")
        sides = [side for given in self.every_input for side in given.shape]
        if min(sides) < 1 or not 0 < self.image_bytes <= _MOST_INPUT_BYTES:
            raise UsageError(
                f"project '{self.name}': inputs of {self.image_bytes} bytes, "
                f"allowed: 1 to {_MOST_INPUT_BYTES}"
            )

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width, channels of an input image; of the first input where there are several."""
        return self.input_height, self.input_width, self.input_channels

    @property
    def every_input(self) -> tuple[InputShape, ...]:
        """Of one or of several inputs, in order."""
        return self.inputs or (InputShape("input", *self.input_shape),)

    @property
    def resize(self) -> str:
        """How a photograph becomes an input: boxes keep their proportions, a classifier sees all of it."""
        return self.model_input.preprocessing.fit_of(self.kind)

    @property
    def model_input(self) -> ModelInput:
        """How inputs reach the graph; UsageError where `preprocessing` is not understood."""
        try:
            return ModelInput.from_json(self.preprocessing)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"project '{self.name}': preprocessing cannot be read ({error})") from error

    @property
    def image_bytes(self) -> int:
        """Bytes of the raw uint8 inputs of one run, rows of width x channels."""
        return sum(given.bytes for given in self.every_input)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of each input."""
        return sum(given.row_bytes for given in self.every_input)

    @property
    def arena_region_bytes(self) -> int:
        """Of the memory that holds the arena; 0 where it lies in the RAM."""
        return 0 if self.arena_region is None else arena_region_bytes(self.arena_bytes)

    @property
    def has_state(self) -> bool:
        """Whether a run depends on those before it."""
        return self.state_bytes > 0

    def save(self, folder: Path) -> None:
        """Writes `project.json` into `folder`; inputs and states where they are more than one image.

        It ends with the hash of the folder's graph, if one is there, and with its own: `load` compares them.
        """
        fields = dataclasses.asdict(self)
        plain = {"state_bytes": 0, "inputs": (), "arena_region": None, "weights_region": None}
        told = {name: value for name, value in fields.items() if plain.get(name) != value}
        graph = folder / GRAPH_NAME
        if graph.is_file():
            told[_GRAPH_HASH] = _sha256(graph.read_bytes())
        text = json.dumps(told | {_OWN_HASH: _own_hash(told)}, indent=2) + "\n"
        (folder / self.FILE_NAME).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Project:
        """Reads `project.json` of a compiled folder; UsageError without one, ModelError for a damaged one.

        Damaged is also one that was changed by hand, or stands beside another model's graph.
        """
        path = folder / cls.FILE_NAME
        if not path.is_file():
            raise UsageError(
                f"{folder}: no {cls.FILE_NAME} in it; give a folder written by `rnnpool-mcu compile`"
            )
        try:
            fields = read_json(path, _MOST_BYTES)
            if not isinstance(fields, dict):
                raise FileFault("expected an object")
            _check_hashes(fields, folder / GRAPH_NAME)
            rows = checked(fields.pop("inputs", ()), tuple[Any, ...], "inputs")
            inputs = [_made(InputShape, row, f"inputs[{number}]") for number, row in enumerate(rows)]
            project = cast(Project, _made(cls, fields | {"inputs": tuple(inputs)}, "project"))
            _ = project.model_input  # which reads the preprocessing
            return project
        except (FileFault, UserError) as error:
            raise ModelError(f"{path}: cannot be read ({error}); compile the model again") from error


def _check_hashes(fields: dict[str, Any], graph: Path) -> None:
    """FileFault where fields or the graph are not those that were written; takes the hashes out of `fields`.

    Files of older versions have none. A graph that is missing is told by whoever needs it.
    """
    own = fields.pop(_OWN_HASH, None)
    if own is not None and own != _own_hash(fields):
        raise FileFault(f"{_OWN_HASH} is that of other fields: the file was changed or damaged")
    expected = fields.pop(_GRAPH_HASH, None)
    if expected is None or not graph.is_file():
        return
    check_size(graph, MAX_ARCHIVE_BYTES)
    if (found := _sha256(graph.read_bytes())) != expected:
        raise FileFault(
            f"{_GRAPH_HASH} is {str(expected)[:12]}.., {graph.name} has {found[:12]}..: it was damaged, or "
            "is another model's"
        )


def _own_hash(fields: dict[str, Any]) -> str:
    """Of fields as JSON has them."""
    return _sha256(json.dumps(fields, sort_keys=True).encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _made(kind: type, fields: Any, place: str) -> Any:
    """The value of a dataclass, its fields checked against their annotations."""
    if not isinstance(fields, dict):
        raise FileFault(f"{place}: expected an object")
    check_fields(kind, fields, place)
    hints = field_types(kind)
    return kind(**{name: checked(value, hints[name], f"{place}.{name}") for name, value in fields.items()})


def _check_one_of(field: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{field} is '{value}', allowed: {', '.join(allowed)}")
