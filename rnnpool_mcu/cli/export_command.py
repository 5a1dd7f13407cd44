"""`rnnpool-mcu export`: a checkpoint or a quantized .pt2 file as a file of another format."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from rnnpool_mcu.cli.common import Speaker, common_options
from rnnpool_mcu.cli.options import calibration_option, count_option, model_argument, out_option, seed_option
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.importing import CHECKPOINT_SUFFIXES, Calibration
from rnnpool_mcu.system.output_folder import whole_file


@click.command("export")
@model_argument
@click.option("--onnx", "to_onnx", is_flag=True, help="As .onnx: int8 in the QDQ format.")
@out_option("File to write [default: NAME.onnx].")
@calibration_option("Folder of images that set the activation ranges [default: those stored in MODEL].")
@count_option(64)
@seed_option
@common_options
def export_command(
    say: Speaker,
    model: Path,
    to_onnx: bool,
    out: Path | None,
    calibration: Path | None,
    count: int,
    seed: int,
) -> None:
    """Write MODEL, a checkpoint or quantized .pt2 file, as int8 .onnx that compiles to the same bytes.

    RNNPool and a detector's decode are operators of the domain rnnpool_mcu; the file holds their bodies in
    standard operators, so that any ONNX runtime computes it. A checkpoint's input is pixel / 255.
    """
    if not to_onnx:
        raise UsageError("export: no format; give --onnx")
    allowed = (*CHECKPOINT_SUFFIXES, ".pt2")
    if model.suffix.lower() not in allowed:
        raise UsageError(f"{model}: suffix '{model.suffix}', allowed: {', '.join(allowed)}")
    out = Path(f"{model.stem}.onnx") if out is None else out
    from rnnpool_mcu.importing.onnx_export import export_file

    with say.progress("exporting"), whole_file(out) as file:
        found = export_file(model, file, Calibration(calibration, count, seed))
    kinds = Counter(found.operators)
    value = {"model": str(out), "calibration": found.calibration, "operators": dict(kinds)}
    listed = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
    say.result(value, f"{out}: {listed}; activation ranges {found.calibration}")
