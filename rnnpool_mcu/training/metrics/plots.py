"""Precision-recall curves as a picture (extra `plot`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ToolMissingError, UsageError

Curve = tuple[NDArray[np.float64], NDArray[np.float64], float]
"""Recall, precision, AP."""
SUFFIXES = (".png", ".svg", ".pdf")


def plot_precision_recall(curves: Mapping[str, Curve], path: Path, title: str) -> None:
    """Write the curves by name to a .png, .svg or .pdf file. ToolMissingError without matplotlib."""
    check_plot(path)
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "rnnpool-mcu"  # the same curves, the same bytes
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, (recall, precision, ap) in curves.items():
        axes.plot(recall, precision, label=f"{name}, AP {ap:.3f}", linewidth=1.5)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision", title=title)
    axes.grid(alpha=0.3)
    if curves:
        axes.legend(loc="lower left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)


def check_plot(path: Path) -> None:
    """UsageError for a file name whose ending is no picture format; ToolMissingError without matplotlib."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: plots are written as {', '.join(SUFFIXES)}; give another file name")
    if importlib.util.find_spec("matplotlib") is None:
        raise ToolMissingError(
            "plots need matplotlib, which is not installed; pip install 'rnnpool-mcu[plot]'"
        )
