"""Frontend of quantized torch.export graphs: aten calls between quantize nodes become integer nodes.

A node is made where its result is quantized: only there its scale, its zero point and a fused activation are
known. Everything between a dequantize node and the next quantize node is one operator, its activation, and
views that change no value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import fx

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends import fx_reader
from rnnpool_mcu.frontends.aten_converters import CONVERTERS, VIEWS, Call, Converter, activation_bounds
from rnnpool_mcu.frontends.node_names import readable_names
from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ir.verify import verify_graph

INPUT_NAME = "input"
UNBOUNDED = (float("-inf"), float("inf"))


@dataclass(frozen=True, eq=False)
class ImportedGraph:
    """An integer graph and, for every value of it, the name of the torch node that computes it."""

    graph: Graph
    sources: Mapping[str, str]


def import_exported(
    module: fx.GraphModule, input_size: tuple[int, int, int], converters: Mapping[Any, Converter] = CONVERTERS
) -> ImportedGraph:
    """Integer graph of a converted (quantize/dequantize) graph; input_size is (height, width, channels).

    Raises ModelError naming the operator, its module and source line for anything that is not supported.
    """
    walk = _Walk(module, input_size, converters)
    for node in module.graph.nodes:
        walk.visit(node)
    graph = Graph(INPUT_NAME, walk.input_type(), tuple(walk.nodes), walk.outputs)
    verify_graph(graph)
    return ImportedGraph(graph, walk.sources)


class _Walk:
    """One pass over the torch graph in execution order."""

    def __init__(
        self, module: fx.GraphModule, input_size: tuple[int, int, int], converters: Mapping[Any, Converter]
    ) -> None:
        self.nodes: list[Node] = []
        self.outputs: tuple[str, ...] = ()
        self.sources: dict[str, str] = {}
        self._module, self._input_size, self._converters = module, input_size, converters
        self._types: dict[str, TensorType] = {}
        self._values: dict[fx.Node, str] = {}
        self._names = _names(module)

    def input_type(self) -> TensorType:
        """Type of the image input."""
        if INPUT_NAME not in self._types:
            raise ModelError("graph: it has no quantized image input; a model takes one image tensor")
        return self._types[INPUT_NAME]

    def visit(self, node: fx.Node) -> None:
        """Take one torch node; computations wait for the quantize node that reads them."""
        if node.op == "output":
            self.outputs = tuple(self._value(node, value) for value in _flat(node.args[0]))
        elif node.op == "placeholder":
            self._check_placeholder(node)
        elif node.target is fx_reader.QUANTIZE:
            self._quantize(node)
        elif node.target is fx_reader.DEQUANTIZE:
            self._values[node] = self._value(node, node.args[0])
        elif node.target in VIEWS:
            self._view(node)
        elif node.op == "call_function" and not self._waits(node):
            supported = sorted(str(target) for target in self._converters)
            raise fx_reader.refuse(node, f"not supported; supported: {', '.join(supported)}")

    def _waits(self, node: fx.Node) -> bool:
        if node.target is fx_reader.DEQUANTIZE_WEIGHTS or node.target in self._converters:
            return True
        if activation_bounds(node) is None:
            return False
        producer = node.args[0]
        if isinstance(producer, fx.Node) and producer.target in self._converters and len(producer.users) == 1:
            return True
        raise fx_reader.refuse(
            node,
            f"an activation must directly follow a convolution, linear layer or addition, not {producer}",
        )

    def _check_placeholder(self, node: fx.Node) -> None:
        readers = {user.target for user in node.users}
        if readers != {fx_reader.QUANTIZE} or self._types:
            raise fx_reader.refuse(node, "a model must have exactly one image input, quantized to int8")

    def _quantize(self, node: fx.Node) -> None:
        source = node.args[0]
        assert isinstance(source, fx.Node)
        quantization = fx_reader.quantization(node)
        if source.op == "placeholder":
            name = INPUT_NAME
            self._types[name] = TensorType(*self._input_size, quantization)
        else:
            bounds = activation_bounds(source)
            producer = source if bounds is None else source.args[0]
            assert isinstance(producer, fx.Node)
            name = self._names[node]
            self._convert(producer, name, quantization, bounds or UNBOUNDED)
        self._values[node] = name
        self.sources[name] = source.name

    def _convert(self, producer: fx.Node, name: str, quantization: Any, bounds: tuple[float, float]) -> None:
        converter = self._converters.get(producer.target)
        if converter is None:
            raise fx_reader.refuse(producer, "quantized where no supported operator makes a value")
        arguments = fx_reader.arguments(producer)
        inputs = tuple(self._value(producer, arguments[key]) for key in converter.inputs)
        types = tuple(self._types[value] for value in inputs)
        try:
            op = converter.convert(Call(self._module, producer, arguments, types, quantization, bounds))
            result = op.infer_type(types)
        except (ModelError, ValueError) as error:
            if fx_reader.where(producer) in str(error):
                raise
            raise fx_reader.refuse(producer, str(error)) from error
        if isinstance(result, TensorType):
            self._types[name] = result
        self.nodes.append(Node(name, op, inputs))

    def _view(self, node: fx.Node) -> None:
        name = self._value(node, node.args[0])
        shape = self._types[name]
        val = node.meta.get("val")
        same = val is not None and tuple(val.shape[1:]) == (shape.channels, shape.height, shape.width)
        if not same and (shape.height, shape.width) != (1, 1):
            raise fx_reader.refuse(
                node, f"reshapes {shape}, supported 1x1xC; put a global average pool before"
            )
        self._values[node] = name

    def _value(self, user: fx.Node, value: Any) -> str:
        if isinstance(value, fx.Node) and value in self._values:
            return self._values[value]
        if isinstance(value, fx.Node):
            raise fx_reader.refuse(value, f"its result is read by {user} without being quantized")
        raise fx_reader.refuse(user, f"operand {value!r} is a constant, a tensor of the model is needed")


def _flat(result: Any) -> tuple[Any, ...]:
    """The output values of a model that returns a tensor or a tuple of tensors."""
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def _names(module: fx.GraphModule) -> dict[fx.Node, str]:
    """Graph node name for every quantize node, from the module that computes its input."""
    made, paths = [], []
    for node in module.graph.nodes:
        if node.target is not fx_reader.QUANTIZE or node.args[0].op == "placeholder":
            continue
        source = node.args[0]
        producer = source if activation_bounds(source) is None else source.args[0]
        made.append(node)
        paths.append(fx_reader.module_path(producer) or producer.name)
    return dict(zip(made, readable_names(paths, taken=(INPUT_NAME,)), strict=True))
