"""Inspection of photos: what passes and what it carries, and real files of every kind that is set aside."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runners.images import read_photo
from runners.perceptual import difference_hash
from training.quality import Inspected, Limits, SetAside, inspect
from training.samples import Sample


def smooth(width: int = 60, height: int = 48, seed: int = 0) -> Image.Image:
    patches = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def sample(data: bytes, source: str = "folder", encoded: bool = True) -> Sample:
    return Sample("mug/a.png", source, "mug", "mug", "", "mug/a.png", data, encoded)


def passed(data: bytes, **fields: Any) -> Inspected:
    result = inspect(sample(data, **fields), Limits())
    assert isinstance(result, Inspected), result
    return result


def test_a_good_photo_carries_what_serving_sees_and_its_fingerprints() -> None:
    data = encoded(smooth())
    photo = passed(data)
    assert np.array_equal(photo.pixels, read_photo(data).pixels)
    assert (photo.id, photo.width, photo.height, photo.marks) == ("mug/a.png", 60, 48, ())
    assert photo.sha256 == hashlib.sha256(photo.pixels.tobytes()).hexdigest()
    assert photo.file_sha256 == hashlib.sha256(data).hexdigest()
    assert photo.dhash == difference_hash(Image.fromarray(photo.pixels)) > 0


def test_raw_rows_are_the_same_photo_as_the_encoded_one() -> None:
    image = smooth(32, 32)
    raw = passed(np.asarray(image).tobytes(), source="cifar10", encoded=False)
    png = passed(encoded(image), source="cifar10")
    assert np.array_equal(raw.pixels, np.asarray(image))
    assert (raw.sha256, raw.dhash, raw.width, raw.height) == (png.sha256, png.dhash, 32, 32)
    assert raw.file_sha256 != png.file_sha256


def test_a_turned_photo_has_the_size_of_the_upright_one() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = passed(encoded(smooth(90, 60), "JPEG", exif=exif))
    assert (photo.width, photo.height) == (60, 90)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_odd_modes_pass(mode: str) -> None:
    image = smooth()
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 256)
    assert passed(encoded(image if mode == "I;16" else image.convert(mode))).pixels.std() > 10


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "YCbCr"])
def test_colours_of_print_and_video_pass(mode: str) -> None:
    image = Image.merge("LAB", smooth().split()) if mode == "LAB" else smooth().convert(mode)
    assert passed(encoded(image, "JPEG" if mode == "YCbCr" else "TIFF")).pixels.std() > 10


def five_bit_tiff() -> bytes:
    """A grey TIFF whose tag BitsPerSample (0x0102, one short) says 5."""
    tag = b"\x02\x01\x03\x00\x01\x00\x00\x00"
    data = encoded(smooth().convert("L"), "TIFF")
    assert data.count(tag + b"\x08") == 1
    return data.replace(tag + b"\x08", tag + b"\x05")


def twelve_bit_jpeg() -> bytes:
    """A JPEG whose frame header (marker, length, precision) says 12 bits."""
    data = bytearray(encoded(smooth(), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    return bytes(data)


def three_bit_bmp() -> bytes:
    """A BMP whose header says 3 bits per pixel."""
    data = bytearray(encoded(smooth(), "BMP"))
    data[28] = 3
    return bytes(data)


@pytest.mark.parametrize(
    ("make", "reason", "word"),
    [
        (lambda: b"", "unreadable", "empty"),
        (lambda: b"no image at all" * 9, "unreadable", "not an image"),
        (lambda: encoded(smooth(), "JPEG")[:300], "unreadable", "truncated"),
        (lambda: encoded(smooth())[:-700], "unreadable", "truncated"),
        (lambda: encoded(smooth(), "PPM"), "unreadable", "PPM"),
        (lambda: b"%PDF-1.7 and so on", "unreadable", "PDF"),
        (lambda: encoded(smooth(300, 23)), "too small", "300 x 23"),
        (lambda: encoded(Image.new("RGB", (64, 64), (40, 90, 200))), "blank", "0.0 grey levels"),
        (lambda: encoded(Image.new("RGBA", (64, 64), (200, 0, 0, 0))), "blank", "grey levels"),
        (lambda: encoded(smooth().point(lambda level: 100 + level // 80)), "blank", "grey levels"),
        (five_bit_tiff, "wrong mode", "unknown pixel mode"),
        (twelve_bit_jpeg, "wrong mode", "12-bit"),
        (three_bit_bmp, "wrong mode", "pixel depth"),
    ],
    ids=[
        "empty",
        "text",
        "cut jpeg",
        "cut png",
        "ppm",
        "pdf",
        "small",
        "blank",
        "transparent",
        "almost blank",
        "tiff mode",
        "jpeg mode",
        "bmp mode",
    ],
)
def test_a_bad_photo_is_set_aside_with_its_reason(make: Callable[[], bytes], reason: str, word: str) -> None:
    result = inspect(sample(make()), Limits())
    assert isinstance(result, SetAside), result
    assert (result.id, result.source, result.reason) == ("mug/a.png", "folder", reason)
    assert word in result.detail
    assert result.detail.endswith(".")


def test_limits_on_bytes_and_pixels_set_aside() -> None:
    data = encoded(smooth())
    for limits in (Limits(max_bytes=len(data) - 1), Limits(max_pixels=60 * 48 - 1)):
        result = inspect(sample(data), limits)
        assert isinstance(result, SetAside)
        assert result.reason == "unreadable"
        assert "at most" in result.detail
    assert isinstance(inspect(sample(data), Limits(max_bytes=len(data), max_pixels=60 * 48)), Inspected)


def test_raw_rows_of_a_wrong_length_are_set_aside() -> None:
    result = inspect(sample(bytes(3071), "cifar10", encoded=False), Limits())
    assert isinstance(result, SetAside)
    assert (result.reason, "3,072" in result.detail, "3,071" in result.detail) == ("unreadable", True, True)


def test_the_side_limit_is_for_folders_only() -> None:
    data = encoded(smooth(32, 32))
    assert isinstance(inspect(sample(data), Limits(min_side=33)), SetAside)
    assert isinstance(inspect(sample(data, "cifar10"), Limits(min_side=33)), Inspected)
    assert passed(encoded(smooth(24, 24))).marks == ("enlarged",)


def test_marks() -> None:
    assert passed(encoded(smooth(121, 60))).marks == ("elongated",)
    assert passed(encoded(smooth(120, 60))).marks == ()
    flat = smooth().point(lambda level: 100 + level // 12)
    assert passed(encoded(flat)).marks == ("low contrast",)


def test_no_real_photo_is_set_aside(data_root: Path) -> None:
    for path in sorted((data_root / "captured").glob("*/*.jpg"))[::20]:
        assert isinstance(inspect(sample(path.read_bytes()), Limits()), Inspected), path
