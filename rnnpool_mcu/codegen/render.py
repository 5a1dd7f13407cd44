"""The Jinja environment of the code templates: undefined names are errors, output keeps its last newline."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jinja2

from rnnpool_mcu.system.resources import template_dir


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(template_dir()),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def render(template: str, **context: Any) -> str:
    """Text of one template (path below codegen_templates/)."""
    return _environment().get_template(template).render(**context).lstrip("\n")


def read_plain(path: str) -> str:
    """A file of codegen_templates/ that is copied as it is."""
    return (template_dir() / path).read_text(encoding="utf-8")
