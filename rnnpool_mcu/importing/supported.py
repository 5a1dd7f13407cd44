"""What each model format may hold, from the registries that the readers themselves use."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rnnpool_mcu import ops
from rnnpool_mcu.ir.operator import Operator


@dataclass(frozen=True)
class Supported:
    """One operator of a format, and what is taken of it."""

    name: str
    limits: str


@dataclass(frozen=True)
class Format:
    """One model format: its table is made when it is asked for, as its packages are then needed."""

    title: str
    note: str
    operators: Callable[[], list[Supported]]


def _tflite() -> list[Supported]:
    from rnnpool_mcu.frontends.tflite.kinds import EDGES, VARIABLES, VIEWS
    from rnnpool_mcu.frontends.tflite.operators.converters import CONVERTERS
    from rnnpool_mcu.frontends.tflite.operators.detections import CUSTOM
    from rnnpool_mcu.frontends.tflite.operators.takers import TAKERS

    found = {name: converter.limits for name, converter in CONVERTERS.items()}
    found |= {name: taker.limits for name, taker in TAKERS.items()}
    found |= {**VIEWS, **EDGES, **VARIABLES, **CUSTOM}
    return [Supported(name, limits) for name, limits in sorted(found.items())]


def _onnx() -> list[Supported]:
    from rnnpool_mcu.frontends.onnx.checks import EDGES
    from rnnpool_mcu.frontends.onnx.domain.bodies import OWN_DOMAIN
    from rnnpool_mcu.frontends.onnx.domain.converters import DECODE, DECODE_LIMITS
    from rnnpool_mcu.frontends.onnx.operators.converters import CONVERTERS
    from rnnpool_mcu.frontends.onnx.operators.functions import FUNCTIONS, LIMITS, NUMBER_LIMITS, ONE_NUMBER
    from rnnpool_mcu.frontends.onnx.views import VIEWS
    from rnnpool_mcu.importing.onnx import OWN_OPERATORS

    found = {name: converter.limits for name, converter in CONVERTERS.items()}
    found |= {f"{OWN_DOMAIN}.{name}": converter.limits for name, converter in OWN_OPERATORS.items()}
    found |= {f"{OWN_DOMAIN}.{DECODE}": DECODE_LIMITS, **dict.fromkeys(FUNCTIONS, LIMITS)}
    found |= dict.fromkeys(ONE_NUMBER, NUMBER_LIMITS)
    return [Supported(name, limits) for name, limits in sorted({**found, **VIEWS, **EDGES}.items())]


def _torch() -> list[Supported]:
    from rnnpool_mcu.frontends.torch.functions import FUNCTION_LIMITS, FUNCTIONS
    from rnnpool_mcu.importing.checkpoint import TORCH_CONVERTERS
    from rnnpool_mcu.nn.aten import LIMITS, TRANSPOSES, VIEWS, aten

    found = {str(target): converter.limits for target, converter in TORCH_CONVERTERS.items()}
    found |= dict.fromkeys(map(str, FUNCTIONS), FUNCTION_LIMITS)
    clamps = "part of the operator before it where that can limit its result, else a table of 256 entries"
    found |= dict.fromkeys(map(str, LIMITS), clamps)
    found |= dict.fromkeys(map(str, VIEWS), "free; where the order of values becomes another one, a copy")
    orders = "free where only sides of 1 move; a channel shuffle between two views; else a copy"
    found |= dict.fromkeys(map(str, TRANSPOSES), orders)
    norm = "free behind a convolution or linear layer; else a depthwise convolution of one pixel"
    found[str(aten.batch_norm.default)] = norm
    return [Supported(name, limits) for name, limits in sorted(found.items())]


FORMATS: dict[str, Format] = {
    "tflite": Format(
        ".tflite",
        "Full-integer int8, one input of batch 1, fixed shapes, any number of outputs; float32 and uint8 "
        "edges are left out, the C takes and gives int8.",
        _tflite,
    ),
    "onnx": Format(
        ".onnx",
        "QDQ, opset 13 and later, int8 or uint8 activations, int8 weights, one input of batch 1, fixed "
        "shapes, any number of outputs; maps are height x width x channels in the C, int8 at both ends. "
        "Float models of these operators are quantized first, with pictures. Operators of the domain "
        "rnnpool_mcu are what `rnnpool-mcu export --onnx` writes.",
        _onnx,
    ),
    "torch": Format(
        ".pt2, nn.Module, .pt",
        "A program of torch.export, float or quantized by torchao's PT2E flow, a module, or a checkpoint of "
        "the zoo; one input of batch 1, fixed shapes, any number of outputs; maps are height x width x "
        "channels in the C, int8 at both ends.",
        _torch,
    ),
}
"""Formats by the name that `supported-ops --format` takes."""


def integer_operators() -> list[Supported]:
    """Every integer operator with its definition, that all formats are converted to."""
    for module in pkgutil.iter_modules(ops.__path__):
        importlib.import_module(f"{ops.__name__}.{module.name}")
    found = {kind for kind in _subclasses(Operator) if not inspect.isabstract(kind) and _own(kind)}
    return [
        Supported(kind.__name__, first_paragraph(kind)) for kind in sorted(found, key=lambda k: k.__name__)
    ]


def first_paragraph(value: object) -> str:
    """A docstring up to its first empty line, on one line."""
    return " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())


def _own(kind: type[Any]) -> bool:
    """An operator of this package that is public, and that no public one is derived from."""
    derived = [found for found in kind.__subclasses__() if not found.__name__.startswith("_")]
    public = not kind.__name__.startswith("_")
    return public and kind.__module__.startswith(f"{ops.__name__}.") and not derived


def _subclasses(kind: type[Any]) -> set[type[Any]]:
    direct = set(kind.__subclasses__())
    return direct.union(*(_subclasses(found) for found in direct))
