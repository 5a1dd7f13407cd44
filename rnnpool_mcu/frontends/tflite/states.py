"""What a TFLite model keeps from one invocation to the next: variables, and the states of recurrent layers.

A variable is known by its name, which handles stand for. Reading it before it was assigned gives what the
invocation before left there; that is a state of the graph, which takes over what is assigned last.
"""

from __future__ import annotations

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.quantized_layers import tensor_type
from rnnpool_mcu.frontends.tflite.call import Call, int8_quantization
from rnnpool_mcu.frontends.tflite.reader import StoredOperator, variable_of
from rnnpool_mcu.frontends.tflite.shapes import image_shape
from rnnpool_mcu.frontends.tflite.tensors import Kept, Tensors, Viewed
from rnnpool_mcu.ir.graph import Node, State
from rnnpool_mcu.ir.operator import Int8Array
from rnnpool_mcu.ops.lstm import Lstm
from rnnpool_mcu.ops.reshape import Reshape
from rnnpool_mcu.ops.slice import Slice


class Variables:
    """The variables of a model's main graph, as its operators are walked."""

    def __init__(self, tensors: Tensors) -> None:
        """`tensors` has the graph under construction."""
        self._tensors = tensors
        self._handles: dict[int, str] = {}  # resource tensor: variable
        self._states: dict[str, str] = {}  # variable: value of the graph that it is when a run begins
        self._assigned: dict[str, Viewed] = {}  # variable: value that was assigned last

    def take(self, op: StoredOperator) -> None:
        """One of the operators about variables."""
        if op.kind == "VAR_HANDLE":
            self._handles |= dict.fromkeys(op.outputs, variable_of(op))
        elif op.kind == "READ_VARIABLE":
            self._read(op)
        elif op.kind == "ASSIGN_VARIABLE":
            self._assign(op)

    def finish(self) -> None:
        """The states, with what each takes over; ModelError for one that nothing is assigned to."""
        for variable, state in self._states.items():
            if variable not in self._assigned:
                raise ModelError(
                    f"variable '{variable}' is read and never assigned; store it as a constant instead"
                )
            kind, taken = self._tensors.types[state], self._assigned[variable].name
            if taken in self._states.values():  # of another variable, or the same
                taken = self._tensors.copied(taken, Reshape(kind.shape), f"{taken}_kept_in_{state}")
            initial = self._initial(variable, state)
            self._tensors.states.append(State(state, kind, initial, taken))

    def _variable(self, op: StoredOperator) -> str:
        if not op.inputs or op.inputs[0] not in self._handles:
            raise ModelError("its variable is no VAR_HANDLE's; the file is damaged")
        return self._handles[op.inputs[0]]

    def _read(self, op: StoredOperator) -> None:
        variable, tensors = self._variable(op), self._tensors
        if len(op.outputs) != 1:
            raise ModelError(f"{len(op.outputs)} outputs, allowed: 1; the file is damaged")
        index, tensor = op.outputs[0], tensors.model.tensors[op.outputs[0]]
        if variable in self._assigned:
            tensors.values[index] = self._assigned[variable]
            return
        if variable not in self._states:
            name = tensors.names[index]
            tensors.types[name] = tensor_type(image_shape(tensor, tensor.shape), int8_quantization(tensor))
            tensors.indices[name] = index
            self._states[variable] = name
        tensors.values[index] = Viewed(self._states[variable], tensor.shape)

    def _assign(self, op: StoredOperator) -> None:
        variable, tensors = self._variable(op), self._tensors
        name = tensors.read(op, 1)
        state = self._states.get(variable)
        if state is not None and tensors.types[name] != tensors.types[state]:
            raise ModelError(
                f"variable '{variable}' is {tensors.types[state]} at {tensors.types[state].quantization} and "
                f"is assigned {tensors.types[name]} at {tensors.types[name].quantization}, allowed: the same"
            )
        self._assigned[variable] = Viewed(name, tensors.model.tensors[op.inputs[1]].shape)

    def _initial(self, variable: str, state: str) -> Int8Array:
        stored, kind = self._tensors.model.initial.get(variable), self._tensors.types[state]
        if stored is None or stored.data is None:
            raise ModelError(
                f"variable '{variable}' is read before it is assigned, and nothing initializes it; assign it "
                "in a graph that CALL_ONCE runs"
            )
        fits = stored.data.size == kind.bytes and int8_quantization(stored) == kind.quantization
        if not fits:
            raise ModelError(
                f"variable '{variable}' begins as {list(stored.shape)}, and is read as {kind}, allowed: the "
                "same shape and quantization"
            )
        return stored.data.astype(np.int8).reshape(kind.shape)


def add_recurrent(
    tensors: Tensors, index: int, op: Lstm, names: tuple[str, ...], variables: tuple[int, ...]
) -> None:
    """A recurrent layer that computes tensor `index`, and its state, which the file has in `variables`.

    The layer gives its sequence and, behind it, its state; both are cut out.
    """
    name = tensors.names[index]
    steps = tensors.types[names[0]].width
    state, made = f"{name}_state", f"{name}_and_state"
    kind = op.state_type
    if {state, made, f"{name}_left"} & tensors.types.keys():
        raise ModelError(f"another tensor is named '{state}'; rename it")
    tensors.types[state] = kind
    tensors.append(Node(made, op, (*names, state)))
    tensors.add(index, Slice((0, 0, 0), (1, steps, op.units)), (made,))
    taken = made
    if steps > 1:
        taken = tensors.copied(made, Slice((0, steps - 1, 0), kind.shape), f"{name}_left")
    tensors.states.append(State(state, kind, op.initial_state, taken))
    tensors.kept[state] = Kept(variables)


def add_ring(tensors: Tensors, call: Call, made: str, rows: int, kept: Kept) -> str:
    """Name of a state that holds the last `rows` runs' values of `made`, a row each; zeros at first."""
    kind = tensors.types[made]
    state = f"{tensors.names[call.op.outputs[call.result]]}_state"
    if state in tensors.types or kind.height != 1:
        raise ModelError(f"another tensor is named '{state}'; rename it")
    held = tensor_type((rows, kind.width, kind.channels), kind.quantization)
    tensors.types[state] = held
    initial = np.full(held.shape, kind.zero_point, np.int8)
    tensors.states.append(State(state, held, initial, made))
    tensors.kept[state] = kept
    return state
