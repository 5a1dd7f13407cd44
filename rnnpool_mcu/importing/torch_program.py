"""From a torch module, an exported program or a .pt2 file to the integer graph; float ones are quantized."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from rnnpool_mcu.errors import ModelError, UsageError
from rnnpool_mcu.frontends.channels_first import image_shape
from rnnpool_mcu.frontends.torch.checks import check_operators, is_quantized
from rnnpool_mcu.frontends.torch.front import import_exported
from rnnpool_mcu.frontends.torch.pt2_reader import read_pt2
from rnnpool_mcu.importing.checkpoint import TORCH_CONVERTERS
from rnnpool_mcu.importing.imported import Calibration, Imported, Normalisation, input_of_integers
from rnnpool_mcu.importing.program_sides import input_shapes, with_sides
from rnnpool_mcu.ir.source import InputForm, ModelInput, NamedForm
from rnnpool_mcu.ir.tensor_type import FrameworkShape
from rnnpool_mcu.passes import run_passes
from rnnpool_mcu.quantize.calibration import as_batches
from rnnpool_mcu.quantize.float_agreement import FloatSource
from rnnpool_mcu.quantize.inputs import calibration_inputs
from rnnpool_mcu.quantize.post_training import export, float_graph, quantize_program
from rnnpool_mcu.quantize.rewriting.canonical import as_exported
from rnnpool_mcu.quantize.samples import Samples, input_quantization
from rnnpool_mcu.quantize.several import as_tensors, several_samples
from rnnpool_mcu.quantize.torch_runtime import TorchFloatRuntime, TorchRuntime

Shape = tuple[int, ...]
Made = TypeVar("Made")


@dataclass(frozen=True, eq=False, kw_only=True)
class ImportedProgram(Imported):
    """The integer graph of a quantized program, passes not run, and the program's own graph."""

    module: fx.GraphModule  # with quantize/dequantize nodes
    shapes: tuple[Shape, ...]  # of the inputs in torch
    last: frozenset[str]  # values whose torch tensor has its elements in the graph's order
    outputs: tuple[FrameworkShape, ...]  # as torch gives them

    @property
    def shape(self) -> Shape:
        """Of the input, or the first of several."""
        return self.shapes[0]

    def runtime(self) -> TorchRuntime:
        """torch itself, on the same module."""
        forms = tuple(map(InputForm, self.shapes))
        return TorchRuntime(self.module, self.graph, self.sources, forms, self.last)


@dataclass(frozen=True, eq=False)
class QuantizedProgram:
    """A program's graph with quantize/dequantize nodes, and where its ranges are from."""

    module: fx.GraphModule
    origin: str
    samples: Any  # which set the ranges: Samples, or of several inputs a list of tuples
    program: ExportedProgram  # in float
    float_module: fx.GraphModule  # of the program, as it was quantized
    shapes: tuple[Shape, ...]
    normalisation: tuple[Tensor, Tensor] | None = None

    def imported(self) -> ImportedProgram:
        """Its integer graph, passes not run, with the float program beside it."""
        found = import_quantized(self.module, self.shapes, self.origin)
        forms = tuple(map(InputForm, self.shapes))
        runtime = TorchFloatRuntime(
            self.program.module(check_guards=False),
            *(self.float_module, found.graph, found.sources, forms, found.last, self.normalisation),
            outputs=found.outputs,
        )
        return replace(found, floating=FloatSource(found.graph, runtime, self.samples, found.sources))


def load_pt2(path: Path, calibration: Calibration) -> Imported:
    """Integer graph of a .pt2 file, passes run; a float one is quantized with the calibration pictures.

    Raises ModelError for a file that cannot be taken, UsageError for a float one without pictures.
    """
    imported = _named(path, lambda: _import_file(path, calibration))
    return replace(imported, graph=run_passes(imported.graph))


def runtime_of(path: Path, sides: Shape | None = None) -> tuple[ImportedProgram, TorchRuntime]:
    """A quantized .pt2 file's integer graph, passes not run, and torch itself as its runtime.

    `sides` are the input's, where the file leaves some open.
    """
    program = _named(path, lambda: with_sides(read_pt2(path), sides))
    if not is_quantized(program.graph_module):
        raise UsageError(
            f"{path}: is float, and torch computes in float; quantize it by `rnnpool-mcu quantize "
            f"{path.name} --calibration FOLDER -o int8.pt2`, compile that file, and compare with it"
        )
    imported = _named(path, lambda: import_quantized(program))
    return imported, imported.runtime()


def is_float_pt2(path: Path) -> bool:
    """Whether a file holds no quantize nodes."""
    return not is_quantized(read_pt2(path).graph_module)


def quantize_file(path: Path, out: Path, calibration: Calibration) -> Imported:
    """Write a float .pt2 file again with quantize/dequantize nodes; returns its integer graph.

    Raises UsageError without pictures or for a quantized file, ModelError for one that cannot be taken.
    """
    program = _named(path, lambda: with_sides(read_pt2(path), calibration.input_shape))
    if is_quantized(program.graph_module):
        raise UsageError(f"{path}: is quantized already; compile it as it is")
    shapes = _named(path, lambda: input_shapes(program))
    quantized = _named(path, lambda: _quantized_by_pictures(path, program, calibration))
    imported = _named(path, quantized.imported)  # else the file would be of no use
    buffer = io.BytesIO()
    torch.export.save(as_program(quantized.module, *shapes), buffer)
    out.write_bytes(buffer.getvalue())
    return imported


def as_program(module: fx.GraphModule, *shapes: Shape) -> ExportedProgram:
    """A quantized graph as a program that can be saved."""
    return export(module, tuple(map(torch.zeros, shapes)))


def export_module(module: nn.Module, example: Any) -> ExportedProgram:
    """The float program of a module for one image, or one tensor of each input; its training modes stay as
    they are.

    Raises UsageError for an example that is not of float tensors, ModelError for a module that torch.export
    does not take.
    """
    given = example if isinstance(example, (tuple, list)) else (example,)
    tensors = [torch.as_tensor(each) for each in given if isinstance(each, (Tensor, np.ndarray))]
    if not given or len(tensors) != len(given) or not all(one.is_floating_point() for one in tensors):
        kinds = ", ".join(type(each).__name__ for each in given)
        raise UsageError(
            f"example: {kinds}, allowed: one float tensor, as the module takes it, or a tuple of one for "
            "each input"
        )
    modes = [(part, part.training) for part in module.modules()]
    try:
        with suppress(NotImplementedError):  # of a quantized graph, which has no modes
            module.eval()
        return export(module, tuple(one.to(_precision_of(module)) for one in tensors))
    finally:
        for part, training in modes:
            part.training = training


def _precision_of(module: nn.Module) -> torch.dtype:
    """In which a module computes; the graph of its export is turned into float32."""
    kinds = [tensor.dtype for tensor in module.state_dict().values() if tensor.is_floating_point()]
    return kinds[0] if kinds else torch.float32


def quantize(program: ExportedProgram, calibration: Any, count: int = 64, seed: int = 0) -> QuantizedProgram:
    """A float program with int8 quantize/dequantize nodes; see `calibration_inputs` for what sets ranges."""
    shapes = input_shapes(program)
    check_operators(float_graph(program), TORCH_CONVERTERS)
    if len(shapes) > 1:
        return _quantize_several(program, shapes, calibration, count, seed)
    (shape,) = shapes
    samples, origin = calibration_inputs(calibration, shape, count, seed)
    made = quantize_program(
        program, torch.zeros(shape), _inputs(samples, shape), image=input_quantization(samples)
    )
    return QuantizedProgram(made.module, origin, samples, program, made.float_module, shapes)


def _quantize_several(
    program: ExportedProgram, shapes: tuple[Shape, ...], calibration: Any, count: int, seed: int
) -> QuantizedProgram:
    """A float program of several inputs, each with the range of its own values."""
    forms, names = tuple(map(InputForm, shapes)), [str(name) for name in program.graph_signature.user_inputs]
    samples, origin = several_samples(calibration, names, forms, count, seed)
    made = quantize_program(
        program,
        tuple(map(torch.zeros, shapes)),
        (as_tensors(sample, forms) for sample in samples),
        image=[input_quantization(np.stack(values)) for values in zip(*samples, strict=True)],
    )
    return QuantizedProgram(made.module, origin, samples, program, made.float_module, shapes)


def import_quantized(
    program: ExportedProgram | fx.GraphModule,
    shapes: tuple[Shape, ...] = (),
    origin: str = "stored in the model",
) -> ImportedProgram:
    """Integer graph of a quantized program, or of its graph for inputs of `shapes`; passes not run."""
    if isinstance(program, ExportedProgram):
        shapes, module = input_shapes(program), program.module(check_guards=False)
        as_exported(module)
    else:
        module = program
    sizes = [image_shape("input", shape) for shape in shapes]
    found = import_exported(module, sizes, TORCH_CONVERTERS)
    several = tuple(
        NamedForm(found.sources[given.name], InputForm(shape))
        for given, shape in zip(found.graph.inputs, shapes, strict=True)
    )
    return ImportedProgram(
        graph=found.graph,
        kind="classifier",
        calibration=origin,
        sources=found.sources,
        module=module,
        shapes=shapes,
        last=found.last,
        outputs=found.outputs,
        input=ModelInput(InputForm(shapes[0]), several=several if len(shapes) > 1 else ()),
    )


def _import_file(path: Path, calibration: Calibration) -> ImportedProgram:
    program = with_sides(read_pt2(path), calibration.input_shape)
    if not is_quantized(program.graph_module):
        imported = _quantized_by_pictures(path, program, calibration).imported()
        return replace(imported, input=replace(imported.input, preprocessing=calibration.preprocessing))
    imported = import_quantized(program, origin="stored in the .pt2 file")
    given = replace(input_of_integers(InputForm(imported.shape), calibration), several=imported.input.several)
    return replace(imported, input=given)


def _quantized_by_pictures(
    path: Path, program: ExportedProgram, calibration: Calibration
) -> QuantizedProgram:
    """A float program of a file, quantized with pictures that it takes as (pixel / 255 - mean) / std."""
    shapes = input_shapes(program)
    check_operators(float_graph(program), TORCH_CONVERTERS)
    if len(shapes) > 1:
        if not calibration.normalisation.is_plain:
            raise UsageError(f"{path}: --scale, --mean and --std are for one picture; leave them out")
        return _quantize_several(program, shapes, calibration.folder, calibration.count, calibration.seed)
    (shape,) = shapes
    samples, origin = calibration.samples(path, InputForm(shape))
    normalisation = _normalisation(calibration.normalisation, shape[1])
    made = quantize_program(
        program,
        torch.zeros(shape),
        _inputs(samples, shape),
        image=input_quantization(samples),
        normalisation=normalisation,
    )
    return QuantizedProgram(
        *(made.module, origin, samples, program, made.float_module, shapes, normalisation)
    )


def _inputs(samples: Samples, shape: Shape) -> Iterator[Tensor]:
    """Samples one by one as the program takes them."""
    return (batch.reshape(shape) for batch in as_batches(samples))


def _normalisation(given: Normalisation, channels: int) -> tuple[Tensor, Tensor] | None:
    """Factor of a pixel / 255 and term of each channel; None where these go in as they are."""
    if given.is_plain:
        return None
    factor, term = given.per_channel(channels)
    return torch.from_numpy(factor * 255.0), torch.from_numpy(np.array(term))


def _named(path: Path, made: Callable[[], Made]) -> Made:
    """What the call gives; its ModelError names the file."""
    try:
        return made()
    except ModelError as error:
        raise error if str(path) in str(error) else ModelError(f"{path}: {error}") from error
