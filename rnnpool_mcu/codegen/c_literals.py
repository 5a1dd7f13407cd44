"""C text for constants: arrays and parameter structures."""

from __future__ import annotations

from rnnpool_mcu.ir.operator import CArray, CParams

LINE_WIDTH = 110


def c_array(name: str, array: CArray) -> str:
    """Definition of a constant array, values wrapped at LINE_WIDTH columns."""
    values = array.values.ravel().tolist()
    suffix = "u" if array.ctype.startswith("u") else ""
    lines, line = [], "   "
    for value in values:
        word = f" {_integer(value)}{suffix},"
        if len(line) + len(word) > LINE_WIDTH:
            lines.append(line)
            line = "   "
        line += word
    lines.append(line)
    return f"const {array.ctype} {name}[{len(values)}] = {{\n" + "\n".join(lines) + "\n};\n"


def c_params(struct_type: str, name: str, params: CParams) -> str:
    """Definition of a parameter structure; its arrays are named <name>_<field>."""
    return f"static const {struct_type} {name} = {_braces(params, name, 1)};\n"


def c_string(text: str) -> str:
    """A string literal; bytes of UTF-8 that are not plain ASCII as escapes of three octal digits."""
    plain = set(range(0x20, 0x7F)) - set(b'"\\?')  # no escape, and no trigraph
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in text.encode()) + '"'


def c_float(value: float) -> str:
    """A float literal that reads back as the same float32."""
    text = f"{value:.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def _braces(params: CParams, prefix: str, depth: int) -> str:
    indent = "    " * depth
    lines = []
    for field, value in params.fields.items():
        if isinstance(value, CArray):
            text = f"{prefix}_{field}"
        elif isinstance(value, CParams):
            text = _braces(value, f"{prefix}_{field}", depth + 1)
        else:
            text = _integer(value)
        lines.append(f"{indent}.{field} = {text},")
    return "{\n" + "\n".join(lines) + "\n" + "    " * (depth - 1) + "}"


def _integer(value: int) -> str:
    """A C integer constant; the most negative int32 has no literal of its own type."""
    return "(-2147483647 - 1)" if value == -(2**31) else str(value)
