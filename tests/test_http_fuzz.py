"""Two thousand damaged and invented files: each gets an answer or an error of its sender's, soon."""

from __future__ import annotations

import asyncio
import io
import struct
import threading
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

import http_photos
from runners.images import Photo, formats
from tests.serving import classify, photo, world

FILES = 2000
EXTREMES = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\xff\xff")
MODES = ("RGB", "L", "P", "1", "RGBA", "CMYK", "I;16", "LA", "F")


def written() -> dict[str, bytes]:
    """A small picture in every format and mode that Pillow writes."""
    Image.init()
    formats()  # HEIF too, where it is installed
    random = np.random.default_rng(7)
    picture = Image.fromarray(random.integers(0, 256, (20, 24, 3), dtype=np.uint8))
    files = {}
    for name in sorted(Image.SAVE):
        for mode in MODES:
            buffer = io.BytesIO()
            try:
                (picture.convert("L").convert(mode) if mode == "I;16" else picture.convert(mode)).save(buffer, name)
            except Exception:
                continue
            files[f"{name}-{mode}"] = buffer.getvalue()
    return files


def hostile(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Seeded: files cut short, with flipped bits, extreme fields, spliced, repeated, or of nothing but noise."""
    random = np.random.default_rng(seed)
    files = list(written().items())
    for _ in range(count):
        name, data = files[random.integers(len(files))]
        other = files[random.integers(len(files))][1]
        raw = bytearray(data)
        kind = random.choice(["cut", "bits", "field", "splice", "repeat", "noise", "head", "whole"])
        if kind == "cut":
            raw = raw[: random.integers(len(raw) + 1)]
        elif kind == "bits":
            for place in random.integers(len(raw), size=random.integers(1, 20)):
                raw[place] ^= 1 << int(random.integers(8))
        elif kind == "field":  # lengths and sizes stand in the first bytes
            place = int(random.integers(min(64, len(raw) - 4)))
            raw[place : place + 4] = EXTREMES[random.integers(len(EXTREMES))]
        elif kind == "splice":
            raw = raw[: random.integers(len(raw) + 1)] + other[random.integers(len(other)) :]
        elif kind == "repeat":
            raw = raw * int(random.integers(2, 20))
        elif kind == "noise":
            raw = bytearray(random.bytes(int(random.integers(1, 3000))))
        elif kind == "head":
            raw = raw[: random.integers(4, 40)] + random.bytes(int(random.integers(2000)))
        yield f"{name} {kind}", bytes(raw)


def test_hostile_files_are_answered_or_refused(tmp_path: Path) -> None:
    codes: Counter[int] = Counter()

    async def main() -> None:
        async with world(tmp_path, rate_limit=0).client(raise_app_exceptions=False) as client:
            for name, data in hostile(20261124, FILES):
                start = time.monotonic()
                answer = await asyncio.wait_for(classify(client, data), 30)
                assert answer.status_code in (200, 400, 413, 415), (name, answer.status_code, answer.text)
                assert time.monotonic() - start < 10, name
                codes[answer.status_code] += 1
            assert (await classify(client, photo())).status_code == 200

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in the service: Pillow warns of odd files and reads them
        asyncio.run(main())
    assert codes[200] > FILES / 20, codes
    assert codes[400] > FILES / 4, codes
    assert codes[415] > FILES / 20, codes


def test_every_format_is_told_by_its_content(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path).client() as client:
            for name, data in written().items():
                kind = name.partition("-")[0]
                read = kind in (*formats(), "MPO")
                answer = await client.post("/classify", files={"image": ("photo.jpg", data, "image/jpeg")})
                assert answer.status_code == (200 if read else answer.status_code), (name, answer.text)
                assert read or answer.status_code in (400, 415), name

    asyncio.run(main())


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has next to nothing in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def jpeg_header(width: int, height: int) -> bytes:
    """A grey JPEG up to where its pixels would begin."""
    frame = struct.pack(">2sHBHHB3B", b"\xff\xc0", 11, 8, height, width, 1, 1, 0x11, 0)
    return b"\xff\xd8" + frame + struct.pack(">2sH6B", b"\xff\xda", 8, 1, 1, 0, 0, 63, 0) + b"\xff\xd9"


def tiff_header(width: int, height: int) -> bytes:
    """A grey TIFF, not compressed, whose pixels are one byte."""
    shorts = {258: 8, 259: 1, 262: 1, 277: 1}  # bits, compression, black is 0, channels
    tags = sorted({256: width, 257: height, 273: 8, 278: height, 279: 1, **shorts}.items())
    entries = (struct.pack("<HHII", tag, 3 if tag in shorts else 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(entries) + b"\0\0\0\0"


def webp_header(width: int, height: int) -> bytes:
    """A lossless WebP with its size and nothing that could be a picture."""
    body = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + b"\0" * 11
    chunk = b"WEBPVP8L" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(chunk)) + chunk


@pytest.mark.parametrize(
    "data",
    [
        png_header(50_001, 1000),
        png_header(2**31 - 1, 2**31 - 1),
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 100_000, 100_000, 1, 24, 0, 0, 0, 0, 0, 0),
        b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\0;",
        jpeg_header(65_500, 65_500),
        tiff_header(100_000, 100_000),
        webp_header(8000, 8000),
    ],
    ids=["png", "png-largest", "bmp", "gif", "jpeg", "tiff", "webp"],
)
def test_bombs_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    def load(*_: object) -> None:
        pytest.fail("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)

    async def main() -> None:
        async with world(tmp_path).client() as client:
            answer = await classify(client, data)
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_many_pixels")

    asyncio.run(main())


def test_few_bytes_of_many_pixels_decode_beside_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    read = http_photos.Decoder.read

    def spy(self: http_photos.Decoder, data: bytes) -> Photo:
        threads.append(threading.current_thread().name)
        return read(self, data)

    monkeypatch.setattr(http_photos.Decoder, "read", spy)

    async def main() -> None:
        async with world(tmp_path).client() as client:
            dense = photo(size=(1000, 1000))
            assert len(dense) < http_photos.INLINE_BYTES
            assert (await classify(client, dense)).status_code == 200
            assert (await classify(client, photo())).status_code == 200

    asyncio.run(main())
    assert [name.partition("_")[0] for name in threads] == ["decoder"]


def test_decoding_has_a_time_limit(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")

    async def main() -> None:
        async with world(tmp_path, decode_seconds=1e-6).client() as client:
            answer = await classify(client, buffer.getvalue())
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_slow")

    asyncio.run(main())


def test_a_decoder_that_never_ends_hurts_its_own_photo_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()
    monkeypatch.setattr("http_photos.read_photo", lambda *_, **__: free.wait(60) and Photo(np.zeros(0), 0, 0))
    large = photo(size=(1000, 1000))

    async def main() -> None:
        here = world(tmp_path, decode_seconds=0.3, max_wait_seconds=0.2)
        threads = here.handlers._decoder._free._value
        async with here.client() as client:
            stuck = await asyncio.gather(*(classify(client, large) for _ in range(threads)))
            assert {answer.json()["error"]["code"] for answer in stuck} == {"too_slow"}
            next_one = await classify(client, large)
            assert (next_one.status_code, next_one.json()["error"]["code"]) == (503, "overloaded")
            assert (await classify(client, photo())).status_code == 200, "small ones need no thread"
            free.set()
            async with asyncio.timeout(60):
                while here.handlers._decoder._free._value < threads:
                    await asyncio.sleep(0.05)

    asyncio.run(main())


def test_one_request_cannot_decode_for_ever(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, decode_seconds=1e-9).client() as client:
            files = [("images", ("p", photo())) for _ in range(20)]
            answers = (await client.post("/classify_batch", files=files)).json()
            assert len(answers) == 20
            assert answers[-1]["error"]["code"] == "too_slow"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"", {"content-type": "multipart/form-data"}),
        (b"", {"content-type": "multipart/form-data; boundary="}),
        (b"x", {"content-type": "multipart/form-data; boundary=" + "b" * 5000}),
        (b"--b\r\n\r\nx\r\n--b--", {"content-type": "multipart/form-data; boundary=b"}),
        (b"--b\r\ncontent-disposition: form-data\r\n\r\nx", {"content-type": "multipart/form-data; boundary=b"}),
        (b"--b\r\n" + b"a: b\r\n" * 5000, {"content-type": "multipart/form-data; boundary=b"}),
        (b"\0" * 1000, {"content-type": "multipart/form-data; boundary=\xff"}),
        (b"{}", {"content-type": "application/json"}),
        (b"x", {}),
    ],
)
def test_forms_that_are_none_are_422(tmp_path: Path, content: bytes, headers: dict[str, str]) -> None:
    async def main() -> None:
        raw = [(name, value.encode("latin-1")) for name, value in headers.items()]
        async with world(tmp_path).client() as client:
            answer = await client.post("/classify", content=content, headers=raw)  # type: ignore[arg-type]
            assert (answer.status_code, answer.json()["error"]["code"]) == (422, "bad_fields")

    asyncio.run(main())


@pytest.mark.parametrize("fields", [{"other": "x"}, {f"f{i}": "x" for i in range(100)}, {"image": "x" * 100_000}])
def test_fields_beside_the_photo_are_422(tmp_path: Path, fields: dict[str, str]) -> None:
    async def main() -> None:
        async with world(tmp_path).client() as client:
            answer = await client.post("/classify", files={"image": ("p", photo())}, data=fields)
            assert (answer.status_code, answer.json()["error"]["code"]) == (422, "bad_fields")

    asyncio.run(main())


def test_too_many_files_are_422(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, max_files=3).client() as client:
            answer = await client.post("/classify_batch", files=[("images", ("p", photo()))] * 4)
            assert (answer.status_code, answer.json()["error"]["code"]) == (422, "bad_fields")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{" * 60_000, 422),
        (b"[" * 60_000, 400),
        (b'{"prediction_id": "x", "correct": true, "note": "' + b"x" * 70_000 + b'"}', 413),
        (b'{"prediction_id": "x", "correct": true, "more": 1}', 422),
        (b'{"prediction_id": "x", "correct": "perhaps"}', 422),
        (b'{"prediction_id": 1e999, "correct": true}', 422),
        (b'{"prediction_id": "\\ud800", "correct": true}', 422),
        (b"\xff\xfe", 422),
        (b"", 422),
    ],
)
def test_json_that_is_none_or_not_ours(tmp_path: Path, content: bytes, status: int) -> None:
    async def main() -> None:
        async with world(tmp_path).client() as client:
            answer: httpx.Response = await client.post(
                "/feedback", content=content, headers={"content-type": "application/json"}
            )
            assert answer.status_code == status, answer.text
            assert set(answer.json()["error"]) == {"code", "message"}

    asyncio.run(main())
