"""C names of a graph's values: a value keeps its own name wherever that gives no symbol twice."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import chain, count

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.operator import Absorber
from rnnpool_mcu.ir.tensor_type import DetectionsType

OWN_SYMBOLS = frozenset(
    ("output", "status", "progress", "run", "row_source", "image_row", "pull_image", "trace")
)
"""What the templates themselves put behind the model's prefix."""

STATE_SYMBOLS = frozenset(("state", "reset", "keep"))
"""And where the graph has states."""

INPUT_SYMBOLS = frozenset(("source", "inputs"))
"""And where it has several inputs."""

VALUE_SUFFIXES = frozenset(("rows", "needed", "settled"))
"""What a symbol may have behind the name of any value."""

DETECTION_FIELDS = frozenset(("count", "box", "label", "unused"))

_KEYWORDS = """
auto break case char const continue default do double else enum extern float for goto if inline int long
register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
alignas alignof asm bool constexpr false fortran linux nullptr static_assert thread_local true typeof unix
and and_eq bitand bitor catch class co_await co_return co_yield compl concept const_cast consteval constinit
decltype delete dynamic_cast explicit export friend mutable namespace new noexcept not not_eq operator or
or_eq private protected public reinterpret_cast requires static_cast template this throw try typeid typename
typeof_unqual using virtual wchar_t xor xor_eq
"""
KEYWORDS = frozenset(_KEYWORDS.split())
"""No names of structure fields in C99 and later, in GNU C, or for a C++ program that reads the header."""

STANDARD_TYPES = re.compile(r"u?int(_fast|_least)?(8|16|32|64)_t|u?int(max|ptr)_t|(size|ptrdiff|max_align)_t")


@dataclass(frozen=True)
class Naming:
    """The C names of one model's values."""

    model: str
    outputs: tuple[str, ...]  # graph outputs, in order
    names: Mapping[str, str]  # C identifier by value
    inputs: tuple[str, ...] = ()  # graph inputs, in order

    def value(self, name: str) -> str:
        """The value's counter in the progress structure; part of all its other names."""
        return self.names[name]

    def symbol(self, node: str) -> str:
        return f"{self.model}_{self.names[node]}"

    def rows(self, value: str) -> str:
        return f"{self.symbol(value)}_rows"

    def needed(self, value: str) -> str:
        """Function that gives the first row of a staged value which has yet to be read."""
        return f"{self.symbol(value)}_needed"

    def settled(self, value: str) -> str:
        """Counter of rows of a staged value that stand in their slots."""
        return f"{self.names[value]}_settled"

    def absorbed(self, node: str, group: int) -> str:
        """Counter of rows absorbed from one group."""
        return f"{self.names[node]}_in{group}"

    def output_field(self, value: str) -> str:
        """Field of the output structure that holds a tensor output."""
        return "logits" if len(self.outputs) == 1 else self.names[value]

    def state_bytes(self, value: str) -> str:
        """C expression of where a state's rows begin."""
        return f"(uint8_t *)state->{self.names[value]}.rows"

    def initial(self, value: str) -> str:
        """The constant rows that a state begins with."""
        return f"{self.symbol(value)}_initial"

    def pull(self, value: str) -> str:
        """Function that takes a row of an input."""
        return f"{self.symbol(value)}_pull" if len(self.inputs) > 1 else f"{self.model}_pull_image"

    def outside(self, zero_point: int) -> str:
        """The constant row above and below maps of one zero point."""
        return f"{self.model}_outside_{'m' if zero_point < 0 else ''}{abs(zero_point)}"


def make_naming(graph: Graph, model: str, foreign: Set[str] = frozenset()) -> Naming:
    """Names for a graph of that prefix; `foreign` are identifiers of the C that stands beside it.

    In the graph's order each value gets its name, or that with `_2`, `_3`, ..., such that nothing derived
    from it is derived from another value, stands in the templates or in `foreign`, or is a keyword.
    """
    detects = any(isinstance(graph.types[name], DetectionsType) for name in graph.outputs)
    taken: set[str] = set(OWN_SYMBOLS)
    taken |= STATE_SYMBOLS if graph.states else frozenset()
    taken |= INPUT_SYMBOLS if graph.more_inputs else frozenset()
    names: dict[str, str] = {}
    for value, suffixes in chain(_suffixes_of_given(graph), _suffixes_by_node(graph)):
        refused = KEYWORDS | (DETECTION_FIELDS if detects and value in graph.outputs else frozenset())
        for candidate in _candidates(value):
            derived = {candidate, *(f"{candidate}_{suffix}" for suffix in suffixes)}
            if candidate not in refused and _are_free(derived, model, taken, foreign):
                break
        names[value] = candidate
        taken |= derived
    return Naming(model, graph.outputs, names, tuple(given.name for given in graph.inputs))


def _suffixes_of_given(graph: Graph) -> Iterator[tuple[str, frozenset[str]]]:
    several = frozenset(("pull", "row", "height", "width", "channels", "offset"))
    for given in graph.inputs:
        yield given.name, VALUE_SUFFIXES | (several if graph.more_inputs else frozenset())
    for state in graph.states:
        yield state.name, VALUE_SUFFIXES | {"initial"}


def _suffixes_by_node(graph: Graph) -> Iterator[tuple[str, frozenset[str]]]:
    for node in graph.nodes:
        arrays = (field for field, _ in node.op.c_params(graph.input_types(node)).arrays())
        tables = (f"first_{i}" for i in range(len(node.inputs)))
        groups = range(len(node.op.groups()) if isinstance(node.op, Absorber) else 0)
        absorbing = (f"{word}{group}" for group in groups for word in ("in", "absorb_"))
        yield node.name, VALUE_SUFFIXES.union(("row", "finish"), arrays, tables, absorbing)


def _candidates(value: str) -> Iterator[str]:
    name = re.sub(r"[^a-z0-9_]+", "_", value.lower())
    name = f"layer_{name}" if not name[:1].isalpha() else name
    return chain([name], (f"{name}_{number}" for number in count(2)))


def _are_free(derived: Collection[str], model: str, taken: Set[str], foreign: Set[str]) -> bool:
    if not taken.isdisjoint(derived) or any(re.fullmatch(r"outside_m?\d+", name) for name in derived):
        return False
    symbols = {f"{model}_{name}" for name in derived}
    return foreign.isdisjoint(symbols) and not any(STANDARD_TYPES.fullmatch(name) for name in symbols)
