"""The Python interface: a torch module to C with a proven RAM budget, in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ToolMissingError, UsageError
from rnnpool_mcu.ir.evaluate import evaluate_graph, image_to_int8
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.model_name import check_name
from rnnpool_mcu.ir.project import IMAGE_MODES, OBJECTIVES, OPTIMIZE
from rnnpool_mcu.ir.sizes import parse_size
from rnnpool_mcu.ir.source import quantized_input
from rnnpool_mcu.ir.tensor_type import FrameworkShape, TensorType
from rnnpool_mcu.pipeline import Target, agreement_with_float, compile_graph
from rnnpool_mcu.report import Report
from rnnpool_mcu.system.output_folder import check_replaceable, whole_folder
from rnnpool_mcu.toolchain.board import check_ram, load_board
from rnnpool_mcu.validate.check import check_compiled

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

    from rnnpool_mcu.importing.torch_program import ImportedProgram

Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class CompiledModel:
    """A compiled model: its folder of C and firmware, its report, and its definition in integers."""

    folder: Path
    report: Report
    graph: Graph
    example_shapes: tuple[tuple[int, ...], ...] = ()  # of the inputs as the module takes them
    outputs: tuple[FrameworkShape, ...] = ()  # as the module gives them

    @property
    def ram_bytes(self) -> int:
        """All the RAM that the program takes on its board: arena, stack, static data, image and output."""
        return int(self.report["ram"]["total_bytes"])

    def run(self, *images: NDArray[Any]) -> tuple[NDArray[np.int8], ...]:
        """The outputs that the C gives, byte for byte, by the definition in numpy: int8 [H, W, C] each.

        An image is uint8 [H, W, C] as the C takes it, or float (array or tensor) [1, C, H, W] or [C, H, W] as
        the module takes it, or of the shape of its example; one for each input. Raises UsageError for another
        number or shape, and for values that are not finite.
        """
        if len(images) != len(self.graph.inputs):
            names = ", ".join(given.name for given in self.graph.inputs)
            raise UsageError(f"{len(images)} inputs, allowed: one for each of {names}")
        shapes = self.example_shapes or ((),) * len(images)
        given = {
            one.name: _quantized(one.type, shape, image)
            for one, shape, image in zip(self.graph.inputs, shapes, images, strict=True)
        }
        values = evaluate_graph(self.graph, given)
        return tuple(values[name] for name in self.graph.outputs)

    def predict(self, *images: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
        """As `run`, the real values that the int8 outputs stand for, in the shapes that the module gives."""
        found = []
        for at, (name, value) in enumerate(zip(self.graph.outputs, self.run(*images), strict=True)):
            kind = self.graph.types[name]
            assert isinstance(kind, TensorType)
            real = (value.astype(np.float32) - kind.zero_point) * np.float32(kind.scale)
            form = self.outputs[at] if self.outputs else FrameworkShape((1, *real.transpose(2, 0, 1).shape))
            found.append(form.of(real))
        return tuple(found)


def _quantized(kind: TensorType, example_shape: tuple[int, ...], image: Any) -> NDArray[np.int8]:
    """An input of the graph."""
    values = _as_array(image)
    if values.dtype == np.uint8 and values.shape == kind.shape:
        return image_to_int8(values)
    channels_first = (kind.channels, kind.height, kind.width)
    allowed = ((1, *channels_first), channels_first, example_shape or channels_first)
    if values.dtype.kind != "f" or values.shape not in allowed:
        raise UsageError(
            f"image: {values.dtype} {list(values.shape)}, allowed: uint8 {list(kind.shape)}, or float "
            f"{list(example_shape or (1, *channels_first))}"
        )
    if not np.isfinite(values).all():
        raise UsageError("image: holds NaN or infinite values, allowed: finite ones; mend what makes it")
    return quantized_input(kind, values.reshape(channels_first).transpose(1, 2, 0))


def compile(
    module: nn.Module | ExportedProgram,
    example: Any = None,
    calibration: Any = None,
    ram: str | int = "256k",
    *,
    out: str | Path | None = None,
    name: str = "model",
    image: str = "resident",
    board: str = "mps2-an386",
    optimize: str = "speed",
    objective: str = "cycles",
    labels: Sequence[str] = (),
    count: int = 64,
    seed: int = 0,
    accept_loss: bool = False,
    check: bool = True,
    progress: Progress = lambda _: None,
    warn: Progress = lambda _: None,
) -> CompiledModel:
    """Compile a torch module to C and firmware in the folder `out` whose whole RAM stays within `ram`.

    module: an nn.Module, which is exported for inputs like `example` (a float tensor of one image, or a
    tuple of one tensor for each input) in evaluation mode; or a program of torch.export, float, or quantized
    by torchao's PT2E flow, whose open sides are those of `example`.
    calibration: what sets a float model's activation ranges: a float tensor [N, C, H, W], an iterable of
    batches such as a DataLoader, a uint8 array of pictures [N, H, W, C], or a folder of pictures, which enter
    as pixel / 255, or a file of arrays (.npy, .npz, .csv); the first `count` of them, of a folder or file
    drawn by `seed`. Over these the float model is compared with the integers: see the report's `agreement`;
    `warn` is told of a cosine similarity below 0.99, below 0.9 it is an error unless `accept_loss`. A module
    of several inputs takes tuples of a tensor for each, or an .npz with an array of rows for each.
    labels: names of the classes, for the C header and for reports.
    check: whether one image runs on int8, c and, where QEMU is there, the board before it is done.
    The others are the options of `rnnpool-mcu compile`. Raises UserError (UsageError, ModelError,
    BudgetError, ToolMissingError), whose message tells what to do.
    """
    wanted = _wanted(name, ram, image, board, optimize, objective)
    path = Path(out) if out is not None else Path(f"{name}_out")
    check_replaceable(path)
    imported = import_torch(module, example, calibration, count=count, seed=seed, progress=progress)
    target = replace(
        wanted,
        title=f"{imported.kind} {name}",
        source=type(module).__name__,
        calibration=imported.calibration,
        labels=tuple(labels),
        input=imported.input,
        agreement=agreement_with_float(imported.floating, name, accept_loss, progress, warn),
    )
    return _compile_imported(imported, target, path, check=check, progress=progress, warn=warn)


def _wanted(name: str, ram: str | int, image: str, board: str, optimize: str, objective: str) -> Target:
    """The options as a target that has no model yet; UsageError for one that is not allowed."""
    check_name(name, "name")
    _check_choice("image", image, IMAGE_MODES)
    _check_choice("optimize", optimize, OPTIMIZE)
    _check_choice("objective", objective, OBJECTIVES)
    ram_bytes = _size(ram)
    check_ram(load_board(board), ram_bytes)
    return Target(
        name=name,
        ram_bytes=ram_bytes,
        image=image,
        board=board,
        title="",
        source="",
        optimize=optimize,
        objective=objective,
    )


def _compile_imported(
    imported: ImportedProgram, target: Target, path: Path, *, check: bool, progress: Progress, warn: Progress
) -> CompiledModel:
    """Passes, then all that `compile_graph` does, into a folder that is there whole or not at all."""
    from rnnpool_mcu.passes import run_passes

    graph = run_passes(imported.graph)
    with whole_folder(path) as folder:
        report = compile_graph(graph, target, folder, progress=progress, warn=warn)
        if check:
            report = check_compiled(folder, report, progress, warn)
    resident = replace(graph, image_resident=target.image == "resident")
    return CompiledModel(path, report, resident, imported.shapes, imported.outputs)


def quantize_module(
    module: nn.Module | ExportedProgram,
    example: Any = None,
    calibration: Any = None,
    *,
    count: int = 64,
    seed: int = 0,
    accept_loss: bool = False,
    warn: Progress = lambda _: None,
) -> ExportedProgram:
    """A float module or program in int8, as `compile` quantizes it: a program with quantize nodes.

    torch.export.save writes it to a .pt2 file, which `rnnpool-mcu compile`, `analyze` and `validate --source`
    take. Arguments and errors are those of `compile`.
    """
    from rnnpool_mcu.importing.torch_program import as_program

    imported = import_torch(module, example, calibration, count=count, seed=seed)
    agreement_with_float(imported.floating, type(module).__name__, accept_loss, warn=warn)
    return as_program(imported.module, *imported.shapes)


def import_torch(
    module: Any,
    example: Any,
    calibration: Any,
    *,
    count: int = 64,
    seed: int = 0,
    progress: Progress = lambda _: None,
) -> ImportedProgram:
    """The integer graph of a module or program, passes not run; see `compile`."""
    _check_least("count", count, 1)
    _check_least("seed", seed, 0)
    try:
        import torchao  # noqa: F401  only asked whether it is there
        from torch import nn
        from torch.export import ExportedProgram
    except ModuleNotFoundError as error:
        raise ToolMissingError(f"{error.name} is not installed; pip install 'rnnpool-mcu[torch]'") from error

    from rnnpool_mcu.frontends.torch.checks import is_quantized
    from rnnpool_mcu.importing import torch_program
    from rnnpool_mcu.importing.program_sides import with_sides

    if isinstance(module, ExportedProgram):
        sides = None if example is None else tuple(getattr(example, "shape", ())) or None
        program = with_sides(module, sides)
    elif isinstance(module, nn.Module):
        progress("exporting the module")
        program = torch_program.export_module(module, example)
    else:
        raise UsageError(
            f"module: {type(module).__name__}, allowed: nn.Module or a program of torch.export; for files "
            "see `rnnpool-mcu compile`"
        )
    if is_quantized(program.graph_module):
        return torch_program.import_quantized(program)
    progress("quantizing")
    return torch_program.quantize(program, calibration, count, seed).imported()


def _check_choice(argument: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{argument}: {value!r}, allowed: {', '.join(allowed)}")


def _check_least(argument: str, value: int, least: int) -> None:
    if not isinstance(value, int) or value < least:
        raise UsageError(f"{argument}: {value!r}, allowed: whole numbers of at least {least}")


def _as_array(image: Any) -> NDArray[Any]:
    """A torch tensor, or what numpy takes, as an array; tensors may ask for gradients, or be bfloat16."""
    if hasattr(image, "detach"):
        image = image.detach().cpu()
        image = image.double() if image.is_floating_point() else image
    return np.asarray(image)


def _size(ram: str | int) -> int:
    try:
        return parse_size(str(ram))
    except ValueError as error:
        raise UsageError(f"ram: {error}") from error
