"""Each corruption against its definition, and the sample that they are applied to."""

from __future__ import annotations

import colorsys
import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from training.robustness import CORRUPTIONS, SEVERITIES, Pixels, sample_rows


@pytest.fixture(scope="module")
def photos() -> Pixels:
    """Smooth pictures with edges, as photos have them; none is near black or white all over."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(30, 200, (6, 8, 8, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((32, 32), Image.Resampling.BICUBIC)) for c in coarse])


def corrupted(name: str, pixels: Pixels, severity: int) -> NDArray[np.float64]:
    return CORRUPTIONS[name](pixels, severity, np.random.default_rng(1)).astype(float)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_makes_photos_of_the_same_form_and_worse_with_severity(name: str, photos: Pixels) -> None:
    before = photos.copy()
    distances = []
    for severity in SEVERITIES:
        worse = CORRUPTIONS[name](photos, severity, np.random.default_rng(1))
        assert (worse.shape, worse.dtype) == (photos.shape, np.uint8)
        distances.append(np.abs(worse.astype(float) - photos).mean())
    assert distances[0] > 0
    assert distances[-1] > 1.5 * distances[0]
    assert np.array_equal(photos, before)  # the sample is used again for the next one


def test_noise_has_the_stated_deviation_and_the_seed_decides_it() -> None:
    grey = np.full((4, 32, 32, 3), 128, np.uint8)
    for severity, scale in zip(SEVERITIES, (0.04, 0.06, 0.08, 0.09, 0.10), strict=True):
        assert corrupted("Gaussian noise", grey, severity).std() / 255 == pytest.approx(scale, rel=0.03)
    again = corrupted("Gaussian noise", grey, 1)
    assert np.array_equal(again, corrupted("Gaussian noise", grey, 1))


def test_brightness_adds_to_the_value_of_hsv(photos: Pixels) -> None:
    pixels = photos[:1].copy()
    pixels[0, 0, :4] = [(0, 0, 0), (255, 0, 0), (250, 120, 3), (255, 255, 255)]
    brighter = corrupted("brightness", pixels, 4)[0]
    for row, column in np.ndindex(4, 8):
        hue, saturation, value = colorsys.rgb_to_hsv(*(pixels[0, row, column] / 255))
        wanted = np.array(colorsys.hsv_to_rgb(hue, saturation, min(value + 0.2, 1))) * 255
        assert np.abs(brighter[row, column] - wanted).max() <= 1 + 1e-9


def test_contrast_draws_each_channel_to_its_mean() -> None:
    pixels = np.zeros((1, 32, 32, 3), np.uint8)
    pixels[0, :16, :, 0] = 200
    low = corrupted("contrast", pixels, 2)[0, ..., 0]
    assert set(np.unique(low)) == {50, 150}  # mean 100, half the distance


def test_pixelate_and_jpeg_are_what_pillow_makes(photos: Pixels) -> None:
    small = Image.fromarray(photos[0]).resize((20, 20), Image.Resampling.BOX)
    assert np.array_equal(corrupted("pixelate", photos, 5)[0], np.asarray(small.resize((32, 32), Image.Resampling.BOX)))
    buffer = io.BytesIO()
    Image.fromarray(photos[0]).save(buffer, "JPEG", quality=40)
    assert np.array_equal(corrupted("JPEG", photos, 5)[0], np.asarray(Image.open(buffer)))


def test_blur_spreads_a_point_as_a_gaussian() -> None:
    pixels = np.zeros((1, 32, 32, 3), np.uint8)
    pixels[0, 16, 16] = 255
    blurred = corrupted("blur", pixels, 5)[0, ..., 0] / 255
    assert blurred[16, 16] == pytest.approx(1 / (2 * np.pi), abs=0.01)  # sigma 1
    assert blurred[16, 17] / blurred[16, 16] == pytest.approx(np.exp(-0.5), abs=0.03)


def test_the_sample_is_fixed_bounded_and_without_repeats() -> None:
    rows = sample_rows(11_573)
    assert len(rows) == 2_000 == len(np.unique(rows))
    assert np.array_equal(rows, sample_rows(11_573))
    assert np.array_equal(sample_rows(30), np.arange(30))
