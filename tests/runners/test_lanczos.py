"""Our Lanczos and Pillow's give the same pixels, so that training and serving cannot differ by size or format."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from runners import lanczos
from runners.images import SIDE, to_square
from runners.lanczos import LENGTHS, MOST_PIXELS, SMALLEST, WORTH, fits, lanczos_square, pays

SIDES = [64, 65, 96, 127, 128, 131, 200, 240, 255, 256, 300, 320, 333, 375, 500, 512]


def both(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    image = Image.fromarray(pixels)
    assert fits(image)
    return lanczos_square(image, SIDE), np.asarray(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


@pytest.mark.parametrize("width", [*SIDES, 1000, 4096])
def test_every_pixel_is_pillows(width: int) -> None:
    rng = np.random.default_rng(width)
    for height in SIDES:
        if width * height <= MOST_PIXELS:
            ours, pillows = both(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
            assert (ours == pillows).all(), (width, height)


def test_overshoot_is_cut_off_as_pillow_does() -> None:
    black_and_white = (np.random.default_rng(0).integers(0, 2, (150, 170, 3)) * 255).astype(np.uint8)
    stripes = np.zeros((200, 90, 3), np.uint8)
    stripes[::7] = 255
    for pixels in (black_and_white, stripes, np.full((64, 64, 3), 255, np.uint8)):
        ours, pillows = both(pixels)
        assert (ours == pillows).all()


def test_a_height_of_many_products_is_exact() -> None:
    ours, pillows = both(np.random.default_rng(1).integers(0, 256, (4096, 64, 3), dtype=np.uint8))
    assert (ours == pillows).all()


def test_other_photos_are_left_to_pillow() -> None:
    for size in ((SMALLEST - 1, 300), (300, SMALLEST - 1), (1024, 300)):
        image = Image.new("RGB", size, (10, 200, 30))
        assert not fits(image)
        assert (to_square(image) == np.asarray(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS))).all()
    assert not fits(Image.new("L", (100, 100)))


def test_photos_of_the_same_size_go_the_fast_way_and_come_out_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    weights = lanczos._weights
    monkeypatch.setattr(lanczos, "_weights", lambda length, side: made.append(length) or weights(length, side))
    pixels = np.random.default_rng(2).integers(0, 256, (243, 321, 3), dtype=np.uint8)
    pillows = np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    for photo in range(WORTH + 2):
        assert (to_square(Image.fromarray(pixels)) == pillows).all()
        assert sorted(made) == ([] if photo < WORTH else [243, 321])
    assert both(pixels)[0].flags.c_contiguous


def test_photos_of_all_sizes_never_wait_for_weights() -> None:
    lanczos._times.cache_clear()
    for turn in range(2 * WORTH):
        for length in range(600, 600 + 2 * LENGTHS):
            assert not pays(Image.new("RGB", (length, 64 + (turn * length) % 200)))
