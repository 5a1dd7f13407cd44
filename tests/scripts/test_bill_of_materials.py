"""The wheel's bill of materials names what it depends on, as it is locked."""

from __future__ import annotations

import json

from scripts.bill_of_materials import bill_of_materials


def test_every_dependency_is_listed_once_with_its_locked_version() -> None:
    bill = bill_of_materials()
    found = {component["name"]: component for component in bill["components"]}
    assert len(found) == len(bill["components"])
    assert found["numpy"]["scope"] == "required" and found["torch"]["scope"] == "optional"
    assert found["torch"]["purl"] == "pkg:pypi/torch@2.13.0%2Bcpu"
    assert "pytest" not in found
    assert [name for name, component in found.items() if "version" not in component] == [
        "pyocd",
        "tensorflow",
    ]
    assert json.dumps(bill) == json.dumps(bill_of_materials())
