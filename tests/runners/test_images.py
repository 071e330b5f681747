"""Bytes to pixels: what is read, what is refused and with which words."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from runners.images import archive_png, photo_statistics, read_photo
from runners.prediction import ApiError


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def status_of(data: bytes, **limits: int) -> tuple[int, str]:
    with pytest.raises(ApiError) as raised:
        read_photo(data, **limits)
    return raised.value.status, raised.value.code


def test_a_32_pixel_picture_stays_as_it_is() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(read_photo(encoded(Image.fromarray(pixels))).pixels, pixels)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_format_is_read(picture: Image.Image, kind: str) -> None:
    photo = read_photo(encoded(picture, kind))
    assert photo.pixels.shape == (32, 32, 3)
    assert photo.pixels.dtype == np.uint8
    assert (photo.width, photo.height) == (48, 40)


def test_exif_turns_the_photo(picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = read_photo(encoded(picture, "PNG", exif=exif))
    upright = read_photo(encoded(picture.transpose(Image.Transpose.ROTATE_270)))
    assert (photo.width, photo.height) == (40, 48)
    assert np.array_equal(photo.pixels, upright.pixels)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "CMYK", "RGBA", "1"])
def test_every_mode_becomes_rgb(picture: Image.Image, mode: str) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    assert read_photo(encoded(picture.convert(mode), kind)).pixels.shape == (32, 32, 3)


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    pixels = read_photo(encoded(Image.fromarray(ramp))).pixels
    assert 100 < pixels.mean() < 155


def test_transparency_lies_over_white() -> None:
    clear = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    assert read_photo(encoded(clear)).pixels.min() == 255


def test_an_empty_file_is_refused() -> None:
    assert status_of(b"") == (400, "empty_file")


def test_text_is_refused() -> None:
    assert status_of(b"hello, this is no picture") == (400, "not_an_image")


def test_a_truncated_jpeg_is_refused(picture: Image.Image) -> None:
    data = encoded(picture, "JPEG")
    assert status_of(data[: len(data) // 2]) == (400, "broken_image")


def test_a_pdf_is_a_type_we_do_not_read() -> None:
    assert status_of(b"%PDF-1.7 whatever") == (415, "unsupported_type")


def test_another_image_type_is_named(picture: Image.Image) -> None:
    assert status_of(encoded(picture, "PPM")) == (415, "unsupported_type")


def test_too_many_bytes_and_too_many_pixels(picture: Image.Image) -> None:
    assert status_of(encoded(picture), max_bytes=100) == (413, "too_many_bytes")
    assert status_of(encoded(picture), max_pixels=1000) == (413, "too_many_pixels")


def test_what_is_kept_has_no_metadata_and_is_bounded(picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    kept = Image.open(io.BytesIO(archive_png(encoded(picture.resize((2000, 100)), "JPEG", exif=exif))))
    assert kept.format == "PNG"
    assert max(kept.size) == 1024
    assert not kept.getexif()
    assert "exif" not in kept.info


def test_statistics_of_flat_pictures() -> None:
    flat = np.stack([np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8)])
    result = photo_statistics(flat)
    assert result["brightness"] == pytest.approx([0, 1], abs=1e-5)
    for name in ("contrast", "saturation", "sharpness"):
        assert result[name] == pytest.approx([0, 0], abs=1e-5)
