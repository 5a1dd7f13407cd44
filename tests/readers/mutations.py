"""Mutations that know the structure of a file: a tree of JSON, an archive's members, a message's fields."""

from __future__ import annotations

import copy
import io
import json
import re
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

Random = np.random.Generator
Mutation = Callable[[bytes, Random], bytes]

ODD_INTEGERS = (
    0,
    -1,
    1,
    2,
    127,
    128,
    -129,
    255,
    1 << 15,
    1 << 20,
    1 << 31,
    -(1 << 31),
    (1 << 63) - 1,
    1 << 64,
)
ODD_FLOATS = (0.0, -1.0, 1e38, float("nan"), float("inf"))
ODD_VALUES: tuple[Any, ...] = (
    *ODD_INTEGERS, None, True, False, 0.5, -0.0, 1e-45, 1e300, float("nan"), float("inf"), "", "x", "\x00",
    "\ud800", "../../x", "nul\u00e4", "x" * 5000, [], {}, [[]], [None], {"": 0},
    {"type": "os:system", "fields": {}}, 10**400,
)  # fmt: skip
ODD_WORDS = (
    b"", b"0", b"-1", b"1.5", b"1e999", b"nan", b"-inf", b"9" * 5000, b"1_0", b"\xd9\xa3", b"\x00", b'"',
    b"'", b"\r", b"\n\n", b";", b",", b"\xff", b"x" * 200_000, b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;",
    b"<a>", b"]]>",
)  # fmt: skip
ODD_BYTES = (b"", b"\x00", b"\xff" * 8, b"PK\x03\x04", b"{", b"[" * 3000, b"\x80\x02", b"9" * 5000)


def pick(rng: Random, values: Any) -> Any:
    return values[int(rng.integers(len(values)))]


def mutate_bytes(data: bytes, rng: Random) -> bytes:
    """Flipped, cut, repeated, inserted."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(changed) + 1))
        kind = int(rng.integers(5))
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del changed[at : at + int(rng.integers(1, 64))]
        elif kind == 2:
            changed[at:at] = pick(rng, ODD_BYTES)
        elif kind == 3:
            changed[at:at] = changed[at : at + int(rng.integers(1, 256))]
        else:
            word = int(pick(rng, ODD_INTEGERS)) & 0xFFFFFFFF
            at -= at % 4
            changed[at : at + 4] = word.to_bytes(4, "little")
    return bytes(changed)


def _places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every container with each of its keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found.append((value, key))
        _places(item, found)
    return found


def mutate_tree(value: Any, rng: Random) -> Any:
    """A JSON value with a few places replaced, removed, repeated, exchanged or nested."""
    box = [json.loads(json.dumps(value))]
    for _ in range(int(rng.integers(1, 4))):
        places = _places(box, [])
        holder, key = pick(rng, places)
        other, other_key = pick(rng, places)
        kind = int(rng.integers(6))
        if kind == 0 and holder is not box:
            del holder[key]
        elif kind == 1 and isinstance(holder, list):
            holder.insert(key, json.loads(json.dumps(holder[key])))
        elif kind == 2:
            holder[key] = json.loads(json.dumps(other[other_key]))
        elif kind == 3 and isinstance(holder, dict):
            holder[str(pick(rng, ("", "x", "array", "type", "fields", "name")))] = holder.pop(key)
        elif kind == 4 and type(holder[key]) in (int, float):
            holder[key] = pick(rng, (holder[key] + 1, -holder[key], holder[key] * 1000, 10.0))
        else:
            holder[key] = copy.deepcopy(pick(rng, ODD_VALUES))  # which is changed perhaps
    return box[0]


def mutate_json(data: bytes, rng: Random) -> bytes:
    if rng.random() < 0.15:
        return mutate_bytes(data, rng)
    if rng.random() < 0.03:
        return b"[" * 100_000
    return json.dumps(mutate_tree(json.loads(data), rng)).encode()


def mutate_npy(data: bytes, rng: Random) -> bytes:
    """An array's header: type, order and shape."""
    if rng.random() < 0.3 or len(data) < 128:
        return mutate_bytes(data, rng)
    length = int.from_bytes(data[8:10], "little")
    header = data[10 : 10 + length]
    old, new = pick(
        rng,
        (
            (b"'<i", b"'>i"), (b"'|i1'", b"'|O'"), (b"'|i1'", b"'<i8'"), (b"'|u1'", b"'<c8'"),
            (b"(", b"(" * 300), (b"(", b"(99999999999, "), (b"(", b"(-1, "), (b"False", b"True"),
            (b"'descr'", b"'d\x00escr'"), (b"}", b"\\"), (b"False", b"__import__('os')"), (b",)", b")"),
        ),
    )  # fmt: skip
    changed = header.replace(old, new, 1)
    return data[:8] + len(changed).to_bytes(2, "little") + changed + data[10 + length :]


def mutate_members(members: dict[str, Mutation]) -> Mutation:
    """Of an archive: a member by the first mutation whose key its name ends with, or the archive itself."""

    def mutate(data: bytes, rng: Random) -> bytes:
        if rng.random() < 0.1:
            return mutate_bytes(data, rng)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
        name = pick(rng, list(content))
        kind = rng.random()
        if kind < 0.05:
            del content[name]
        elif kind < 0.1:
            content[pick(rng, ("x", "../x", name + "x", name.upper()))] = content.pop(name)
        elif kind < 0.15:
            content[name] = content[pick(rng, list(content))]
        elif kind < 0.153:  # seldom: it takes seconds to write
            content[name] = bytes(300 << 20)
        else:
            changes = next((m for end, m in members.items() if name.endswith(end)), mutate_bytes)
            content[name] = changes(content[name], rng)
        return archive_of(
            content, zipfile.ZIP_DEFLATED if rng.random() < 0.2 or kind < 0.153 else zipfile.ZIP_STORED
        )

    return mutate


def archive_of(content: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method, compresslevel=1) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def mutate_message(kind: Any) -> Mutation:
    """Of a protobuf message of a class: one field somewhere set, cleared, repeated or exchanged."""

    def mutate(data: bytes, rng: Random) -> bytes:
        if rng.random() < 0.15:
            return mutate_bytes(data, rng)
        message = kind.FromString(data)
        for _ in range(int(rng.integers(1, 3))):
            _mutate_field(*pick(rng, _fields(message, [])), rng)
        return bytes(message.SerializeToString())

    return mutate


def _fields(message: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    for field, value in message.ListFields():
        found.append((message, field))
        if field.message_type is None:
            continue
        for each in value if _repeated(value) else (value,):
            _fields(each, found)
    return found


def _repeated(value: Any) -> bool:
    return hasattr(value, "extend") and not isinstance(value, bytes | str)


def _mutate_field(message: Any, field: Any, rng: Random) -> None:
    value = getattr(message, field.name)
    if not _repeated(value):
        if rng.random() < 0.3 or field.message_type is not None:
            message.ClearField(field.name)
        else:
            _set(lambda new: setattr(message, field.name, new), value, rng)
        return
    at = int(rng.integers(len(value)))
    kind = rng.random()
    if kind < 0.3:
        del value[at]
    elif kind < 0.6 or field.message_type is not None:
        value.extend([value[at]])
    else:
        _set(lambda new: value.__setitem__(at, new), value[at], rng)


def _set(put: Callable[[Any], None], old: Any, rng: Random) -> None:
    """An odd value of the old one's type; those that the field cannot hold leave it as it was."""
    if isinstance(old, bytes):
        new: Any = mutate_bytes(old, rng)
    elif isinstance(old, str):
        new = pick(rng, ("", "x", "Conv", "input", old + "x"))
    else:
        new = pick(
            rng, ODD_INTEGERS if isinstance(old, int) else (0.0, -1.0, 1e38, float("nan"), float("inf"))
        )
    try:
        put(new)
    except (ValueError, TypeError, OverflowError):
        return


def mutate_numbers(data: bytes, rng: Random) -> bytes:
    """Of a text of numbers, names and tags: words exchanged for odd ones, bytes changed."""
    if rng.random() < 0.3:
        return mutate_bytes(data, rng)
    changed = data
    for _ in range(int(rng.integers(1, 4))):
        found = list(re.finditer(rb"[-+.\w]+|\W", changed))
        if not found:
            break
        word = pick(rng, found)
        changed = changed[: word.start()] + pick(rng, ODD_WORDS) + changed[word.end() :]
    return changed


def mutate_words(data: bytes, rng: Random) -> bytes:
    """Of a flatbuffer: offsets, lengths and fields are words; near the front stand the tables."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        size = pick(rng, (1, 2, 4))
        at = int(rng.integers(min(len(changed), 4096 if rng.random() < 0.5 else len(changed)) // size)) * size
        old = int.from_bytes(changed[at : at + size], "little")
        new = pick(rng, (old + 1, old - 1, old * 2, 0, 4, *ODD_INTEGERS)) & ((1 << 8 * size) - 1)
        changed[at : at + size] = new.to_bytes(size, "little")
    return bytes(changed[: int(rng.integers(len(changed)))] if rng.random() < 0.05 else changed)


def mutate_lines(data: bytes, rng: Random) -> bytes:
    """Of a text of lines `key = value`: values exchanged, lines removed, repeated or moved."""
    if rng.random() < 0.15:
        return mutate_bytes(data, rng)
    lines = data.decode().splitlines()
    at = int(rng.integers(len(lines)))
    odd = (
        "0",
        "-1",
        "1.5",
        "1e999",
        "nan",
        '""',
        '"x"',
        "true",
        "[]",
        "[[[]]]",
        "{}",
        "9" * 5000,
        "1979-05-27",
        "'",
    )
    kind = int(rng.integers(4))
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(int(rng.integers(len(lines))), lines[at])
    else:
        lines[at] = f"{lines[at].partition('=')[0]}= {pick(rng, odd)}"
    return "\n".join(lines).encode()
