"""Example pictures, drawn when the page is built: nothing to license, nothing to download."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

from PIL import Image, ImageDraw, ImageFilter

SIDE = 192
_SCALE = 4  # drawn large and scaled down, which is Pillow's way to smooth edges

Color = tuple[int, int, int]


def draw_all() -> dict[str, Image.Image]:
    """Name -> RGB picture of `SIDE` × `SIDE`; the names are the keys of ``Texts.example_names``."""
    return {name: draw() for name, draw in _DRAWINGS.items()}


def png_bytes(image: Image.Image) -> bytes:
    """``image`` as a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def data_uri(image: Image.Image) -> str:
    """``image`` as a PNG ``data:`` URI."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(image)).decode()


def _airplane() -> Image.Image:
    image, pen = _canvas((92, 152, 214), (196, 222, 244))
    _shape(
        pen, (240, 243, 247), [(40, 96), (52, 88), (136, 88), (156, 94), (160, 99), (152, 104), (52, 104), (40, 100)]
    )
    _shape(pen, (205, 212, 221), [(86, 99), (106, 99), (76, 146), (66, 146)])
    _shape(pen, (222, 228, 235), [(90, 90), (108, 90), (92, 58), (84, 58)])
    _shape(pen, (196, 60, 52), [(42, 92), (58, 88), (46, 62), (34, 62)])
    _shape(pen, (205, 212, 221), [(42, 100), (58, 100), (40, 116), (32, 116)])
    for x in range(66, 138, 8):
        _box(pen, (70, 96, 130), (x, 92, x + 3, 95))
    _shape(pen, (50, 70, 100), [(148, 91), (156, 94), (158, 97), (147, 96)])
    return _finish(image)


def _ship() -> Image.Image:
    image, pen = _canvas((150, 190, 224), (224, 234, 240))
    _box(pen, (38, 84, 122), (0, 122, SIDE, SIDE))
    for y in range(130, SIDE, 10):
        _box(pen, (52, 100, 140), (0, y, SIDE, y + 3))
    _shape(pen, (142, 38, 36), [(20, 126), (172, 126), (158, 144), (34, 144)])
    _shape(pen, (44, 48, 58), [(12, 106), (182, 106), (172, 128), (20, 128)])
    _box(pen, (240, 240, 236), (52, 84, 140, 106))
    _box(pen, (226, 228, 226), (64, 68, 124, 84))
    for x in range(58, 134, 10):
        _box(pen, (72, 92, 112), (x, 92, x + 5, 97))
    _box(pen, (206, 84, 44), (78, 44, 90, 68))
    _box(pen, (206, 84, 44), (100, 48, 112, 68))
    _box(pen, (30, 32, 38), (78, 44, 90, 50))
    _box(pen, (30, 32, 38), (100, 48, 112, 54))
    return _finish(image)


def _automobile() -> Image.Image:
    image, pen = _canvas((186, 206, 222), (228, 230, 226))
    _box(pen, (96, 126, 74), (0, 96, SIDE, 128))
    _box(pen, (98, 98, 102), (0, 124, SIDE, SIDE))
    _disc(pen, (62, 62, 66), (96, 148, 78, 6))
    _shape(pen, (176, 28, 32), [(58, 100), (76, 74), (122, 74), (142, 100)])
    _shape(pen, (196, 36, 40), [(20, 106), (28, 100), (150, 98), (174, 108), (176, 134), (16, 134)])
    _shape(pen, (150, 186, 204), [(68, 98), (80, 80), (96, 80), (96, 98)])
    _shape(pen, (150, 186, 204), [(102, 98), (102, 80), (118, 80), (130, 98)])
    for x in (54, 140):
        _disc(pen, (26, 26, 30), (x, 134, 17, 17))
        _disc(pen, (190, 192, 196), (x, 134, 8, 8))
    _box(pen, (250, 228, 150), (168, 112, 175, 118))
    _box(pen, (120, 10, 14), (16, 112, 21, 118))
    return _finish(image)


def _checkerboard() -> Image.Image:
    image, pen = _canvas((250, 214, 60), (250, 214, 60))
    for row in range(6):
        for column in range(row % 2, 6, 2):
            _box(pen, (120, 20, 140), (32 * column, 32 * row, 32 * column + 32, 32 * row + 32))
    return _finish(image)


_DRAWINGS: dict[str, Callable[[], Image.Image]] = {
    "airplane": _airplane,
    "ship": _ship,
    "automobile": _automobile,
    "checkerboard": _checkerboard,
}


def _canvas(top: Color, bottom: Color) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """A vertical gradient to draw on, `_SCALE` times too large."""
    column = Image.new("RGB", (1, 2))
    column.putpixel((0, 0), top)
    column.putpixel((0, 1), bottom)
    image = column.resize((SIDE * _SCALE, SIDE * _SCALE), Image.Resampling.BILINEAR)
    return image, ImageDraw.Draw(image)


def _finish(image: Image.Image) -> Image.Image:
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS).filter(ImageFilter.GaussianBlur(0.6))


def _shape(pen: ImageDraw.ImageDraw, color: Color, points: list[tuple[int, int]]) -> None:
    pen.polygon([(_SCALE * x, _SCALE * y) for x, y in points], fill=color)


def _box(pen: ImageDraw.ImageDraw, color: Color, box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = (_SCALE * edge for edge in box)
    pen.rectangle((left, top, right - 1, bottom - 1), fill=color)


def _disc(pen: ImageDraw.ImageDraw, color: Color, ellipse: tuple[int, int, int, int]) -> None:
    x, y, width, height = (_SCALE * value for value in ellipse)
    pen.ellipse((x - width, y - height, x + width, y + height), fill=color)
