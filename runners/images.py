"""Bytes of a photo to the 32×32 RGB that the network reads. Training and serving both come through here."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, ImageStat, UnidentifiedImageError, features

from runners.lanczos import lanczos_square, pays
from runners.prediction import ApiError

SIDE = 32
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""What we always read; `formats` adds to it. Pillow's other decoders are rarely used, rarely fuzzed, and stay off."""

Crop = Literal["centre", "pad", "squash"]
"""How a photo becomes square: its central part, all of it bordered with its mean colour, or all of it distorted."""
CROP: Crop = "squash"
RESAMPLE = Image.Resampling.LANCZOS
"""What training and serving use, chosen by `bench/resampling.py`; the table is in docs/data.md."""

STATISTICS_AT_ONCE = 64
"""Photos whose intermediate results fit into a core's cache."""

# Types people do try to upload and that no decoder of ours takes: told apart from rubbish by their first bytes.
_OTHER_TYPES = {b"%PDF": "PDF", b"<svg": "SVG", b"<?xml": "XML", b"PK\x03\x04": "ZIP", b"\x1aE\xdf\xa3": "Matroska"}
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"mif1"), "HEIF")


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded photo: ``pixels`` uint8 (32, 32, 3) RGB in 0..255; ``width`` and ``height`` of the upright original."""

    pixels: NDArray[np.uint8]
    width: int
    height: int


@cache
def formats() -> tuple[str, ...]:
    """Pillow's names of all formats that are read here: `FORMATS`, AVIF where Pillow was built with it, and HEIF (HEIC)
    where the package pillow-heif is installed."""
    found = FORMATS + (("AVIF",) if features.check("avif") else ())
    try:
        import pillow_heif
    except ImportError:
        return found
    pillow_heif.register_heif_opener()
    return (*found, "HEIF")


def read_photo(
    data: bytes, *, max_bytes: int = 10_000_000, max_pixels: int = 50_000_000, seconds: float | None = None
) -> Photo:
    """Decode ``data`` (an encoded image) into a `Photo`.

    ``seconds`` ends the decoding of a photo that takes longer. It is looked at whenever a decoder asks for more bytes;
    those of WebP, AVIF and HEIF ask once and are bounded by ``max_pixels`` alone.

    Raises:
        ApiError: 413 above ``max_bytes``, ``max_pixels`` or ``seconds``, 415 for a type we don't read, 400 for
            anything that is no image, is empty or cut short.
    """
    with open_photo(data, max_bytes, max_pixels, seconds) as image:
        return decode(image)


def decode(image: Image.Image) -> Photo:
    """The `Photo` of an image that `open_photo` gave, once; raises like `read_photo`."""
    width, height = _upright_size(image)
    # JPEG can decode at 1/2, 1/4 or 1/8 directly. Four times the target keeps the final resampling antialiased. Three
    # times, in half of the time, is another dataset: other pixels, so other splits, so a pair to be trained anew.
    image.draft("RGB", (4 * SIDE, 4 * SIDE))
    return Photo(to_square(_upright_rgb(image)), width, height)


def to_square(image: Image.Image, crop: Crop = CROP, resample: Image.Resampling = RESAMPLE) -> NDArray[np.uint8]:
    """An RGB image as the network reads it, antialiased: uint8 (32, 32, 3); 32×32 stays as it is."""
    if image.size == (SIDE, SIDE):
        return np.asarray(image, dtype=np.uint8)
    if crop == "centre":
        return np.asarray(ImageOps.fit(image, (SIDE, SIDE), method=resample), dtype=np.uint8)
    if crop == "squash":
        if resample == Image.Resampling.LANCZOS and pays(image):
            return lanczos_square(image, SIDE)
        return np.asarray(image.resize((SIDE, SIDE), resample), dtype=np.uint8)
    scale = SIDE / max(image.size)
    width, height = (max(1, round(scale * length)) for length in image.size)
    mean = tuple(round(value) for value in ImageStat.Stat(image).mean)
    square = Image.new("RGB", (SIDE, SIDE), mean)
    square.paste(image.resize((width, height), resample), ((SIDE - width) // 2, (SIDE - height) // 2))
    return np.asarray(square, dtype=np.uint8)


def archive_png(data: bytes, *, longest_side: int = 1024) -> bytes:
    """``data``, a photo that `read_photo` accepted, as it is kept: upright RGB PNG, at most ``longest_side`` pixels.

    Metadata (camera, place, time) is left behind on purpose.
    """
    with Image.open(io.BytesIO(data), formats=formats()) as image:
        image.draft("RGB", (longest_side, longest_side))
        rgb = _upright_rgb(image)
    rgb.thumbnail((longest_side, longest_side), Image.Resampling.BICUBIC)
    clean = Image.new("RGB", rgb.size)
    clean.paste(rgb)
    buffer = io.BytesIO()
    clean.save(buffer, "PNG")
    return buffer.getvalue()


def png(pixels: NDArray[np.uint8]) -> bytes:
    """RGB pixels, uint8 (height, width, 3), as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def photo_statistics(pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Brightness, contrast, saturation (each 0..1) and sharpness of a batch, uint8 (n, 32, 32, 3) -> float32 (n,) each.

    Luma is ITU-R BT.601; saturation is that of HSV; sharpness is the mean absolute 4-neighbour Laplacian of the luma.
    """
    starts = range(0, max(len(pixels), 1), STATISTICS_AT_ONCE)
    parts = [_statistics(pixels[start : start + STATISTICS_AT_ONCE]) for start in starts]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _statistics(pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    red, green, blue = np.ascontiguousarray(pixels.transpose(3, 0, 1, 2))  # planes, bytes at first: faster
    high = np.maximum(np.maximum(red, green), blue)
    chroma = high - np.minimum(np.minimum(red, green), blue)
    saturation = np.divide(chroma, np.maximum(high, 1), dtype=np.float32)  # black has none
    luma = sum(np.float32(part / 255) * plane for part, plane in ((0.299, red), (0.587, green), (0.114, blue)))
    laplacian = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1]
    laplacian += luma[:, 1:-1, :-2]
    laplacian += luma[:, 1:-1, 2:]
    laplacian -= 4 * luma[:, 1:-1, 1:-1]
    return {
        "brightness": luma.mean(axis=(1, 2)),
        "contrast": luma.std(axis=(1, 2)),
        "saturation": saturation.mean(axis=(1, 2)),
        "sharpness": np.abs(laplacian, out=laplacian).mean(axis=(1, 2)),
    }


def open_photo(data: bytes, max_bytes: int, max_pixels: int, seconds: float | None = None) -> Image.Image:
    """``data`` with its header read and nothing decoded; close it. Raises like `read_photo`."""
    if not data:
        raise ApiError(400, "empty_file", "The file is empty.")
    if len(data) > max_bytes:
        raise ApiError(413, "too_many_bytes", f"The file has {len(data):,} bytes; at most {max_bytes:,} are taken.")
    try:
        image = Image.open(io.BytesIO(data) if seconds is None else _TimedBytes(data, seconds), formats=formats())
    except UnidentifiedImageError:
        raise _not_readable(data) from None
    except TimeoutError:
        raise _too_slow() from None
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


class _TimedBytes(io.BytesIO):
    """Bytes that can be read for so many seconds; a decoder's complaint about that ends the decoding."""

    def __init__(self, data: bytes, seconds: float) -> None:
        super().__init__(data)
        self._end = time.monotonic() + seconds

    def read(self, size: int | None = -1, /) -> bytes:
        if time.monotonic() > self._end:
            raise TimeoutError
        return super().read(size)


def _not_readable(data: bytes) -> ApiError:
    kinds = [name for magic, name in _OTHER_TYPES.items() if data.startswith(magic)]
    if data[4:8] == b"ftyp":
        kinds = [_BRANDS.get(data[8:12], "Video")]
        if kinds[0] in formats():
            return _broken()
    kinds = kinds or _other_image_types(data)
    if not kinds:
        return ApiError(400, "not_an_image", "The file is not an image.")
    return ApiError(415, "unsupported_type", f"{kinds[0]} files are not read; send {', '.join(formats())}.")


def _other_image_types(data: bytes) -> list[str]:
    """Pillow's names of formats whose first bytes ``data`` has. Their decoders, headers included, stay out of it."""
    Image.init()
    found = []
    for name, (_, accept) in Image.OPEN.items():
        try:
            if name not in formats() and accept is not None and accept(data[:16]) is True:
                found.append(name)
        except Exception:  # noqa: S112 - fewer bytes than this format needs
            continue
    return found


def _broken() -> ApiError:
    return ApiError(400, "broken_image", "The image is truncated or damaged.")


def _too_slow() -> ApiError:
    return ApiError(413, "too_slow", "The photo takes too long to decode.")


def _upright_size(image: Image.Image) -> tuple[int, int]:
    if _never_turned(image):
        return image.size
    try:
        turned = image.getexif().get(0x0112) in (5, 6, 7, 8)
    except TimeoutError:
        raise _too_slow() from None
    except Exception:  # as in open_photo
        raise _broken() from None
    return (image.height, image.width) if turned else image.size


def _never_turned(image: Image.Image) -> bool:
    """Whether a JPEG has no place for an orientation, so that nobody needs to look for it."""
    return image.format == "JPEG" and "exif" not in image.info and "xmp" not in image.info


def _upright_rgb(image: Image.Image) -> Image.Image:
    """Decode: first frame, turned by EXIF, deep greys scaled to 8 bits, transparency over white."""
    try:
        image.load()
        if not _never_turned(image):
            ImageOps.exif_transpose(image, in_place=True)  # else it copies every photo that needs no turn
        if image.mode.startswith("I") or image.mode == "F":
            return _eight_bits(np.nan_to_num(np.asarray(image, dtype=np.float64)), image.mode == "F")
        if image.has_transparency_data:
            image = image.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
        return image if image.mode == "RGB" else image.convert("RGB")
    except TimeoutError:
        raise _too_slow() from None
    except Exception:  # as in open_photo: a decoder's complaint about the file, whatever its type
        raise _broken() from None


def _eight_bits(grey: NDArray[np.float64], may_be_unit: bool) -> Image.Image:
    """Grey values of unknown range as RGB: 0..65535, unless all fit into 0..255 or, as floats do, into 0..1."""
    highest = grey.max(initial=0)
    top = 1.0 if may_be_unit and highest <= 1 else 255.0 if highest <= 255 else 65535.0
    return Image.fromarray((grey.clip(0, top) * (255.0 / top)).astype(np.uint8)).convert("RGB")
