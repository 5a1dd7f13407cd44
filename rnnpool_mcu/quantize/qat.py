"""Quantization-aware training: the model as torch trains it, computing what the microcontroller will compute.

Convolutions, linear layers and additions get torchao's fake quantization, with BatchNorm folded into the
weights before these are rounded (Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018). RNNPool computes its integer operator itself, and its gradient
is that of the float operator (a straight-through estimator). Activation ranges stay those of a calibration.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, fx, nn
from torchao.quantization.pt2e import move_exported_model_to_eval, move_exported_model_to_train
from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e

from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.nn.fastgrnn import NONLINEARITIES
from rnnpool_mcu.nn.rnnpool import rnnpool
from rnnpool_mcu.quantize.post_training import export
from rnnpool_mcu.quantize.quantizer import Calibration, Int8Quantizer
from rnnpool_mcu.quantize.rnnpool_cell import quantize_rnnpool

NONLINEARITY_NAMES = {code: name for name, code in NONLINEARITIES.items()}


class QatModule(nn.Module):
    """A model under quantization-aware training; takes and gives what the float model does.

    Its `state_dict` has the float model's names for the float model's weights, among others.
    """

    def __init__(self, model: nn.Module, input_size: tuple[int, int, int], calibration: Calibration) -> None:
        """`input_size` is every input's (height, width, channels); `calibration` as a checkpoint stores it.

        The model given stays as it is. Raises ModelError for a model that cannot be exported or whose
        calibration lacks a value.
        """
        super().__init__()
        height, width, channels = input_size
        batch = torch.zeros(2, channels, height, width)  # torch.export takes a batch of one for a constant
        program = export(copy.deepcopy(model).train(), batch, any_batch=True)
        quantizer = Int8Quantizer(calibration, aware=True)
        graph = prepare_qat_pt2e(program.module(check_guards=False), quantizer)
        self._norms = {
            f"{name}.running_var": (module.momentum, module.eps)
            for name, module in model.named_modules()
            if isinstance(module, nn.BatchNorm2d)
        }
        _restore_batch_norms(graph, self._norms)
        _use_integer_rnnpool(graph)
        self.graph = graph
        self.weights = tuple(name for name in model.state_dict() if name in graph.state_dict())

    def forward(self, x: Tensor) -> Any:
        """float [N, C, H, W] in 0..1 to the model's outputs, every value on its int8 grid."""
        return self.graph(x)

    def train(self, mode: bool = True) -> QatModule:
        """Exported graphs change between training and evaluation by rewriting."""
        (move_exported_model_to_train if mode else move_exported_model_to_eval)(self.graph)
        _restore_batch_norms(self.graph, self._norms)
        self.training = mode
        return self

    def float_state(self) -> dict[str, Tensor]:
        """The trained weights and BatchNorm statistics under the float model's names."""
        state = self.graph.state_dict()
        return {name: state[name] for name in self.weights}


class _IntegerRnnPool(torch.autograd.Function):
    """Forward: the integer operator on a quantized input. Backward: the float operator's gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: float, zero_point: int, sizes: tuple[int, ...], *weights: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x, *weights)
        ctx.sizes = sizes
        patch, stride, nonlinearity = sizes
        quantization = Quantization(scale, zero_point)
        op = quantize_rnnpool(
            *(weight.detach().double().numpy() for weight in weights),
            patch=(patch, patch),
            stride=(stride, stride),
            nonlinearity=NONLINEARITY_NAMES[nonlinearity],
            input=quantization,
        )
        pixels = (x.detach() / scale).round().add(zero_point).permute(0, 2, 3, 1).to(torch.int8).numpy()
        height, width, channels = pixels.shape[1:]
        image_type = TensorType(height, width, channels, quantization)
        states = np.stack([op.eval_int8([image_type], [np.ascontiguousarray(image)]) for image in pixels])
        out = op.infer_type([image_type])
        return torch.from_numpy(states.astype(np.float32) * np.float32(out.scale)).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        with torch.enable_grad():
            inputs = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
            grads = torch.autograd.grad(rnnpool(*inputs, *ctx.sizes), inputs, grad_outputs[0])
        return (grads[0], None, None, None, *grads[1:])


def integer_rnnpool(x: Tensor, *arguments: Any) -> Tensor:
    """As `rnnpool_mcu::rnnpool`, on x's int8 grid: the last two arguments are its scale and zero point."""
    *weights, patch, stride, nonlinearity, scale, zero_point = arguments
    result: Tensor = _IntegerRnnPool.apply(  # type: ignore[no-untyped-call]
        x, scale, zero_point, (patch, stride, nonlinearity), *weights
    )
    return result


def _restore_batch_norms(graph: fx.GraphModule, own: Mapping[str, tuple[float | None, float]]) -> None:
    """Give every BatchNorm its own momentum and epsilon back, by the name of its running variance.

    torchao writes torch's defaults when it fuses them, and again when it moves a graph to evaluation.
    """
    for node in graph.graph.nodes:
        if node.target is torch.ops.aten.batch_norm.default:
            momentum, eps = own[str(node.args[4].target)]
            node.args = (*node.args[:6], momentum, eps, *node.args[8:])
        elif node.target is torch.ops.aten.add.Tensor and str(getattr(node.args[0], "target", "")) in own:
            node.args = (node.args[0], own[str(node.args[0].target)][1])
    graph.recompile()


def _use_integer_rnnpool(graph: fx.GraphModule) -> None:
    """Let every RNNPool of a prepared graph compute its integer operator."""
    for node in graph.graph.nodes:
        if node.target is torch.ops.rnnpool_mcu.rnnpool.default:
            fake = graph.get_submodule(str(node.args[0].target))
            scale, zero_point = cast(Any, fake).calculate_qparams()
            node.target = integer_rnnpool
            node.args = (*node.args, float(scale), int(zero_point))
    graph.recompile()
