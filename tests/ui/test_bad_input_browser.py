"""How photos come to the page, and what it says of those that it cannot take: a sentence with what to do."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import ExifTags, Image
from playwright.sync_api import Browser, Page, expect

from http_photos import Decoder
from settings import Settings
from tests.ui.conftest import MAX_FILE_BYTES, PHONE, SCREENSHOTS, SIZES, ColorApi, Server, browser_marks, png, visit
from ui.texts import ENGLISH

pytestmark = browser_marks

_CARRY = """([event, data, type]) => {
  const carried = new DataTransfer();
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  carried.items.add(new File([bytes], "photo", { type }));
  const options = { bubbles: true, cancelable: true, dataTransfer: carried, clipboardData: carried };
  if (event === "drop") document.querySelector("#photo [aria-dropeffect]").dispatchEvent(new DragEvent(event, options));
  else document.body.dispatchEvent(new ClipboardEvent(event, options));
}"""


_ENDS = """async (image) => {
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [1, 16];
  const brush = canvas.getContext("2d", { willReadFrequently: true });
  brush.drawImage(image, 0, 0, 1, 16);
  return [0, 15].map((y) => [...brush.getImageData(0, y, 1, 1).data]);
}"""


class StrictApi(ColorApi):
    """Refuses what the service refuses, by the service's own limits, and sees what the network sees."""

    async def classify(self, image: bytes, live: bool = False) -> dict[str, Any]:
        Decoder(Settings()).read(image)
        return await super().classify(image, live)

    async def preview(self, image: bytes) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(Decoder(Settings()).read(image).pixels).save(buffer, "PNG")
        return buffer.getvalue()


@pytest.fixture(scope="module")
def api() -> StrictApi:
    return StrictApi()


@pytest.fixture(scope="module")
def server(api: StrictApi) -> Iterator[Server]:
    with Server(api) as running:
        yield running


@pytest.fixture
def page(browser: Browser, server: Server, api: StrictApi, request: pytest.FixtureRequest) -> Iterator[Page]:
    with visit(browser, server.url, request.node.name, **getattr(request, "param", {})) as page:
        api.reset()  # now that whatever the last page sent has come
        yield page


def choose(page: Page, data: bytes, mime: str = "image/png") -> None:
    page.locator("#photo input[type=file]").set_input_files({"name": "photo", "mimeType": mime, "buffer": data})


def carry(page: Page, event: str, data: bytes, mime: str = "image/png") -> None:
    page.evaluate(_CARRY, [event, base64.b64encode(data).decode(), mime])


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_photo_is_dropped_or_pasted_and_another_after_it(page: Page, api: StrictApi, way: str) -> None:
    red, blue = png((220, 40, 40)), png((10, 20, 200))
    carry(page, way, red)
    expect(page.locator("#answer .sentence")).to_have_text("A cat, 93 % sure")
    carry(page, way, blue)
    expect(page.locator("#answer .sentence")).to_have_text("A ship, 93 % sure")
    assert api.images == [red, blue], "the very bytes"


def test_a_photo_of_60_megapixels_is_refused_with_what_to_do(page: Page, api: StrictApi) -> None:
    buffer = io.BytesIO()
    Image.new("1", (10_000, 6_000), 1).save(buffer, "PNG")
    assert len(buffer.getvalue()) < MAX_FILE_BYTES
    choose(page, buffer.getvalue())
    sentence = "The photo has 10000 x 6000 pixels; at most 50,000,000 are taken."
    expect(page.locator("#answer .error")).to_have_text(f"{sentence} {ENGLISH.advice[413]}")
    assert api.images == []
    choose(page, png((220, 40, 40)))
    expect(page.locator("#answer .sentence")).to_have_text("A cat, 93 % sure")


@SIZES
def test_a_file_that_cannot_be_taken_is_told_and_the_last_photo_stays(page: Page, api: StrictApi) -> None:
    choose(page, png((220, 40, 40)))
    expect(page.locator("#answer .sentence")).to_have_text("A cat, 93 % sure")
    for data, mime, sentence in (
        (bytes(MAX_FILE_BYTES + 1), "image/jpeg", ENGLISH.too_heavy.format(megabytes=1)),
        (b"%PDF-1.7", "application/pdf", ENGLISH.no_photo_file),
    ):
        for way in ("choose", "drop", "paste"):
            page.evaluate("document.getElementById('cut-off').textContent = ''")
            if way == "choose":
                choose(page, data, mime)
            else:
                carry(page, way, data, mime)
            expect(page.get_by_role("alert").filter(has_text=sentence)).to_be_visible()
    expect(page.locator("#answer .sentence")).to_have_text("A cat, 93 % sure")
    choose(page, png((10, 20, 200)))
    expect(page.locator("#answer .sentence")).to_have_text("A ship, 93 % sure")
    expect(page.locator("#cut-off")).to_be_hidden()
    assert len(api.images) == 2


def test_a_photo_that_was_taken_upright_is_seen_upright(page: Page) -> None:
    """By the person and by the network: the camera's sensor lay on its side, and the file says so."""
    photo, exif, buffer = Image.new("RGB", (300, 200), (220, 40, 40)), Image.Exif(), io.BytesIO()
    photo.paste((10, 20, 200), (150, 0, 300, 200))
    exif[ExifTags.Base.Orientation] = 6
    photo.save(buffer, "JPEG", exif=exif)
    choose(page, buffer.getvalue(), "image/jpeg")
    expect(page.locator("#seen img")).to_have_js_property("naturalWidth", 32)
    shown = page.locator("#photo img")
    expect(shown).to_have_js_property("naturalWidth", 200)
    expect(shown).to_have_js_property("naturalHeight", 300)
    for image in (shown, page.locator("#seen img")):
        top, bottom = image.evaluate(_ENDS)
        assert top[0] > top[2], "red"
        assert bottom[0] < bottom[2], "blue"


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desk", "phone"])
def test_a_service_that_goes_before_the_photo_has_come_is_told(
    browser: Browser, server: Server, request: pytest.FixtureRequest, options: dict[str, Any]
) -> None:
    with visit(browser, server.url, request.node.name, forgiven=("Failed to",), **options) as page:
        page.route("**/gradio_api/upload**", lambda route: route.abort())
        choose(page, png((220, 40, 40)))
        expect(page.get_by_role("alert").filter(has_text=ENGLISH.problems["unreachable"])).to_be_visible()


def test_the_console_is_watched_and_a_picture_kept(
    browser: Browser, server: Server, request: pytest.FixtureRequest
) -> None:
    """What every test in a browser relies on: `visit` fails on an error, and leaves a screenshot whatever happens."""
    name = request.node.name
    kept = SCREENSHOTS / f"{name}.png"
    kept.unlink(missing_ok=True)
    for fault in ("console.error('heard')", "setTimeout(() => { throw new Error('heard') })"):
        watched = visit(browser, server.url, name)
        page = watched.__enter__()
        page.evaluate(fault)
        page.evaluate("() => new Promise((resolve) => setTimeout(resolve))")
        with pytest.raises(AssertionError, match="heard"):
            watched.__exit__(None, None, None)
    with Image.open(kept) as picture:
        assert picture.width == 1100
    kept.unlink()
    failed = visit(browser, server.url, name)
    failed.__enter__().evaluate("console.error('heard')")
    assert not failed.__exit__(ValueError, ValueError("of the test"), None), "what failed first is what is told"
    assert kept.exists()
