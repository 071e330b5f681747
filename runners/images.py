"""Bytes of a photo to the 32×32 RGB that the network reads. Training and serving both come through here."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from runners.prediction import ApiError

SIDE = 32
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""What we read. Pillow's other decoders are rarely used, rarely fuzzed, and stay off."""

# Types people do try to upload and that no decoder of ours takes: told apart from rubbish by their first bytes.
_OTHER_TYPES = {b"%PDF": "PDF", b"<svg": "SVG", b"<?xml": "XML", b"PK\x03\x04": "ZIP", b"\x1aE\xdf\xa3": "Matroska"}


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded photo: ``pixels`` uint8 (32, 32, 3) RGB in 0..255; ``width`` and ``height`` of the upright original."""

    pixels: NDArray[np.uint8]
    width: int
    height: int


def read_photo(data: bytes, *, max_bytes: int = 10_000_000, max_pixels: int = 50_000_000) -> Photo:
    """Decode ``data`` (an encoded image) into a `Photo`.

    Raises:
        ApiError: 413 above ``max_bytes`` or ``max_pixels``, 415 for a type we don't read, 400 for anything that
            is no image, is empty or cut short.
    """
    with _open(data, max_bytes, max_pixels) as image:
        width, height = _upright_size(image)
        # JPEG can decode at 1/2, 1/4 or 1/8 directly. Four times the target keeps the final resampling antialiased.
        image.draft("RGB", (4 * SIDE, 4 * SIDE))
        return Photo(to_square(_upright_rgb(image)), width, height)


def to_square(image: Image.Image) -> NDArray[np.uint8]:
    """The central square of an RGB image, antialiased bicubic: uint8 (32, 32, 3); 32×32 stays as it is."""
    if image.size != (SIDE, SIDE):
        image = ImageOps.fit(image, (SIDE, SIDE), method=Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.uint8)


def archive_png(data: bytes, *, longest_side: int = 1024) -> bytes:
    """``data``, a photo that `read_photo` accepted, as it is kept: upright RGB PNG, at most ``longest_side`` pixels.

    Metadata (camera, place, time) is left behind on purpose.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        image.draft("RGB", (longest_side, longest_side))
        rgb = _upright_rgb(image)
    rgb.thumbnail((longest_side, longest_side), Image.Resampling.BICUBIC)
    clean = Image.new("RGB", rgb.size)
    clean.paste(rgb)
    buffer = io.BytesIO()
    clean.save(buffer, "PNG")
    return buffer.getvalue()


def photo_statistics(pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Brightness, contrast, saturation (each 0..1) and sharpness of a batch, uint8 (n, 32, 32, 3) -> float32 (n,) each.

    Luma is ITU-R BT.601; saturation is that of HSV; sharpness is the mean absolute 4-neighbour Laplacian of the luma.
    """
    rgb = pixels.astype(np.float32) / 255.0
    luma = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
    high, low = rgb.max(axis=-1), rgb.min(axis=-1)
    saturation = np.divide(high - low, high, out=np.zeros_like(high), where=high > 0)
    laplacian = (
        luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:] - 4 * luma[:, 1:-1, 1:-1]
    )
    return {
        "brightness": luma.mean(axis=(1, 2)),
        "contrast": luma.std(axis=(1, 2)),
        "saturation": saturation.mean(axis=(1, 2)),
        "sharpness": np.abs(laplacian).mean(axis=(1, 2)),
    }


def _open(data: bytes, max_bytes: int, max_pixels: int) -> Image.Image:
    if not data:
        raise ApiError(400, "empty_file", "The file is empty.")
    if len(data) > max_bytes:
        raise ApiError(413, "too_many_bytes", f"The file has {len(data):,} bytes; at most {max_bytes:,} are taken.")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise _not_readable(data) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ApiError(413, "too_many_pixels", f"The photo has more than {max_pixels:,} pixels.") from None
    except Exception:  # a decoder may raise anything on hostile bytes; the caller's file is at fault either way
        raise _broken() from None
    if image.width * image.height > max_pixels:
        raise ApiError(
            413,
            "too_many_pixels",
            f"The photo has {image.width} x {image.height} pixels; at most {max_pixels:,} are taken.",
        )
    return image


def _not_readable(data: bytes) -> ApiError:
    kinds = [name for magic, name in _OTHER_TYPES.items() if data.startswith(magic)]
    if data[4:8] == b"ftyp":
        kinds = ["HEIC, AVIF or video"]
    if not kinds:
        try:
            with Image.open(io.BytesIO(data)) as other:
                kinds = [other.format or "another image type"]
        except Exception:  # as in _open
            return ApiError(400, "not_an_image", "The file is not an image.")
    return ApiError(415, "unsupported_type", f"{kinds[0]} files are not read; send {', '.join(FORMATS)}.")


def _broken() -> ApiError:
    return ApiError(400, "broken_image", "The image is truncated or damaged.")


def _upright_size(image: Image.Image) -> tuple[int, int]:
    try:
        turned = image.getexif().get(0x0112) in (5, 6, 7, 8)
    except Exception:  # as in _open
        raise _broken() from None
    return (image.height, image.width) if turned else image.size


def _upright_rgb(image: Image.Image) -> Image.Image:
    """Decode: first frame, turned by EXIF, 16-bit scaled to 8, transparency over white."""
    try:
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I") or image.mode == "F":
            values = np.asarray(image, dtype=np.float64)
            top = 65535.0 if values.max(initial=0) > 255 else 255.0
            return Image.fromarray((values.clip(0, top) * (255.0 / top)).astype(np.uint8)).convert("RGB")
        if image.has_transparency_data:
            image = image.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
        return image.convert("RGB")
    except Exception:  # as in _open: a decoder's complaint about the file, whatever its type
        raise _broken() from None
