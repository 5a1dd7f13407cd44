"""A comparison with a model's own runtime, as JSON and as text."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rnnpool_mcu.validate.source import STEPS_ALLOWED, LayerDifference, SourceComparison


def source_value(compared: SourceComparison) -> dict[str, Any]:
    """The comparison as JSON; histograms count elements by difference in steps, ours less theirs."""
    layers = [asdict(layer) | {"rate_alone": layer.rate_alone} for layer in compared.layers]
    return {
        "runtime": compared.runtime,
        "within_one_step": compared.agrees,
        "rate_alone": compared.rate_alone,
        "same_top1": compared.same_top1,
        "outputs": dict(compared.outputs),
        "first_difference": None if compared.first is None else asdict(compared.first),
        "layers": layers,
    }


def source_lines(compared: SourceComparison) -> list[str]:
    """The comparison for people, layer by layer and as a whole."""
    width = max((len(layer.layer) for layer in compared.layers), default=0)
    lines = [
        f"{compared.runtime}:",
        "  each layer given the runtime's inputs: steps of difference at most, share of values that differ",
    ]
    lines += [
        f"    {layer.layer:<{width}}  {layer.operator:<18} {layer.worst_alone:>3}  {layer.rate_alone:8.3%}"
        + _from_exact(layer)
        for layer in compared.layers
    ]
    steps = ", ".join(
        f"{step:+d}: {n}" if step else f"equal: {n}" for step, n in sorted(compared.outputs.items())
    )
    lines.append(f"  all layers: {compared.rate_alone:.3%} of the values differ")
    if steps:  # boxes are decoded from layers that were compared
        lines.append(f"  outputs of the whole model, steps of difference: {steps}")
    if (first := compared.first) is not None:
        lines.append(
            f"  first difference: image {first.image}, '{first.layer}' at row, column, channel "
            f"{first.position}: {first.ours}, the runtime {first.theirs}"
        )
    if compared.same_top1 is not None:
        lines.append(f"  same largest output on {compared.same_top1} of {compared.images} images")
    return lines


def _from_exact(layer: LayerDifference) -> str:
    """Of a recurrent layer, whose roundings feed back: how far both are from float64."""
    if layer.exact is None:
        return ""
    return f"  from float64: {layer.exact.ours:.1f} steps, the runtime {layer.exact.theirs:.1f}"


def worst_layer(compared: SourceComparison) -> str:
    """The layer that is furthest off, as an error tells it."""
    layer = max(compared.layers, key=lambda layer: (not layer.agrees, layer.worst_alone))
    return (
        f"'{layer.layer}' ({layer.operator}, '{layer.source}') differs from the {compared.runtime} by "
        f"{layer.worst_alone} steps, allowed: {STEPS_ALLOWED}; please report it with the model"
    )
