"""Names of graph nodes: short, unique C identifiers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnpool_mcu.frontends.node_names import readable_names


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["stem.0", "pool"], ["stem", "pool"]),
        (["blocks.0.layers.0.0", "blocks.0.layers.1.0"], ["blocks_0_layers_0", "blocks_0_layers_1"]),
        (["blocks.1.layers.2", "blocks.1"], ["blocks_1_layers", "blocks_1"]),
        (["0", "3"], ["layer_0", "layer_3"]),
        (["head", "head", "head"], ["head", "head_2", "head_3"]),
        (["Net.Conv-1", "Net.Conv 2"], ["net_conv_1", "net_conv_2"]),
        (["input"], ["input_2"]),
        ([""], ["node"]),
    ],
)
def test_paths_become_readable_names(paths: list[str], names: list[str]) -> None:
    assert readable_names(paths, taken=("input",)) == names


@given(st.lists(st.text(alphabet="aB0._-é", max_size=8), max_size=12))
def test_names_are_unique_identifiers(paths: list[str]) -> None:
    names = readable_names(paths, taken=("input",))
    assert len(set(names) | {"input"}) == len(paths) + 1
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in names)
