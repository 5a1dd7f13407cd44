"""A profile as one self-contained SVG picture: an icicle of layers and functions, a bar per layer."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape

from rnnpool_mcu.ir.profile import Profile, Share

WIDTH, MARGIN = 1200, 16
STRIP_HEIGHT, BAR_HEIGHT, LABEL_WIDTH = 34, 18, 190
NUMBER_WIDTH = 190
LETTER_WIDTH = 6.6  # of the 11-pixel font, on average

# What a cycle was spent on: one instruction each, more of the same instruction, waits for flash.
PARTS = (
    ("first cycle of each instruction", "#4c78a8"),
    ("further cycles: loads, branches, divisions", "#9ecae9"),
    ("waits for code from flash", "#f2b24c"),
    ("waits for constants from flash", "#d9603b"),
)
LAYER_COLOURS = ("#4c78a8", "#6b9bc3", "#88b4d6", "#5f86ab")
FUNCTION_COLOURS = ("#f0c987", "#e8b667", "#f4d7a6", "#dfa850")


def render_svg(profile: Profile) -> str:
    """The picture as text; widths are proportional to estimated cycles."""
    top = 64
    body = [*_strips(profile, top), *_legend(top + 2 * STRIP_HEIGHT + 26)]
    bars_top = top + 2 * STRIP_HEIGHT + 46
    body += _bars(profile, bars_top)
    height = bars_top + len(profile.layers) * BAR_HEIGHT + MARGIN
    title = (
        f"{profile.board}, {profile.clock_hz / 1e6:g} MHz, {profile.flash.wait_states} wait states: "
        f"about {profile.total.cycles / 1e6:,.1f} M cycles, {profile.seconds * 1e3:,.0f} ms (estimate)"
    )
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{MARGIN}" y="28" font-size="16">{escape(title)}</text>',
        f'<text x="{MARGIN}" y="50">layers in the order of the graph, below each the functions it ran</text>',
    ]
    return "\n".join([*head, *body, "</svg>"]) + "\n"


def _strips(profile: Profile, top: int) -> Iterator[str]:
    """The icicle: one strip of layers, one of their functions."""
    scale = (WIDTH - 2 * MARGIN) / max(profile.total.cycles, 1)
    left = float(MARGIN)
    for index, (layer, functions) in enumerate(zip(profile.layers, profile.layer_functions, strict=True)):
        yield _box(left, top, layer.cycles * scale, LAYER_COLOURS[index % 4], layer, profile)
        inner = left
        for number, function in enumerate(functions):
            colour = FUNCTION_COLOURS[number % 4]
            yield _box(inner, top + STRIP_HEIGHT, function.cycles * scale, colour, function, profile)
            inner += function.cycles * scale
        left += layer.cycles * scale


def _box(left: float, top: int, width: float, colour: str, share: Share, profile: Profile) -> str:
    if width < 0.05:
        return ""
    hint = f"{share.name}: {share.cycles:,} cycles, {share.cycles / profile.clock_hz * 1e3:.2f} ms"
    label = share.name if len(share.name) * LETTER_WIDTH < width - 4 else ""
    return (
        f'<g><title>{escape(hint)}</title><rect x="{left:.2f}" y="{top}" width="{width:.2f}" '
        f'height="{STRIP_HEIGHT - 2}" fill="{colour}" stroke="white" stroke-width="0.5"/>'
        f'<text x="{left + 3:.2f}" y="{top + 20}">{escape(label)}</text></g>'
    )


def _legend(top: int) -> Iterator[str]:
    left = MARGIN
    for text, colour in PARTS:
        yield f'<rect x="{left}" y="{top - 9}" width="10" height="10" fill="{colour}"/>'
        yield f'<text x="{left + 15}" y="{top}">{text}</text>'
        left += 35 + round(len(text) * LETTER_WIDTH)


def _bars(profile: Profile, top: int) -> Iterator[str]:
    """One bar per layer, divided by what its cycles were spent on."""
    longest = max(max(layer.cycles for layer in profile.layers), 1)
    scale = (WIDTH - 2 * MARGIN - LABEL_WIDTH - NUMBER_WIDTH) / longest
    for index, layer in enumerate(profile.layers):
        y, left = top + index * BAR_HEIGHT, float(MARGIN + LABEL_WIDTH)
        yield f'<text x="{left - 6}" y="{y + 12}" text-anchor="end">{escape(layer.name)}</text>'
        for cycles, (text, colour) in zip(_parts(layer), PARTS, strict=True):
            yield (
                f'<rect x="{left:.2f}" y="{y}" width="{cycles * scale:.2f}" height="{BAR_HEIGHT - 4}" '
                f'fill="{colour}"><title>{escape(f"{text}: {cycles:,}")}</title></rect>'
            )
            left += cycles * scale
        number = f"{layer.cycles:,}  {layer.cycles / profile.clock_hz * 1e3:.2f} ms"
        yield f'<text x="{left + 5:.2f}" y="{y + 12}">{number}</text>'


def _parts(share: Share) -> tuple[int, int, int, int]:
    further = max(share.core_cycles - share.instructions, 0)
    return share.core_cycles - further, further, share.fetch_stalls, share.data_stalls
