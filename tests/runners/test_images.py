"""Bytes to pixels: what is read, what is refused and with which words."""

from __future__ import annotations

import colorsys
import io
import struct
import sys
import zlib
from collections.abc import Iterator

import numpy as np
import pillow_heif
import pytest
from PIL import Image, features

from runners.images import FORMATS, archive_png, formats, photo_statistics, read_photo, to_square
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


@pytest.mark.parametrize("turn", range(1, 9))
def test_each_exif_orientation_comes_upright(picture: Image.Image, turn: int) -> None:
    transpose = Image.Transpose
    undo = {
        2: transpose.FLIP_LEFT_RIGHT,
        3: transpose.ROTATE_180,
        4: transpose.FLIP_TOP_BOTTOM,
        5: transpose.TRANSPOSE,
        6: transpose.ROTATE_90,
        7: transpose.TRANSVERSE,
        8: transpose.ROTATE_270,
    }
    smooth = picture.resize((4, 4)).resize((48, 40), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = turn
    stored = smooth.transpose(undo[turn]) if turn in undo else smooth
    photo = read_photo(encoded(stored, "JPEG", exif=exif, quality=95))
    assert (photo.width, photo.height) == (48, 40)
    assert np.abs(photo.pixels.astype(int) - read_photo(encoded(smooth)).pixels).mean() < 4


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "RGB"])
def test_every_png_mode_becomes_rgb(picture: Image.Image, mode: str) -> None:
    grey = picture.convert("L").resize((4, 4)).resize((32, 32), Image.Resampling.BICUBIC)
    pixels = read_photo(encoded(grey.convert(mode))).pixels.astype(int)
    assert np.abs(pixels - np.asarray(grey.convert(mode).convert("RGB"), int)).max() <= 1
    assert np.ptp(pixels, axis=-1).max() == 0


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_keeps_its_colours(kind: str) -> None:
    red = Image.new("RGB", (300, 200), (200, 30, 40))
    data = encoded(red.convert("CMYK"), kind)
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    assert np.abs(read_photo(data).pixels.astype(int) - [200, 30, 40]).max() <= 4


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    pixels = read_photo(encoded(Image.fromarray(ramp), kind)).pixels
    assert 100 < pixels.mean() < 155
    assert pixels[0].mean() < 10
    assert pixels[-1].mean() > 245


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0])
def test_floats_of_any_usual_range_are_scaled(top: float) -> None:
    ramp = np.linspace(0, top, 64 * 64).reshape(64, 64).astype(np.float32)
    ramp[0, 0] = np.nan
    pixels = read_photo(encoded(Image.fromarray(ramp), "TIFF")).pixels
    assert 120 < pixels.mean() < 135


def test_sixteen_bit_colour_is_read() -> None:
    planes = np.full((40, 40, 3), 200 << 8, ">u2")
    chunks = (
        (b"IHDR", b"\0\0\0\x28\0\0\0\x28\x10\x02\0\0\0"),
        (b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in planes))),
        (b"IEND", b""),
    )
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    assert np.abs(read_photo(png).pixels.astype(int) - 200).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_over_white(mode: str) -> None:
    clear = Image.new("RGBA", (32, 32), (0, 0, 0, 0)).convert(mode)
    assert read_photo(encoded(clear)).pixels.min() == 255
    half = Image.new("RGBA", (32, 32), (0, 0, 0, 128)).convert(mode)
    assert np.abs(read_photo(encoded(half)).pixels.astype(int) - 127).max() <= 1


def test_a_transparent_palette_lies_over_white() -> None:
    image = Image.new("P", (32, 32), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    for kind in ("GIF", "PNG"):
        assert read_photo(encoded(image, kind, transparency=0)).pixels.min() == 255


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO", "AVIF"])
def test_of_several_frames_the_first_is_read(kind: str) -> None:
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "blue", "lime")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) == 3
    assert np.abs(read_photo(data).pixels.astype(int) - [255, 0, 0]).max() <= 4


@pytest.fixture
def without_plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pillow without AVIF and no pillow-heif: what many installations have."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(features, "check", lambda name: False)
    formats.cache_clear()
    yield
    formats.cache_clear()


def modern(picture: Image.Image, kind: str) -> bytes:
    pillow_heif.register_heif_opener()
    return encoded(picture, kind, quality=90)


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_phone_formats_are_read_where_the_plugin_is(picture: Image.Image, kind: str) -> None:
    assert formats() == (*FORMATS, "AVIF", "HEIF")
    smooth = picture.resize((4, 4)).resize((320, 200), Image.Resampling.BICUBIC)
    photo = read_photo(modern(smooth, kind))
    assert (photo.width, photo.height) == (320, 200)
    assert np.abs(photo.pixels.astype(int) - read_photo(encoded(smooth)).pixels).mean() < 6
    kept = Image.open(io.BytesIO(archive_png(modern(smooth, kind))))
    assert (kept.format, kept.size) == ("PNG", (320, 200))


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_a_turned_phone_photo_comes_upright(picture: Image.Image, kind: str) -> None:
    pillow_heif.register_heif_opener()
    smooth = picture.resize((4, 4)).resize((320, 200), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = smooth.transpose(Image.Transpose.ROTATE_90)
    stored.info["exif"] = exif.tobytes()  # pillow-heif takes the turn from here and writes it as HEIF has it
    options = {"exif": exif} if kind == "AVIF" else {}
    photo = read_photo(encoded(stored, kind, quality=90, **options))
    assert (photo.width, photo.height) == (320, 200)
    assert np.abs(photo.pixels.astype(int) - read_photo(encoded(smooth)).pixels).mean() < 6


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_a_truncated_phone_photo_is_broken(picture: Image.Image, kind: str) -> None:
    data = modern(picture, kind)
    for length in (20, len(data) // 2, len(data) - 200):
        assert status_of(data[:length]) == (400, "broken_image")


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_without_the_plugin_the_type_is_named(picture: Image.Image, kind: str, without_plugins: None) -> None:
    data = modern(picture, kind)
    with pytest.raises(ApiError, match=f"{kind} files are not read; send JPEG, PNG, WEBP, GIF, BMP, TIFF\\.") as raised:
        read_photo(data)
    assert (raised.value.status, raised.value.code) == (415, "unsupported_type")


def test_a_film_is_a_type_we_do_not_read() -> None:
    assert status_of(b"\0\0\0\x20ftypisom" + b"\0" * 40) == (415, "unsupported_type")


def test_each_crop_of_a_wide_photo() -> None:
    wide = np.zeros((64, 128, 3), np.uint8)
    wide[:, :32, 0] = wide[:, 32:96, 1] = wide[:, 96:, 2] = 255
    centre, pad, squash = (to_square(Image.fromarray(wide), crop) for crop in ("centre", "pad", "squash"))
    assert centre[..., 1].min() > 230  # a filter reaches a little beyond the crop
    assert centre[..., [0, 2]].max() < 25
    assert np.array_equal(squash, to_square(Image.fromarray(wide)))
    assert [squash[16, x].argmax() for x in (2, 16, 29)] == [0, 1, 2]
    assert (squash[0] == squash[31]).all()
    assert (pad[:8] == [64, 128, 64]).all()
    assert (pad[24:] == [64, 128, 64]).all()
    assert [pad[16, x].argmax() for x in (2, 16, 29)] == [0, 1, 2]
    thin = to_square(Image.new("RGB", (1000, 3), "red"), "pad")
    assert (thin == [255, 0, 0]).all()


@pytest.mark.parametrize("crop", ["centre", "pad", "squash"])
def test_resampling_is_antialiased(crop: str) -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(to_square(Image.fromarray(stripes), crop).astype(int) - 127).max() <= 8


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


def test_statistics_are_what_their_definitions_say() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (70, 32, 32, 3), dtype=np.uint8)
    pixels[0, :16] = 0
    result = photo_statistics(pixels)
    for row in (0, 1, 69):
        photo = pixels[row] / 255
        luma = photo @ [0.299, 0.587, 0.114]
        laplacian = [
            luma[y - 1, x] + luma[y + 1, x] + luma[y, x - 1] + luma[y, x + 1] - 4 * luma[y, x]
            for y in range(1, 31)
            for x in range(1, 31)
        ]
        expected = {
            "brightness": luma.mean(),
            "contrast": luma.std(),
            "saturation": np.mean([colorsys.rgb_to_hsv(*pixel)[1] for pixel in photo.reshape(-1, 3)]),
            "sharpness": np.abs(laplacian).mean(),
        }
        assert {name: values[row] for name, values in result.items()} == pytest.approx(expected, abs=1e-6)
    assert [len(values) for values in photo_statistics(pixels[:0]).values()] == [0, 0, 0, 0]
