"""TensorFlow's converter in a process of its own: a Keras file and inputs in, .tflite files out.

Apart, because TensorFlow brings its own copies of libraries that other packages have, too, and a process that
has loaded both may crash. Its memory and its messages go with it.
"""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError, UsageError, UserError
from rnnpool_mcu.importing.keras_file import check_config
from rnnpool_mcu.ir.source import InputForm, Normalisation, Preprocessing
from rnnpool_mcu.quantize.samples import Samples, samples_from

FLOAT_FILE, INT8_FILE, SAMPLES_FILE, RESULT_FILE = "float.tflite", "int8.tflite", "samples.npy", "result.json"
KINDS: dict[str, type[UserError]] = {"ModelError": ModelError, "UsageError": UsageError}
"""Errors that are handed back by name."""
WITHOUT_GROUPS = (
    *("DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D"),
    *("Conv1DTranspose", "Conv2DTranspose"),
)
"""Keras's layers that have no option `groups`, though Keras 2 saved one."""
CHECKED = 2
"""Inputs over which the converter's float file is held against Keras."""
SAME = 0.01
"""Of an output's largest value: what the two may differ by."""


def convert(path: Path, out: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Write the float file, with calibration inputs also the int8 file and these; what else is known of it.

    Raises ModelError for a file that TensorFlow cannot read or convert, UsageError without inputs.
    """
    import tensorflow as tf

    model, form = _loaded(tf, path)
    preprocessing = Preprocessing.from_json(request["preprocessing"])
    result: dict[str, Any] = {"shape": form.shape, "keras": str(tf.keras.__version__)}
    plain = _converted(path, tf.lite.TFLiteConverter.from_keras_model(model))
    (out / FLOAT_FILE).write_bytes(plain)
    if request["calibration"] is None:
        return result
    arguments = Path(request["calibration"]), form, request["count"], request["seed"], preprocessing
    samples, result["origin"] = samples_from(*arguments)
    np.save(out / SAMPLES_FILE, samples)
    normalisation = preprocessing.normalisation
    _check(tf, path, model, plain, _real(samples[:CHECKED], form, normalisation))
    (out / INT8_FILE).write_bytes(_quantized(tf, path, model, form, samples, normalisation))
    return result


def _loaded(tf: Any, path: Path) -> tuple[Any, InputForm]:
    """The model and its input; ModelError unless it is one tensor of fixed size."""
    check_layers(path)
    try:
        model = tf.keras.models.load_model(path, compile=False, custom_objects=_without_groups(tf))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{path}: Keras cannot read it ({error}); save the model again") from error
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    if len(shapes) != 1 or not 2 <= len(shapes[0]) <= 4 or None in shapes[0][1:]:
        raise ModelError(
            f"{path}: inputs {shapes}, supported: one of at most 4 dimensions, fixed but for the batch; for "
            "others convert it to int8 .tflite yourself, see examples/tflite"
        )
    check_stateless(path, model)
    return model, InputForm((1, *map(int, shapes[0][1:])), channels_last=True)


def check_layers(path: Path) -> None:
    """ModelError for an HDF5 file with layers of code, which Keras 2 would run; archives were looked at."""
    if zipfile.is_zipfile(path):
        return
    import h5py

    try:
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
        if config is not None:
            check_config(config)
    except (OSError, ValueError, RuntimeError, KeyError) as error:  # FileFault is a ValueError
        raise ModelError(f"{path}: Keras cannot read it ({error}); save the model again") from error


def check_stateless(path: Path, model: Any) -> None:
    """ModelError for a layer that goes on from call to call: the converter's file does that its own way."""
    for layer in getattr(model, "layers", ()):
        if getattr(layer, "stateful", False) and not hasattr(layer, "layers"):
            raise ModelError(
                f"{path}: layer '{layer.name}' is stateful, supported: stateful=False, where each run begins "
                "at zero; for a model that keeps its state convert it to int8 .tflite yourself and compile "
                "that, see docs/streaming.md"
            )
        check_stateless(path, layer)


def _without_groups(tf: Any) -> dict[str, Any]:
    """Layers by name that take the `groups` which Keras 2 wrote for them, always 1."""

    def reading(layer: Any) -> Any:
        class Reading(layer):  # type: ignore[misc]
            @classmethod
            def from_config(cls, config: dict[str, Any]) -> Any:
                groups = config.get("groups", 1)
                if groups != 1:
                    raise ValueError(
                        f"{config.get('name')}: groups {groups}, allowed: 1 for {layer.__name__}"
                    )
                return layer.from_config({key: config[key] for key in config if key != "groups"})

        return Reading

    return {name: reading(getattr(tf.keras.layers, name)) for name in WITHOUT_GROUPS}


def _real(samples: Samples, form: InputForm, normalisation: Normalisation) -> Iterator[NDArray[np.float32]]:
    """Each sample as Keras takes it."""
    for sample in samples:
        real = normalisation.real(sample) if sample.dtype == np.uint8 else sample
        yield form.from_graph(real.astype(np.float32))


def _quantized(
    tf: Any, path: Path, model: Any, form: InputForm, samples: Samples, normalisation: Normalisation
) -> bytes:
    """The full-integer .tflite file, int8 at both ends, that takes pixels as they are."""
    if samples.dtype == np.uint8:
        samples = _whole_range(samples)
        factor, term = normalisation.per_channel(form.size[2])
        if (factor != factor[0]).any() or (term != term[0]).any():
            model, normalisation = _normalised(tf, model, form, factor * 255.0, term), Normalisation()
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([given] for given in _real(samples, form, normalisation))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return _converted(path, converter)


def _whole_range(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two corners of a picture black and white, so that the input's range is a camera's."""
    found = samples.copy()
    found[0, 0, 0], found[0, -1, -1] = 0, 255
    return found


def _normalised(
    tf: Any, model: Any, form: InputForm, factor: NDArray[np.float64], term: NDArray[np.float64]
) -> Any:
    """The model with x * factor + term, by channels, in front."""
    layer = tf.keras.layers.DepthwiseConv2D(1, name="normalised")
    given = tf.keras.Input(form.shape[1:])
    whole = tf.keras.Model(given, model(layer(given)))
    layer.set_weights([factor.reshape(1, 1, -1, 1), term])
    return whole


def _converted(path: Path, converter: Any) -> bytes:
    try:
        return bytes(converter.convert())
    except (ValueError, RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{path}: TensorFlow cannot convert it ({reason}); see `rnnpool-mcu supported-ops`"
        ) from error


def _check(tf: Any, path: Path, model: Any, plain: bytes, inputs: Iterator[NDArray[np.float32]]) -> None:
    """That the converter's float file, which layers are compared with, computes what Keras does."""
    interpreter = tf.lite.Interpreter(model_content=plain)
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    for values in inputs:
        interpreter.reset_all_variables()  # of recurrent layers, which begin each call anew in Keras
        interpreter.set_tensor(given["index"], values.reshape(given["shape"]))
        interpreter.invoke()
        found = [interpreter.get_tensor(output["index"]) for output in interpreter.get_output_details()]
        for wanted in map(np.asarray, tf.nest.flatten(model(values, training=False))):
            errors = [float(np.abs(f - wanted).max()) for f in found if f.size == wanted.size]
            if min(errors, default=np.inf) > SAME * float(np.abs(wanted).max()):
                raise ModelError(
                    f"{path}: the .tflite file that TensorFlow makes of it computes something else; please "
                    "report the model to TensorFlow"
                )


def main(path: str, out: str, request: str) -> None:
    """Write the files and RESULT_FILE into the folder `out`; a user's error goes into the latter."""
    try:
        result = convert(Path(path), Path(out), json.loads(request))
    except UserError as error:
        kind = next((name for name, known in KINDS.items() if isinstance(error, known)), "ModelError")
        result = {"error": kind, "message": str(error)}
    (Path(out) / RESULT_FILE).write_text(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
