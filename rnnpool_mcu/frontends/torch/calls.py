"""Calls of operators that compute: each becomes one integer operator, or a few one behind the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.account import Noted, Operands, check_account
from rnnpool_mcu.frontends.channels_first import CHANNELS, HEIGHT, WIDTH, product
from rnnpool_mcu.frontends.channels_last import rows_of
from rnnpool_mcu.frontends.matrices import multiplied_matrices
from rnnpool_mcu.frontends.torch import fx_reader
from rnnpool_mcu.frontends.torch.call import HOW_TO_QUANTIZE, UNBOUNDED, Call, Converter
from rnnpool_mcu.frontends.torch.checks import NOT_SUPPORTED, SEVERAL
from rnnpool_mcu.frontends.torch.functions import bounds_of
from rnnpool_mcu.frontends.torch.shapes import Size
from rnnpool_mcu.frontends.torch.stored_maps import is_per_channel, stored_map
from rnnpool_mcu.frontends.torch.tensors import Tensors
from rnnpool_mcu.frontends.values import Value
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import Quantization
from rnnpool_mcu.nn.aten import GETITEM, PAIRS, VIEWS, aten, call_arguments
from rnnpool_mcu.ops.concat import Concat
from rnnpool_mcu.ops.reshape import Reshape
from rnnpool_mcu.ops.slice import Slice
from rnnpool_mcu.ops.transpose import Transpose

_HARMLESS = ("cudnn_enable", "keepdim", "chunks", "split_size", "split_sizes", "output_size")
"""Arguments that only make shapes: torch's own shape of each result is compared."""


@dataclass(frozen=True, eq=False)
class _Target:
    """Where a call's result ends: behind the activations that were folded into it."""

    node: fx.Node
    quantization: Quantization | None
    bounds: tuple[float, float] = UNBOUNDED


@dataclass(frozen=True, eq=False)
class _Taken:
    """The values of the graph that a call reads, and in which order of elements its result is."""

    names: tuple[str, ...]
    convert: Callable[[Call], Operator | Sequence[Operator]]
    last: bool = False  # the result, if it has three dimensions
    axes: tuple[int, ...] = ()  # see Call
    asked: frozenset[str] = frozenset()  # arguments that are settled by it


class Calls:
    """Converts calls; `folded` are activations that became the clamp of the operator before them."""

    def __init__(self, tensors: Tensors, converters: Mapping[Any, Converter]) -> None:
        """`tensors` grow as calls are converted."""
        self.folded: set[fx.Node] = set()
        self._tensors, self._converters = tensors, converters

    def convert(self, node: fx.Node) -> None:
        """Append what a call, or the result of one that a `getitem` reads, becomes."""
        call, result = node, 0
        if node.target is GETITEM:
            call, result = node.args[0], int(node.args[1])  # type: ignore[assignment, arg-type]
        converter = self._converters.get(call.target)
        if converter is None:
            raise fx_reader.refuse(call, NOT_SUPPORTED)
        arguments = Noted(call_arguments(call))
        operands = _operands(arguments, converter)
        computed = {place: self._tensors.real(call, o) for place, o in operands.items() if is_computed(o)}
        if not computed:
            raise ModelError("all its inputs are stored or constant, a computed one is needed")
        if len(computed) == len(operands):
            given = list(computed.values())
            if self._joined_rows(node, call, given):
                return
            if converter.matrices:
                self._multiply(node, call, given)
                return
            if self._picked_of_rows(node, call, arguments, given[0]):
                return
        values = self._with_maps(node, call, converter, operands, computed)
        taken = self._taken(call, arguments, converter, list(values.values()))
        target = self._target(node, converter.clamps)
        made = self._tensors.shapes.of(node)
        arguments.asked.clear()
        arguments.asked |= taken.asked
        ops = taken.convert(
            Call(
                call,
                arguments,
                tuple(self._tensors.types[name] for name in taken.names),
                tuple(value.shape for value in values.values()),
                made,
                target.quantization,
                target.bounds,
                result,
                self._tensors.shapes.parts(call) if call.target in SEVERAL else (),
                taken.axes,
            )
        )
        _check_used(call, arguments, operands, values, converter)
        if target.quantization is None and not converter.keeps:
            raise ModelError(f"its result is read without being quantized; {HOW_TO_QUANTIZE}")
        chain = [ops] if isinstance(ops, Operator) else ops
        last = taken.last and (not taken.axes or len(made) == len(taken.axes))
        self._chain(target.node, taken.names, chain, call, last=last)

    def _taken(
        self, call: fx.Node, arguments: Mapping[str, Any], converter: Converter, values: list[Value]
    ) -> _Taken:
        """In which order of elements a call takes its computed operands."""
        first = values[0]
        rows = self._rows(call, arguments, converter, first)
        if rows is not None:
            return _Taken((rows,), _of_rows(converter), last=True, asked=frozenset({"dim"}))
        if converter.steps:
            return _Taken((self._steps(first),), converter.convert, last=True)
        axes = self._axes(first) if converter.one_axis else ()
        if axes:
            return _Taken((first.name,), converter.convert, last=True, axes=axes)
        return _Taken(self._given(values, converter), converter.convert)

    def _steps(self, value: Value) -> str:
        """A value [1, steps, values] as one row of so many pixels."""
        if len(value.shape) != 3 or value.shape[0] != 1:
            raise ModelError(f"input {list(value.shape)}, supported: [1, steps, inputs]")
        name, shape = value.name, (1, *value.shape[1:])
        kind = self._tensors.types[name]
        if not value.last and kind.channels != 1 and kind.height * kind.width != 1:
            name = self._tensors.copied(self._tensors.plain(value), Transpose((0, 2, 1)))
        same = self._tensors.types[name].shape == shape
        return name if same else self._tensors.copied(name, Reshape(shape))

    def _axes(self, value: Value) -> tuple[int, ...]:
        """Axes of height, width and channels of [1, steps, values] as it lies, or of [steps, 1, values]; ()
        where it lies otherwise.
        """
        kind = self._tensors.types[value.name]
        if not value.last or not is_sequence(value, kind.shape):
            return ()
        along = WIDTH if kind.height == 1 else HEIGHT
        return (-1, along, CHANNELS) if value.shape[0] == 1 else (along, -1, CHANNELS)

    def _with_maps(
        self,
        node: fx.Node,
        call: fx.Node,
        converter: Converter,
        operands: Mapping[str, Any],
        computed: Mapping[str, Value],
    ) -> dict[str, Value]:
        """The operands that are values, by place: computed ones, and stored ones that become maps."""
        if not converter.maps or len(computed) == len(operands):
            return dict(computed)
        beside = next(iter(computed.values()))
        keeps = beside.shape == self._tensors.shapes.of(node)
        found = {}
        for place, operand in operands.items():
            if place in computed:
                found[place] = computed[place]
            elif not (call.target in PAIRS and keeps and is_per_channel(operand, len(beside.shape))):
                joined = call.target is aten.cat.default
                found[place] = stored_map(self._tensors, call, place, operand, beside, joined=joined)
        return found

    def _rows(
        self, call: fx.Node, arguments: Mapping[str, Any], converter: Converter, value: Value
    ) -> str | None:
        """The value with its last dimension as channels, where a call works along that; else None."""
        rank = len(value.shape)
        several = converter.over_last and rank == 2 and value.shape[0] != 1
        if converter.rows is None or (rank < 3 and not several):
            return None
        dim = int(arguments.get("dim", -1)) % rank
        if dim != rank - 1 or not (value.last or converter.over_last):
            return None
        name = value.name
        if not value.last:
            name = self._tensors.copied(self._tensors.plain(value), Transpose((2, 0, 1)))
        shape, given = rows_of(value.shape), self._tensors.types[name].shape
        same = given == shape or (rank == 3 and is_sequence(value, given))
        return name if same else self._tensors.copied(name, Reshape(shape))

    def _given(self, values: Sequence[Value], converter: Converter) -> tuple[str, ...]:
        """Names of the computed operands, in the order that the operator reads them."""
        shapes = [list(value.shape) for value in values]
        if len({len(shape) for shape in shapes}) > 1:
            raise ModelError(f"inputs {shapes}, supported: of equally many dimensions")
        names = tuple(
            value.name if converter.flat and not value.last else self._tensors.plain(value)
            for value in values
        )
        return self._tensors.broadcast(names) if converter.broadcast and len(names) > 1 else names

    def _joined_rows(self, node: fx.Node, call: fx.Node, values: Sequence[Value]) -> bool:
        """Take a cat of values with their channels last along rows or channels; False for any other call."""
        if call.target is not aten.cat.default or not all(value.last for value in values):
            return False
        rank, dim = len(values[0].shape), int(call_arguments(call).get("dim") or 0)
        if rank < 3 or dim % rank not in (1, rank - 1):
            return False
        axis, names = HEIGHT if dim % rank == 1 else CHANNELS, [value.name for value in values]
        alike = {self._tensors.types[name].shape[:2] for name in names}
        if axis == HEIGHT or len(alike) > 1:
            names = [self._as_rows(value) for value in values]
        target = self._target(node, clamps=False)
        if target.quantization is None:
            raise ModelError(f"its result is read without being quantized; {HOW_TO_QUANTIZE}")
        self._chain(target.node, tuple(names), [Concat(target.quantization, axis)], call, last=True)
        return True

    def _picked_of_rows(
        self, node: fx.Node, call: fx.Node, arguments: Mapping[str, Any], value: Value
    ) -> bool:
        """Take one of a dimension of a value with its channels last that is no image: q, k or v of all; False
        for any other call.
        """
        shape = value.shape
        is_image = len(shape) <= 4 and shape[0] == 1
        if call.target is not aten.select.int or not value.last or is_image or self._axes(value):
            return False
        dim, side = int(arguments["dim"]) % len(shape), shape[int(arguments["dim"])]
        outer, inner = product(shape[:dim]), product(shape[dim + 1 :])
        at = int(arguments["index"]) % side
        name = self._tensors.copies(value, [Reshape((outer, side, inner))])
        self._chain(node, (name,), [Slice((0, at, 0), (outer, 1, inner))], call, last=True)
        return True

    def _multiply(self, node: fx.Node, call: fx.Node, values: Sequence[Value]) -> None:
        """Take a product of two computed tensors."""
        target = self._target(node, clamps=False)
        if target.quantization is None:
            raise ModelError(f"its result is read without being quantized; {HOW_TO_QUANTIZE}")
        op, names = multiplied_matrices(self._tensors, values[0], values[1], target.quantization)
        self._chain(target.node, names, [op], call, last=True)

    def _as_rows(self, value: Value) -> str:
        """A value with its channels last as rows of these."""
        shape, name = rows_of(value.shape), value.name
        same = self._tensors.types[name].shape == shape
        return name if same else self._tensors.copied(name, Reshape(shape))

    def _chain(
        self,
        node: fx.Node,
        names: tuple[str, ...],
        ops: Sequence[Operator],
        call: fx.Node,
        *,
        last: bool = False,
    ) -> None:
        """Append operators one behind the other; the last one gives the node's value."""
        path = fx_reader.module_path(call) or call.name
        for step, op in enumerate(ops, start=1):
            name = node.name if step == len(ops) else f"{node.name}_step_{step}"
            self._tensors.add(name, op, names, path)
            names = (name,)
        self._tensors.settle(node, node.name, self._tensors.shapes.of(node), last=last)

    def _target(self, node: fx.Node, clamps: bool) -> _Target:
        """Where the result goes: through activations, as far as they fold, to its quantization."""
        low, high = UNBOUNDED
        while True:
            readers = list(node.users)
            edges = [reader for reader in readers if reader.target is fx_reader.QUANTIZE]
            if edges and len(edges) != len(readers):
                other = next(reader for reader in readers if reader not in edges)
                raise ModelError(f"its result is read by {other} without being quantized; {HOW_TO_QUANTIZE}")
            bounds = bounds_of(readers[0]) if clamps and len(readers) == 1 else None
            if edges or bounds is None:
                edge = edges[0] if edges else _behind_views(node)
                found = None if edge is None else fx_reader.quantization(edge)
                return _Target(node, found, (low, high))
            low, high = (min(max(bound, bounds[0]), bounds[1]) for bound in (low, high))
            node = readers[0]
            self.folded.add(node)


def is_sequence(value: Value, shape: Size) -> bool:
    """Whether a value [1, steps, values], or [steps, 1, values], lies as one row or column of pixels."""
    if len(value.shape) != 3 or 1 not in value.shape[:2] or 1 not in shape[:2]:
        return False
    return (shape[0] * shape[1], shape[2]) == (value.shape[0] * value.shape[1], value.shape[2])


def is_computed(operand: Any) -> bool:
    """Whether an argument is a tensor that the model computes."""
    return isinstance(operand, fx.Node) and not fx_reader.is_stored(operand)


def flat(result: Any) -> tuple[Any, ...]:
    """The values of a tensor or of a tuple of tensors."""
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def _operands(arguments: Mapping[str, Any], converter: Converter) -> dict[str, Any]:
    """What stands at the places of the activations, by `self`, or `tensors[1]` of a list."""
    found = {}
    for key in converter.inputs:
        given = arguments[key]
        if isinstance(given, (tuple, list)):
            found.update({f"{key}[{at}]": operand for at, operand in enumerate(given)})
        else:
            found[key] = given
    return found


def _of_rows(converter: Converter) -> Callable[[Call], Operator]:
    assert converter.rows is not None
    return converter.rows


def _check_used(
    call: fx.Node,
    arguments: Noted,
    operands: Mapping[str, Any],
    values: Mapping[str, Value],
    converter: Converter,
) -> None:
    """ModelError for an operand that vanished, or an argument other than its default that nobody read."""
    account = Operands({place: str(operand) for place, operand in operands.items()})
    account.use(*arguments.asked, *values)
    schema = call.target._schema  # type: ignore[union-attr]
    defaults = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    unread = {
        name: value
        for name, value in arguments.unread().items()
        if name not in (*_HARMLESS, *converter.inputs) and value != defaults.get(name)
    }
    check_account(account, unread, converter.limits)


def _behind_views(node: fx.Node) -> fx.Node | None:
    """The quantize node that views, the only readers, lead to."""
    readers = list(node.users)
    while len(readers) == 1 and readers[0].target in VIEWS:
        readers = list(readers[0].users)
    return readers[0] if readers and all(r.target is fx_reader.QUANTIZE for r in readers) else None
