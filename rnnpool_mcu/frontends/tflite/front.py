"""Frontend of full-integer .tflite files: their operators become integer nodes one by one.

Tensors keep their quantization, so nothing is calibrated. Views (reshape, squeeze, ..) and the quantize and
dequantize operators at the model's edges only rename values: the C takes and gives int8.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.account import Noted, Operands, check_account
from rnnpool_mcu.frontends.tflite.call import HARMLESS, HOW_TO_QUANTIZE, Call, Converter
from rnnpool_mcu.frontends.tflite.checks import check_known, check_precision
from rnnpool_mcu.frontends.tflite.forms.dilation import merge_dilated
from rnnpool_mcu.frontends.tflite.forms.folding import folded, is_shape_arithmetic
from rnnpool_mcu.frontends.tflite.forms.older import modernized
from rnnpool_mcu.frontends.tflite.kinds import EDGES, VARIABLES, VIEWS
from rnnpool_mcu.frontends.tflite.operators.converters import CONVERTERS
from rnnpool_mcu.frontends.tflite.operators.detections import post_process
from rnnpool_mcu.frontends.tflite.operators.floats import is_float_step, is_function, take_float_step
from rnnpool_mcu.frontends.tflite.operators.lstm import STATES
from rnnpool_mcu.frontends.tflite.operators.takers import TAKERS
from rnnpool_mcu.frontends.tflite.reader import StoredModel, StoredOperator, read_tflite
from rnnpool_mcu.frontends.tflite.shapes import where
from rnnpool_mcu.frontends.tflite.states import Variables, add_recurrent
from rnnpool_mcu.frontends.tflite.tensors import Kept, Tensors, Viewed
from rnnpool_mcu.frontends.tflite.views import take_edge, take_view
from rnnpool_mcu.frontends.walk import Walk
from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ops.lstm import Lstm


@dataclass(frozen=True, eq=False)
class ImportedTflite:
    """An integer graph and, for every value of it, the index and name of the tensor it was."""

    graph: Graph
    indices: Mapping[str, int]
    sources: Mapping[str, str]
    kept: Mapping[str, Kept]  # of each state, where the interpreter holds it between runs


def import_tflite(path: Path) -> ImportedTflite:
    """Integer graph of a full-integer .tflite file; ModelError names the operator that cannot be taken."""
    try:
        return convert_tflite(read_tflite(path))
    except ModelError as error:
        raise error if str(path) in str(error) else ModelError(f"{path}: {error}") from error


def convert_tflite(model: StoredModel, *, recurrent_states: bool = True) -> ImportedTflite:
    """Integer graph of a model that was read.

    Without `recurrent_states` layers begin each run from zeros, whatever the file says: it came from a model
    whose layers do.
    """
    tensors = len(model.tensors)
    model = merge_dilated(modernized(model))
    check_precision(model)
    walk = _Walk(model, recurrent_states)
    for op in model.operators:
        walk.visit(op)
    walk.check()
    walk.variables.finish()
    graph = walk.tensors.graph(walk.outputs())
    indices = _in_file(walk.tensors, tensors)
    names = {name: model.tensors[index].name for name, index in indices.items()}
    return ImportedTflite(graph, indices, names, walk.tensors.kept)


def _in_file(tensors: Tensors, count: int) -> dict[str, int]:
    """The tensor of each value among the file's own `count`: where it was added, one that is a view of it."""
    views: dict[str, int] = {}
    for index, value in tensors.values.items():
        if index < count:
            views.setdefault(value.name, index)
    found = {name: index if index < count else views.get(name) for name, index in tensors.indices.items()}
    return {name: index for name, index in found.items() if index is not None}


class _Walk(Walk[StoredOperator, int]):
    """One pass over the operators in execution order."""

    def __init__(self, model: StoredModel, recurrent_states: bool) -> None:
        super().__init__()
        self.tensors = Tensors(model)
        self.variables = Variables(self.tensors)
        self._recurrent_states = recurrent_states
        self._detected: set[str] = set()  # values that all outputs of one operator are

    def outputs(self) -> list[tuple[str, str]]:
        """The graph's outputs in the file's order; those of a detector's end are one."""
        found: list[tuple[str, str]] = []
        for index in self.tensors.model.outputs:
            told = self.tensors.model.tensors[index].name
            if index in self.tensors.floats:
                raise ModelError(f"output '{told}' is float and not quantized; {HOW_TO_QUANTIZE}")
            if index not in self.tensors.values:
                raise ModelError(f"output '{told}' is made by no operator")
            name = self.tensors.values[index].name
            if not (name in self._detected and any(name == value for value, _ in found)):
                found.append((name, told))
        return found

    def _check_known(self, item: StoredOperator) -> None:
        if not is_shape_arithmetic(self.tensors.model, item) and not is_function(self.tensors, item):
            check_known(item)

    def _read_by(self, item: StoredOperator) -> Iterable[int]:
        return item.inputs

    def _made_by(self, item: StoredOperator) -> Iterable[int]:
        return item.outputs

    def _where(self, item: StoredOperator) -> str:
        return where(item, self.tensors.model)

    def _give_up(self, item: StoredOperator) -> None:
        """Its results are as the file says, so that the operators behind it can be looked at."""
        self.unknown.update(index for index in item.outputs if not self.tensors.assume(index))

    def _take(self, item: StoredOperator) -> None:
        if is_shape_arithmetic(self.tensors.model, item):
            self.tensors.model = folded(self.tensors.model, item)
        elif item.custom:
            self._detections(item)
        elif is_float_step(self.tensors, item):
            take_float_step(self.tensors, item)
        elif item.kind in VIEWS:
            take_view(self.tensors, item)
        elif item.kind in EDGES:
            take_edge(self.tensors, item)
        elif item.kind in VARIABLES:
            self.variables.take(item)
        elif item.kind in TAKERS:
            self._take_shaped(replace(item, options=Noted(item.options)))
        else:
            self._convert(replace(item, options=Noted(item.options)))

    def _take_shaped(self, op: StoredOperator) -> None:
        """An operator over axes of any shape."""
        if not op.outputs:
            raise ModelError("it has no output; the file is damaged")
        taker, account = TAKERS[op.kind], Operands(self._operands(op))
        taker.take(self.tensors, Call(self.tensors.model, op, (), 0, account))
        _check_used(op, account, taker.limits)

    def _convert(self, op: StoredOperator) -> None:
        converter, tensors, account = CONVERTERS[op.kind], self.tensors, Operands(self._operands(op))
        if not op.outputs:
            raise ModelError("it has no output; the file is damaged")
        positions = range(len(op.inputs)) if converter.inputs is None else converter.inputs
        found = [at for at in positions if not self._is_constant(op, at, converter)]
        call = Call(tensors.model, op, (), 0, account)
        names = tensors.operands(call, found)
        if converter.broadcast:
            names = tensors.broadcast(names)
        types = tuple(tensors.types[name] for name in names)
        for result, index in enumerate(op.outputs):
            made = converter.convert(Call(tensors.model, op, types, result, account))
            _check_used(op, account, converter.limits)
            if isinstance(made, Lstm) and self._recurrent_states:
                variables = tuple(op.inputs[at] for at in STATES)
                add_recurrent(tensors, index, replace(made, keeps=True), names, variables)
                continue
            tensors.add(index, made, names, reshapes=converter.reshapes)

    def _is_constant(self, op: StoredOperator, position: int, converter: Converter) -> bool:
        """Whether an input is stored and the converter takes it so, not as a map of the graph."""
        if not (converter.constants or converter.maps) or not self.tensors.is_stored(op, position):
            return False
        return converter.constants and not (converter.maps and self._is_map(op, position, converter.single))

    def _is_map(self, op: StoredOperator, position: int, single: bool) -> bool:
        """Whether a stored input has more values than one, or than one per channel of the result."""
        data = self.tensors.model.tensors[op.inputs[position]].data
        others = [self.tensors.values[i].shape for at, i in enumerate(op.inputs) if i in self.tensors.values]
        assert data is not None
        channels = {shape[-1] for shape in others if shape}
        per_channel = data.ndim > 0 and data.size == data.shape[-1] and channels == {data.size}
        return data.size != 1 and (single or not per_channel)

    def _operands(self, op: StoredOperator) -> dict[int, str]:
        """Names of an operator's inputs by their position."""
        model = self.tensors.model
        return {at: model.tensors[index].name for at, index in enumerate(op.inputs) if index >= 0}

    def _detections(self, op: StoredOperator) -> None:
        """The post-processing at a detector's end: one value for all of its outputs."""
        tensors = self.tensors
        if not op.outputs or any(tensors.readers(index) for index in op.outputs):
            raise ModelError("its boxes are read by another operator, supported: outputs of the model")
        names = tensors.read(op, 0), tensors.read(op, 1)
        boxes, scores = (tensors.types[name] for name in names)
        made = post_process(tensors.model, op, boxes, scores, tensors.types[tensors.inputs[0]])
        made.infer_type((boxes, scores))
        node = Node(tensors.names[op.outputs[0]], made, names)
        tensors.nodes.append(node)
        tensors.indices[node.name] = op.outputs[0]
        tensors.values |= {index: Viewed(node.name, ()) for index in op.outputs}
        self._detected.add(node.name)


def _check_used(op: StoredOperator, account: Operands, limits: str) -> None:
    """ModelError for an input that was not used, or an option that nobody read and that is not off."""
    assert isinstance(op.options, Noted)
    unread = {name: value for name, value in op.options.unread().items() if value and name not in HARMLESS}
    check_account(account, unread, limits)
