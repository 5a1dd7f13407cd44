"""What a sensor does to a view: blur, colour, gamma, contrast, brightness, noise, low light."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

BLUR_SHARE = 0.1
LOW_LIGHT_SHARE = 0.1
READ_NOISE = 0.012
"""Standard deviation of a dark pixel, as a share of full scale, at the exposures of `low_light`."""


def random_tone(view: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """The view [H, W] or [H, W, 3] as float32 in [0, 1], as some camera in some light may give it.

    Pixels that are 0 (those outside the photograph) stay 0. The same state of `rng` gives the same values.
    """
    inside = view > 0
    if rng.random() < BLUR_SHARE:
        view = blur(view, rng)
    values = view.astype(np.float32) * np.float32(1 / 255)
    if view.ndim == 3:
        values = _colour(values, rng)
    if rng.random() < 0.5:
        values = values ** np.float32(np.exp(rng.uniform(-0.5, 0.5)))
    if rng.random() < 0.5:
        values = (
            (values - 0.45) * np.float32(rng.uniform(0.6, 1.4)) + 0.45 + np.float32(rng.uniform(-0.15, 0.15))
        )
    if rng.random() < LOW_LIGHT_SHARE:
        values = low_light(values, rng)
    elif rng.random() < 0.25:
        values = values + _normal(values.shape, rng) * np.float32(rng.uniform(0, 0.04))
    return np.where(inside, np.clip(values, 0, 1), 0).astype(np.float32)


def blur(view: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Out of focus, or moved: a Gaussian of up to 1.2 pixels one way and, half of the time, 3 the other."""
    across = down = float(rng.uniform(0.3, 1.2))
    if rng.random() < 0.5:
        moved = float(rng.uniform(1.0, 3.0))
        across, down = (moved, down) if rng.random() < 0.5 else (across, moved)
    return np.asarray(Image.fromarray(view).filter(ImageFilter.GaussianBlur((across, down))))


def low_light(values: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """A short exposure, partly raised again by the sensor's gain, with shot and read noise.

    Shot noise grows with the root of the light, as photons are counted; the gain raises signal and noise.
    """
    light = np.clip(values, 0, 1) * np.float32(rng.uniform(0.1, 0.4))
    gain = np.float32(rng.uniform(1.0, 3.0))
    full_well = np.float32(rng.uniform(200, 2000))  # electrons at full scale
    deviation = np.sqrt(light / full_well + np.float32(READ_NOISE**2))
    return (light + deviation * _normal(values.shape, rng)) * gain


def _colour(values: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Another white balance; now and then no colour at all."""
    if rng.random() < 0.5:
        values = values * rng.uniform(0.8, 1.2, 3).astype(np.float32)
    if rng.random() < 0.1:
        values = np.broadcast_to(values.mean(axis=2, keepdims=True), values.shape)
    return values


def _normal(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    return rng.standard_normal(shape, dtype=np.float32)
