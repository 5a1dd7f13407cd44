"""How far a quantized model is from its float form, as text."""

from __future__ import annotations

from typing import Any


def agreement_lines(agreement: dict[str, Any]) -> list[str]:
    """A line that says what is compared, one for each output, and one for the first bad layer."""
    lines = [f"Beside the float model ({agreement['runtime']}), over {agreement['inputs']} inputs:"]
    lines += [f"  {output['name']}: {_figures(output)}" for output in agreement["outputs"]]
    bad = agreement["first_bad_layer"]
    if bad is not None:
        where = f", '{bad['source']}'" if bad["source"] not in ("", bad["name"]) else ""
        lines.append(f"  first bad layer: {bad['name']} ({bad['operator']}{where}): {_figures(bad)}")
    return lines


def _figures(value: dict[str, Any]) -> str:
    """Cosine, ratio, largest difference and classes of one value."""
    parts = []
    if value["cosine"] is not None:
        parts += [f"cosine {value['cosine']:.4f}", f"SQNR {_decibels(value['sqnr_db'])}"]
    if value["max_difference"] is not None:
        parts.append(f"largest difference {value['max_difference']:.4g} ({value['max_steps']:.1f} steps)")
    if value["compared_top1"] is not None:
        parts.append(f"same largest {value['same_top1']} of {value['compared_top1']}")
    if value.get("quiet"):
        used, apart = value["span_steps"], value["rms_steps"]
        parts.append(f"{used:.0f} of 255 steps in use, {apart:.2f} apart: judged by steps")
    return ", ".join(parts)


def _decibels(ratio: float | None) -> str:
    return "infinite" if ratio is None else f"{ratio:.1f} dB"
