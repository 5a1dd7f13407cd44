"""Two pictures of planning, each one self-contained SVG: memory over time, and a Pareto front."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple
from xml.sax.saxutils import escape

from rnnpool_mcu.ir.plan import Block, Plan, total_live

WIDTH, HEIGHT = 1200, 560
LEFT, RIGHT, TOP, BOTTOM = 90, 330, 64, 50  # margins of the drawing area
COLUMNS = 500  # of the memory picture at most; of steps that share one, the step with the most live bytes
LEGEND_LINES = 24
LEAST_GAP = 60.0  # pixels between two labelled points
COLOURS = (
    "#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#eeca3b", "#b279a2", "#ff9da6", "#9d755d",
    "#9ecae9", "#ffbf79", "#88d27a", "#83bcb6", "#d6a5c9", "#d8b5a5",
)  # fmt: skip


@dataclass(frozen=True)
class FrontPoint:
    """A plan of a front."""

    peak_bytes: int
    cycles: float  # predicted, of one inference
    label: str  # shown when the pointer rests on it


class _Column(NamedTuple):
    """The steps first..stop - 1 of a plan, by the one of them with the most live bytes."""

    first: int
    stop: int
    fullest: int


def memory_svg(plan: Plan, title: str) -> str:
    """The bytes live in each step of a plan, by block; blocks that are live first lie at the bottom.

    The line is the arena: what lies between it and the blocks is lost to placement or unused then.
    """
    blocks = sorted(plan.blocks.values(), key=lambda block: (block.live & -block.live, block.name))
    live = {block.name: f"{block.live:b}"[::-1] for block in blocks}
    totals = total_live(blocks, len(plan.steps)).tolist()
    columns = _columns(totals)
    colours = {block.name: COLOURS[i % len(COLOURS)] for i, block in enumerate(blocks)}
    scale = _drawing_height() / max(plan.arena_bytes, 1)
    body = [*_areas(blocks, live, columns, colours, scale), *_byte_axis(plan.arena_bytes)]
    body.append(_text(LEFT, HEIGHT - 14, f"{len(plan.steps):,} steps: rows made, in the order they run"))
    peak = max(range(len(totals)), key=totals.__getitem__)
    body += _legend({block.name: block.live_bytes(peak) for block in blocks}, colours, totals[peak])
    x = LEFT + _drawing_width() * (peak + 0.5) / len(plan.steps)
    body.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="black" stroke-dasharray="3 3"/>')
    body.append(f'<path d="M{LEFT} {TOP}H{WIDTH - RIGHT}" stroke="#c00000"/>')
    bound = plan.placement.bound_bytes
    subtitle = f"arena {plan.arena_bytes:,} bytes (red); most live at once {bound:,} (dashed), in " + (
        f"'{plan.steps[peak].value}', row {plan.steps[peak].row}"
    )
    return _document(title, subtitle, body)


def _is_live(digits: str, step: int) -> bool:
    return step < len(digits) and digits[step] == "1"


def _columns(totals: Sequence[int]) -> list[_Column]:
    count = min(COLUMNS, len(totals))
    edges = [len(totals) * i // count for i in range(count + 1)]
    return [
        _Column(first, stop, max(range(first, stop), key=totals.__getitem__))
        for first, stop in pairwise(edges)
    ]


def _areas(
    blocks: Sequence[Block],
    live: Mapping[str, str],
    columns: Sequence[_Column],
    colours: Mapping[str, str],
    scale: float,  # pixels a byte
) -> Iterator[str]:
    """One area per block, from the zero line up to the blocks' sum so far; the lowest is drawn last."""
    heights = [0] * len(columns)
    areas = []
    for block in blocks:
        for i, column in enumerate(columns):
            if _is_live(live[block.name], column.fullest):
                heights[i] += block.live_bytes(column.fullest)
        hint = f"{block.name}: {block.bytes:,} bytes, {block.live.bit_count():,} steps"
        areas.append(
            f'<path d="{_outline(columns, heights, scale)}" fill="{colours[block.name]}">'
            f"<title>{escape(hint)}</title></path>"
        )
    yield from reversed(areas)


def _outline(columns: Sequence[_Column], heights: Sequence[int], scale: float) -> str:
    """Path of a staircase over the columns."""
    zero, steps = HEIGHT - BOTTOM, columns[-1].stop
    path, level = [f"M{LEFT} {zero}"], 0
    for column, height in zip(columns, heights, strict=True):
        if height != level:
            path.append(f"H{LEFT + _drawing_width() * column.first / steps:.1f}V{zero - height * scale:.1f}")
            level = height
    return "".join(path) + f"H{WIDTH - RIGHT}V{zero}Z"


def _legend(sizes: Mapping[str, int], colours: Mapping[str, str], total: int) -> Iterator[str]:
    """The blocks of the peak with their bytes live then, largest first."""
    left, largest = (
        WIDTH - RIGHT + 20,
        sorted((name for name in sizes if sizes[name]), key=lambda n: -sizes[n]),
    )
    yield _text(left, TOP, f"live at the peak: {total:,} bytes")
    for i, name in enumerate(largest[:LEGEND_LINES], start=1):
        y = TOP + 17 * i
        yield f'<rect x="{left}" y="{y - 9}" width="10" height="10" fill="{colours[name]}"/>'
        yield _text(left + 15, y, f"{sizes[name]:,}  {name}")
    if len(largest) > LEGEND_LINES:
        yield _text(left + 15, TOP + 17 * (LEGEND_LINES + 1), f"and {len(largest) - LEGEND_LINES} more")


def front_svg(points: Sequence[FrontPoint], chosen: int | None, title: str) -> str:
    """Peak bytes over predicted cycles; `chosen` is the index of a plan to mark."""
    fewest = min(point.cycles for point in points)
    span = max(max(point.cycles for point in points) - fewest, 0.01 * fewest)
    top_bytes = max(point.peak_bytes for point in points)
    xs = [LEFT + _drawing_width() * (point.cycles - fewest) / span for point in points]
    ys = [HEIGHT - BOTTOM - _drawing_height() * point.peak_bytes / top_bytes for point in points]
    body = [*_byte_axis(top_bytes), *_percent_axis(100 * span / fewest)]
    stairs = "".join(f"H{x:.1f}V{y:.1f}" for x, y in zip(xs[1:], ys[1:], strict=True))
    body.append(f'<path d="M{xs[0]:.1f} {ys[0]:.1f}{stairs}" fill="none" stroke="{COLOURS[0]}"/>')
    labelled = -LEAST_GAP
    for i, point in enumerate(points):
        fill = "#c00000" if i == chosen else COLOURS[0]
        body.append(
            f'<circle cx="{xs[i]:.1f}" cy="{ys[i]:.1f}" r="5" fill="{fill}">'
            f"<title>{escape(point.label)}</title></circle>"
        )
        if i == chosen or xs[i] - labelled >= LEAST_GAP or i == len(points) - 1:
            body.append(_text(xs[i] + 7, ys[i] - 7, f"{point.peak_bytes:,}"))
            labelled = xs[i]
    subtitle = "most bytes live at once over predicted cycles; the marked plan is red"
    return _document(title, subtitle if chosen is not None else subtitle.partition(";")[0], body)


def _byte_axis(top_bytes: int) -> Iterator[str]:
    for value in _ticks(top_bytes):
        y = HEIGHT - BOTTOM - _drawing_height() * value / max(top_bytes, 1)
        yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#808080" stroke-opacity="0.3"/>'
        yield _text(LEFT - 6, y + 4, f"{round(value):,}", anchor="end")


def _percent_axis(top_percent: float) -> Iterator[str]:
    for value in _ticks(top_percent):
        x = LEFT + _drawing_width() * value / top_percent
        yield _text(x, HEIGHT - BOTTOM + 18, f"+{value:g} %", anchor="middle")
    yield _text(LEFT, HEIGHT - 12, "predicted cycles more than the fastest plan's")


def _ticks(top: float) -> list[float]:
    """Round values from 0 to at most `top`, about eight."""
    unit = 10.0 ** (math.floor(math.log10(max(top, 1e-9))) - 1)
    step = next(unit * factor for factor in (1, 2, 5, 10, 20) if top / (unit * factor) <= 10)
    return [round(step * i, 9) for i in range(int(top / step) + 1)]


def _drawing_width() -> int:
    return WIDTH - LEFT - RIGHT


def _drawing_height() -> int:
    return HEIGHT - TOP - BOTTOM


def _text(x: float, y: float, text: str, *, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _document(title: str, subtitle: str, body: Sequence[str]) -> str:
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="16" y="26" font-size="16">{escape(title)}</text>',
        _text(16, 46, subtitle),
    ]
    return "\n".join([*head, *body, "</svg>"]) + "\n"
