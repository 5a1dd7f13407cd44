"""Post-training quantization: export, observe on calibration images (or take stored ranges), convert."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from rnnpool_mcu.errors import ModelError, UsageError
from rnnpool_mcu.ir.source import PIXELS
from rnnpool_mcu.nn.aten import place_of
from rnnpool_mcu.quantize.cells import Cells, settle_recurrent
from rnnpool_mcu.quantize.quantizer import Calibration, Int8Quantizer, ObserverName
from rnnpool_mcu.quantize.rewriting.canonical import canonical, with_normalisation


@dataclass(frozen=True, eq=False)
class QuantizedModel:
    """A model before and after quantization; both graphs name their nodes alike."""

    float_module: fx.GraphModule  # exported, NCHW float
    module: fx.GraphModule  # the same with quantize/dequantize nodes and BatchNorm folded
    calibration: dict[str, tuple[float, int]]  # scale and zero point by value name


def quantize_model(
    model: nn.Module,
    input_size: tuple[int, int, int],
    images: Iterable[Tensor] | None = None,
    calibration: Calibration | None = None,
    observer: ObserverName = "histogram",
) -> QuantizedModel:
    """Quantize a model whose input is float [N, C, H, W] in 0..1, of input_size = (height, width, channels).

    The ranges come from `calibration` if given, else from running `images`, batches of such inputs.
    The same arguments give the same result. Raises ModelError for a model that cannot be exported and
    UsageError when there is neither an image nor a calibration.
    """
    height, width, channels = input_size
    example = torch.zeros(1, channels, height, width)
    return quantize_program(export(model.eval(), example), example, images, calibration, observer)


def quantize_program(
    program: torch.export.ExportedProgram,
    example: Tensor | tuple[Tensor, ...],
    images: Iterable[Tensor | tuple[Tensor, ...]] | None = None,
    calibration: Calibration | None = None,
    observer: ObserverName = "histogram",
    image: tuple[float, int] | Sequence[tuple[float, int]] = PIXELS,
    normalisation: tuple[Tensor, Tensor] | None = None,
) -> QuantizedModel:
    """As `quantize_model`, of a float program for inputs like `example`, a batch of one.

    Of several inputs `example` and `images` are tuples of one of each. `image` is the scale and zero point
    of the input, or of each. With `normalisation`, a factor and a term for each
    channel, the program takes x * factor + term, and the result x. Raises ModelError for operators that
    change a tensor in place in a way that cannot be followed.
    """
    quantizer = Int8Quantizer(calibration, observer, image=image)
    prepared = prepare_pt2e(float_graph(program, normalisation), quantizer)
    # With stored ranges one run on zeros is enough: only the weights are observed.
    inputs = images or () if calibration is None else (_zeros_like(example),)
    cells = Cells(prepared)
    _observe(cells.run, inputs, lambda: float_graph(program, normalisation))
    module = convert_pt2e(prepared)
    settle_recurrent(module, cells.largest if calibration is None else {})
    names = quantizer.names
    found = {names[node]: values for node, values in quantized_values(module).items() if node in names}
    return QuantizedModel(float_graph(program, normalisation), module, found)


def float_graph(
    program: torch.export.ExportedProgram, normalisation: tuple[Tensor, Tensor] | None = None
) -> fx.GraphModule:
    """The program's graph as it is quantized; see `canonical` and `quantize_program`."""
    module = canonical(program.module(check_guards=False))
    return module if normalisation is None else with_normalisation(module, *normalisation)


def quantized_values(module: fx.GraphModule) -> dict[str, tuple[float, int]]:
    """Scale and zero point of every activation that is quantized, by the name of the node that makes it."""
    quantize = torch.ops.quantized_decomposed.quantize_per_tensor.default
    return {
        node.args[0].name: (float(node.args[1]), int(node.args[2]))
        for node in module.graph.nodes
        if node.target is quantize
    }


def _zeros_like(example: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    if isinstance(example, tuple):
        return tuple(map(torch.zeros_like, example))
    return torch.zeros_like(example)


def export(
    model: nn.Module, example: Tensor | tuple[Tensor, ...], any_batch: bool = False
) -> torch.export.ExportedProgram:
    """The model's torch graph for inputs like `example`, with `any_batch` of any number of images.

    Raises ModelError for a model that torch.export does not take.
    """
    given = example if isinstance(example, tuple) else (example,)
    shapes = ({0: torch.export.Dim.DYNAMIC},) if any_batch else None
    try:
        with torch.no_grad():
            return torch.export.export(model, given, dynamic_shapes=shapes)
    except Exception as error:  # torch.export raises many types; all of them mean the same to the user
        reason = str(error).strip().splitlines()
        raise ModelError(
            f"{type(model).__name__}: torch.export failed on an input of "
            f"{' and '.join(str(list(one.shape)) for one in given)}: "
            f"{reason[0] if reason else type(error).__name__}; only models without data-dependent control "
            "flow can be compiled"
        ) from error


class _Finder(fx.Interpreter):
    """Notes the first operator that makes NaN or infinity."""

    found: fx.Node | None = None

    def run_node(self, n: fx.Node) -> Any:
        made = super().run_node(n)
        is_real = isinstance(made, Tensor) and made.is_floating_point()
        if self.found is None and is_real and not bool(made.isfinite().all()):
            self.found = n
        return made


def _check_finite_values(module: fx.GraphModule, inputs: Sequence[Tensor], at: int, error: Exception) -> None:
    """ModelError for the first operator that makes NaN or infinity of an input, if one does."""
    finder = _Finder(module)
    finder.run(*inputs)
    if finder.found is not None:
        raise ModelError(
            f"{place_of(finder.found)}: makes NaN or infinity of calibration input {at}; keep its argument "
            "where it is defined, or leave that input out"
        ) from error


def _observe(
    prepared: Callable[..., Any],
    images: Iterable[Tensor | tuple[Tensor, ...]],
    floating: Callable[[], fx.GraphModule],
) -> None:
    seen = 0
    with torch.no_grad():
        for batch in images:
            # The exported graph has a fixed batch of one.
            for given in [batch] if isinstance(batch, tuple) else torch.split(batch, 1):
                arguments = given if isinstance(given, tuple) else (given,)
                try:
                    prepared(*arguments)
                except RuntimeError as error:  # observers count values in bins, which must be finite
                    _check_finite_values(floating(), arguments, seen, error)
                    raise
                seen += 1
    if seen == 0:
        raise UsageError(
            "calibration: no images given and none stored in the model; pass --calibration with a folder of "
            "typical pictures"
        )
