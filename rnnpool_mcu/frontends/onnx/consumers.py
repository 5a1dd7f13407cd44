"""Who reads each tensor of an ONNX model, and where an operator's result therefore ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.onnx.call import UNBOUNDED, Given, QuantizedConstant, Target
from rnnpool_mcu.frontends.onnx.checks import QUANTIZE
from rnnpool_mcu.frontends.onnx.edges import edge_quantization
from rnnpool_mcu.frontends.onnx.operators.functions import bounds_of
from rnnpool_mcu.frontends.onnx.reader import OnnxModel, OnnxNode
from rnnpool_mcu.frontends.onnx.views import VIEWS


class Readers:
    """The operators that read each tensor, in the file's order."""

    def __init__(
        self,
        model: OnnxModel,
        constants: Mapping[str, NDArray[Any]],
        weights: Mapping[str, QuantizedConstant],
    ) -> None:
        """`constants` and `weights` may grow as the model is walked."""
        self.folded: set[int] = set()  # operators that became the clamp of the one before
        self._outputs, self._constants, self._weights = model.outputs, constants, weights
        self._found: dict[str, list[OnnxNode]] = {}
        for node in model.nodes:
            for name in dict.fromkeys(node.inputs):
                self._found.setdefault(name, []).append(node)

    def of(self, tensor: str) -> list[OnnxNode]:
        """The operators that read a tensor."""
        return self._found.get(tensor, [])

    def target(self, tensor: str, *, clamps: bool) -> Target:
        """Where the result goes: through relu and clip, as far as they fold, to its quantization."""
        low, high = UNBOUNDED
        while True:
            readers = self.of(tensor)
            edges = [node for node in readers if node.kind == QUANTIZE]
            if edges:
                if len(edges) != len(readers) or tensor in self._outputs:
                    other = next((node for node in readers if node.kind != QUANTIZE), "the model's output")
                    raise ModelError(f"'{tensor}' has no quantization where it is read by {other}")
                return Target(tensor, edge_quantization(edges[0], self._constants)[0], (low, high))
            folds = len(readers) == 1 and readers[0].kind in ("Relu", "Clip") and len(readers[0].outputs) == 1
            if not (clamps and folds) or tensor in self._outputs:
                edge = self.behind_views(tensor)
                found = None if edge is None else edge_quantization(edge, self._constants)[0]
                return Target(tensor, found, (low, high))
            given = Given.of(readers[0], self._constants, self._weights)
            given.account.use(0)
            floor, ceiling = bounds_of(given)
            given.check()
            low, high = (min(max(bound, floor), ceiling) for bound in (low, high))
            self.folded.add(readers[0].index)
            tensor = readers[0].outputs[0]

    def behind_views(self, tensor: str) -> OnnxNode | None:
        """The QuantizeLinear that views, the only readers, lead to."""
        readers = self.of(tensor)
        while len(readers) == 1 and readers[0].kind in VIEWS and len(readers[0].outputs) == 1:
            made = readers[0].outputs[0]
            readers = [] if made in self._outputs else self.of(made)
        return readers[0] if readers and all(node.kind == QUANTIZE for node in readers) else None
