"""What nobody looked at of an operator is named."""

from __future__ import annotations

import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.account import Noted, Operands, check_account


def test_every_operand_must_be_used() -> None:
    operands = Operands(("image", "", "bias"))
    operands.use(0)
    with pytest.raises(ModelError, match=r"its input 2 \('bias'\) is not looked at, supported: one input;"):
        check_account(operands, {}, "One input.".lower())
    operands.use(2)
    check_account(operands, {})


def test_every_attribute_must_be_read() -> None:
    attributes = Noted({"axis": 1, "mode": b"CRD", "seed": 3})
    assert attributes["axis"] == 1 and attributes.get("seed") == 3 and "absent" not in attributes
    assert attributes.unread() == {"mode": b"CRD"}
    with pytest.raises(ModelError, match=r"its attribute mode \(b'CRD'\) is not looked at"):
        check_account(Operands(()), attributes.unread())
