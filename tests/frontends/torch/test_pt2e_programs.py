"""Programs quantized by another quantizer than ours, whose input some operators read as it is."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")

from torch import nn  # noqa: E402
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e  # noqa: E402
from torchao.testing.pt2e._xnnpack_quantizer import (  # noqa: E402
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)

from rnnpool_mcu.errors import ModelError  # noqa: E402
from rnnpool_mcu.frontends.torch.front import import_exported  # noqa: E402
from rnnpool_mcu.ir.evaluate import evaluate_graph  # noqa: E402
from rnnpool_mcu.ir.tensor_type import TensorType  # noqa: E402
from tests.torch_models import Lambda  # noqa: E402

SIZE = (12, 10, 3)


def converted(model: nn.Module) -> torch.fx.GraphModule:
    torch.manual_seed(1)
    images = torch.rand(8, 3, *SIZE[:2])
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(torch.export.export(model.eval(), (images[:1],)).module(), quantizer)
    for image in images:
        prepared(image[None])
    return torch.export.export(convert_pt2e(prepared), (images[:1],)).module(check_guards=False)


def test_an_input_that_is_quantized_for_one_reader_is_so_for_all() -> None:
    """cat reads what the convolution reads: on inputs that int8 can hold, as the C's are, nothing changes."""
    net = Lambda(
        lambda m, x: m.b(torch.cat([x, m.a(x)], 1)), a=nn.Conv2d(3, 3, 3, padding=1), b=nn.Conv2d(6, 4, 1)
    )
    program = converted(net)
    graph = import_exported(program, SIZE).graph
    given, made = graph.input_type, graph.types[graph.outputs[0]]
    assert isinstance(made, TensorType)
    values = np.random.default_rng(2).integers(-128, 128, SIZE).astype(np.int8)
    real = (values.astype(np.float32) - given.zero_point) * np.float32(given.scale)
    wanted = program(torch.from_numpy(real.transpose(2, 0, 1)[None]))[0].detach().numpy()
    steps = wanted.transpose(1, 2, 0) / made.scale + made.zero_point
    found = evaluate_graph(graph, values)[graph.outputs[0]]
    assert np.abs(found - np.clip(steps, -128, 127)).max() <= 1
    assert len(np.unique(found)) > 50


def test_an_input_that_nothing_quantizes_is_refused_by_its_reader() -> None:
    net = Lambda(lambda _, x: torch.cat([x, x.flip(3)], 1) * 1.0)
    with pytest.raises(
        ModelError, match=r"aten\.(cat|flip).*reads the input 'x' without its being quantized"
    ):
        import_exported(converted(net), SIZE)
