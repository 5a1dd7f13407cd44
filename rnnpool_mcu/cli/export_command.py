"""`rnnpool-mcu export`: a checkpoint or a quantized .pt2 file as a file of another format; files for CI."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from rnnpool_mcu.cli.common import Speaker, common_options
from rnnpool_mcu.cli.options import calibration_option, count_option, out_option, seed_option
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.importing import CHECKPOINT_SUFFIXES, Calibration
from rnnpool_mcu.system.output_folder import whole_file
from rnnpool_mcu.toolchain.ci_files import SERVICES, ci_file


@click.command("export")
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.option("--onnx", "to_onnx", is_flag=True, help="As .onnx: int8 in the QDQ format.")
@click.option(
    "--ci",
    type=click.Choice(list(SERVICES)),
    help="Of a compiled folder: the file that proves it at every push.",
)
@out_option("File to write [default: NAME.onnx, or where the service looks for it].")
@calibration_option("Folder of images that set the activation ranges [default: those stored in MODEL].")
@count_option(64)
@seed_option
@common_options
def export_command(
    say: Speaker,
    model: Path,
    to_onnx: bool,
    ci: str | None,
    out: Path | None,
    calibration: Path | None,
    count: int,
    seed: int,
) -> None:
    """Write MODEL, a checkpoint or quantized .pt2 file, as int8 .onnx that compiles to the same bytes.

    With --ci, MODEL is a folder that `compile` wrote; run it in the root of your repository.

    RNNPool and a detector's decode are operators of the domain rnnpool_mcu; the file holds their bodies in
    standard operators, so that any ONNX runtime computes it. A checkpoint's input is pixel / 255.
    """
    if (ci is None) != to_onnx:
        raise UsageError("export: no format; give --onnx or --ci, one of them")
    if ci is not None:
        _export_ci(say, ci, model, out)
        return
    if model.is_dir():
        raise UsageError(f"{model}: is a folder; --onnx takes a checkpoint or a .pt2 file")
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


def _export_ci(say: Speaker, service: str, project: Path, out: Path | None) -> None:
    """Write the file of a CI service; one that is there stays."""
    path, text = ci_file(service, project, Path())
    path = out or path
    if path.exists():
        raise UsageError(f"{path}: is there already; give another file with -o, and join the two yourself")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write_text(text, encoding="utf-8")
    say.result({"file": str(path), "service": service}, f"{path}: commit it together with {project}")
