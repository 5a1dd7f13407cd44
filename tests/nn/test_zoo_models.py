"""The zoo's models: shapes, export as single nodes, and names of the reference implementation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parent))

import reference_rnnpool as reference  # noqa: E402

from rnnpool_mcu.errors import ModelError  # noqa: E402
from rnnpool_mcu.importing.checkpoint import check_preprocessing  # noqa: E402
from rnnpool_mcu.nn import RNNPool  # noqa: E402
from rnnpool_mcu.zoo import create, names  # noqa: E402
from rnnpool_mcu.zoo.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from rnnpool_mcu.zoo.reference_import import (  # noqa: E402
    import_face_m4,
    import_rnnpool,
    load_reference_face_m4,
    rows_first_channels,
    take_pixels,
)

FACE_M4_OUTPUTS = [(4, 30, 40), (2, 30, 40)] * 2 + [(4, 15, 20), (2, 15, 20)] * 2


def test_face_m4_shapes() -> None:
    model = create("face-m4").eval()
    with torch.no_grad():
        outputs = model(torch.rand(1, 1, 240, 320))
    assert [tuple(level.shape[1:]) for level in outputs] == FACE_M4_OUTPUTS
    assert model.anchors == ((8, 8), (16, 8), (32, 16), (48, 16))


def test_mobilenetv2_rnnpool_shape_and_size() -> None:
    model = create("mobilenetv2-rnnpool-0.35", num_classes=3).eval()
    with torch.no_grad():
        assert model(torch.rand(2, 3, 224, 224)).shape == (2, 3)
        pooled = model.pad(model.pool(model.stem(torch.rand(1, 3, 224, 224))))
        assert pooled.shape == (1, 32, 28, 28)
        assert model.features(pooled).shape == (1, 320, 7, 7)


@pytest.mark.parametrize(("arch", "nodes"), [
    ("face-m4", ["rnnpool", "l2_norm", "max_out", "l2_norm", "l2_norm"]),
    ("mobilenetv2-rnnpool-0.35", ["rnnpool"]),
])  # fmt: skip
def test_export_keeps_our_operators_whole(arch: str, nodes: list[str]) -> None:
    model = create(arch).eval()
    height, width, channels = model.input_size
    x = torch.rand(1, channels, height, width)
    exported = torch.export.export(model, (x,))
    found = [node.target.name() for node in exported.graph.nodes if "rnnpool_mcu" in str(node.target)]
    assert found == [f"rnnpool_mcu::{name}" for name in nodes]
    with torch.no_grad():
        again, wanted = exported.module()(x), model(x)
    for a, b in zip(
        torch.utils._pytree.tree_leaves(again), torch.utils._pytree.tree_leaves(wanted), strict=True
    ):
        assert torch.equal(a, b)


def test_training_and_operator_paths_agree() -> None:
    model = create("face-m4").train()
    pool, x = model.pool, torch.rand(2, 4, 40, 36)
    trained = pool(x)
    with torch.no_grad():
        assert torch.equal(trained, pool(x))


@pytest.mark.parametrize(
    "config",
    [{"hidden": 0}, {"hidden": -1}, {"hidden": "--5"}, {"nonlinearity": "foo"}, {"arch": "x"}, {"width": 2}],
)
def test_settings_that_no_model_can_have_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"'face-m4': configuration .* does not fit"):
        create("face-m4", **config)


@pytest.mark.parametrize("config", [{"num_classes": -1}, {"resolution": 0}, {"resolution": -32}])
def test_classifiers_without_pixels_or_classes_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="configuration"):
        create("mobilenetv2-rnnpool-0.35", **config)


def test_unknown_model_has_a_suggestion() -> None:
    with pytest.raises(ModelError, match="did you mean 'face-m4'"):
        create("face-m5")
    with pytest.raises(ModelError, match="does not fit"):
        create("face-m4", depth=3)
    assert "face-m4" in names()


def reference_state(prefix: str, channels: int, hidden: int) -> dict[str, torch.Tensor]:
    """A state dict as the reference implementation's RNNPool has it, duplicates included."""
    torch.manual_seed(11)
    state = {}
    for name, inputs in (("cell_rnn", channels), ("cell_bidirrnn", hidden)):
        cell = {
            "W": torch.randn(inputs, hidden) * 0.5, "U": torch.randn(hidden, hidden) * 0.3,
            "bias_gate": torch.randn(1, hidden), "bias_update": torch.randn(1, hidden),
            "zeta": torch.full((1, 1), 100.0), "nu": torch.full((1, 1), -100.0),
        }  # fmt: skip
        for parameter, value in cell.items():
            state[f"{prefix}{name}.cell.{parameter}"] = value
            state[f"{prefix}{name}.unrollRNN.RNNCell.{parameter}"] = value
    return state


@pytest.mark.parametrize("prefix", ["rnn_model.", "module.rnn_model.", "module.backbone.front.rnn_model."])
def test_reference_names_give_the_reference_outputs(prefix: str) -> None:
    state = reference_state(prefix, channels=4, hidden=6)
    layer = RNNPool(4, 6, 6, 8, 4).eval()
    layer.load_state_dict(import_rnnpool(state))
    x = torch.randn(1, 4, 20, 24)
    cells = []
    for name in ("cell_rnn", "cell_bidirrnn"):
        start = f"{prefix}{name}.cell."
        cells.append(
            {k.removeprefix(start): v.double().numpy() for k, v in state.items() if k.startswith(start)}
        )
    wanted = reference.rnnpool(x.double().numpy(), *cells, 8, 4)
    np.testing.assert_allclose(layer(x).detach().numpy(), wanted, rtol=0, atol=2e-6)


def face_m4_as_reference(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The model's weights under the reference's names."""
    swaps = (
        ("pool.rnn1.", "rnn_model.cell_rnn.cell."),
        ("pool.rnn2.", "rnn_model.cell_bidirrnn.cell."),
        ("stem.", "conv."),
        ("norms.0", "L2Norm3_3"),
        ("norms.1", "L2Norm4_3"),
        ("norms.2", "L2Norm5_3"),
    )
    state = {}
    for name, value in model.state_dict().items():
        renamed = name.replace("blocks.", "mob.").replace(".layers.", ".conv.")
        for ours, theirs in swaps:
            if name.startswith(ours):
                renamed = theirs + name.removeprefix(ours)
        state[f"module.{renamed}"] = value
    return state


@pytest.mark.parametrize("columns_first", [False, True])
def test_whole_face_m4_from_reference_names(tmp_path: Path, columns_first: bool) -> None:
    torch.manual_seed(13)
    original = create("face-m4", hidden=8).eval()
    state = face_m4_as_reference(original)
    if columns_first:  # the layer after RNNPool, as trained where the columns' result comes first
        key = "module.mob.0.conv.0.0.weight"
        state[key] = torch.cat((state[key][:, 16:], state[key][:, :16]), dim=1)
    path = tmp_path / "reference.pth"
    torch.save({"weight": state, "epoch": 299}, path)
    loaded = load_reference_face_m4(path, columns_first)
    x = torch.rand(1, 1, 64, 80)
    with torch.no_grad():
        for a, b in zip(loaded.model(x), original(x), strict=True):
            assert torch.equal(a, b)


def test_reference_weights_for_pixels(tmp_path: Path) -> None:
    torch.manual_seed(14)
    path = tmp_path / "reference.pth"
    torch.save(face_m4_as_reference(create("face-m4", hidden=8).eval()), path)
    loaded = load_reference_face_m4(path)
    folded = take_pixels(loaded)
    gray = torch.randint(0, 256, (1, 1, 64, 80)).float()
    with torch.no_grad():
        wanted = loaded.model.stem(gray - loaded.preprocessing["mean"][0])
        found = folded.model.stem(gray / 255)
    assert wanted.abs().max() > 1
    torch.testing.assert_close(found[:, :, 1:, 1:], wanted[:, :, 1:, 1:], rtol=0, atol=1e-3)
    save_checkpoint(
        tmp_path / "face.pt", folded.model, folded.arch, folded.config, folded.preprocessing, ["face"]
    )
    check_preprocessing(path, load_checkpoint(tmp_path / "face.pt").preprocessing)
    with pytest.raises(ModelError, match="mean"):
        check_preprocessing(path, loaded.preprocessing)


def test_rows_first_channels_undoes_the_columns_first_order() -> None:
    rows, columns = torch.arange(6), torch.arange(6, 12)
    columns_first = torch.cat((columns, rows))
    assert torch.equal(columns_first[rows_first_channels(3)], torch.cat((rows, columns)))


def test_import_refuses_what_holds_no_rnnpool() -> None:
    with pytest.raises(ModelError, match=r"no cell_rnn\.cell\.W"):
        import_face_m4({"conv.0.weight": torch.zeros(1)})
