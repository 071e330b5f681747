"""The page in a real browser, over a double of the API that answers from the bytes it is sent."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from ui.api import ApiProblem
from ui.page import mount
from ui.texts import ENGLISH

CHROMIUM = Path("/usr/bin/chromium")
SCREENSHOTS = Path(__file__).resolve().parents[2] / "var" / "screenshots"
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CAMERA_COLOR = (200, 30, 30)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]

HARMLESS = {"Method not implemented."}
"""What Gradio's client warns of when it closes its own stream of heartbeats."""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(120),
    pytest.mark.skipif(
        not CHROMIUM.exists() and os.environ.get("CI") != "true", reason="Chromium is not installed (CI requires it)"
    ),
]


class ColorApi:
    """Red photos are a cat, blue ones a ship, green ones are refused; anything else fails as the API would."""

    def __init__(self) -> None:
        self.images: list[bytes] = []
        self.verdicts: list[tuple[str, bool, str | None]] = []
        self.feedback_fails = False

    async def classify(self, image: bytes) -> dict[str, Any]:
        self.images.append(image)
        try:
            red, green, blue = Image.open(io.BytesIO(image)).convert("RGB").resize((1, 1)).tobytes()
        except OSError:
            raise ApiProblem("not_an_image", "The file is not an image.", 400) from None
        best = "ship" if blue > red else "cat"
        refused = green > max(red, blue)
        probabilities = dict.fromkeys(CLASSES, 0.07 / 9) | {best: 0.93}
        return {
            "prediction_id": hashlib.sha256(image).hexdigest()[:12],
            "label": "unknown" if refused else best,
            "best_guess": best,
            "probability": 0.93,
            "probabilities": probabilities,
            "in_distribution": not refused,
            "ood_score": 0.6 if refused else 0.4,
            "ood_p_value": 0.012 if refused else 0.7,
            "model": {"cnn": "cifar_cnn:a", "forest": "ood_forest:a"},
            "timings": {"decode_ms": 1.0, "predict_ms": 2.0},
        }

    async def feedback(
        self, prediction_id: str, correct: bool, label: str | None = None, note: str | None = None
    ) -> dict[str, Any]:
        if self.feedback_fails:
            raise ApiProblem("feedback_unavailable", "The feedback store is not available.", 503)
        self.verdicts.append((prediction_id, correct, label))
        return {"id": len(self.verdicts)}

    async def labels(self) -> dict[str, Any]:
        return {
            "classes": CLASSES,
            "models": {"cnn": "cifar_cnn:a", "forest": "ood_forest:a"},
            "thresholds": {"refuse_share": 0.05},
        }


class Server:
    """uvicorn in a thread on a free port of 127.0.0.1; the page is made in its loop, as Gradio expects."""

    def __init__(self, api: ColorApi) -> None:
        self._api = api
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server: uvicorn.Server | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    async def _serve(self) -> None:
        self._server = uvicorn.Server(uvicorn.Config(mount(FastAPI(), self._api), log_level="warning"))
        await self._server.serve(sockets=[self._socket])

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + 60
        while self._server is None or not self._server.started:
            assert self._thread.is_alive(), "the page's server ended"
            assert time.monotonic() < deadline, "the page's server did not start"
            time.sleep(0.05)
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def api() -> ColorApi:
    return ColorApi()


@pytest.fixture(scope="module")
def server(api: ColorApi) -> Iterator[Server]:
    with Server(api) as running:
        yield running


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert CHROMIUM.exists(), "CI must install Chromium"
    camera = tmp_path_factory.mktemp("camera") / "red.y4m"
    camera.write_bytes(y4m(CAMERA_COLOR))
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), headless=True, args=[*FLAGS, f"--use-file-for-fake-video-capture={camera}"]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, server: Server, api: ColorApi, request: pytest.FixtureRequest) -> Iterator[Page]:
    """An open page; afterwards: nothing on the console, nothing asked of another host."""
    options = getattr(request, "param", {})
    context = browser.new_context(**{"viewport": {"width": 1100, "height": 900}, "locale": "en-US", **options})
    page = context.new_page()
    complaints: list[str] = []
    strangers: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and message.text not in HARMLESS:
            complaints.append(f"{message.text} ({message.location.get('url')})")

    def asked(request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme in ("http", "https", "ws", "wss") and url.hostname != "127.0.0.1":
            strangers.append(request.url)

    page.on("console", heard)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", asked)
    api.images.clear()
    api.verdicts.clear()
    api.feedback_fails = False
    page.goto(f"{server.url}/ui/")
    expect(page.locator("#models")).to_contain_text("cifar_cnn:a", timeout=30_000)
    yield page
    page.screenshot(path=SCREENSHOTS / f"{request.node.name.replace('[', '-').strip(']')}.png", full_page=True)
    context.close()
    assert not complaints, "\n".join(complaints)
    assert not strangers, strangers


def png(color: tuple[int, int, int], size: tuple[int, int] = (320, 240)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


def y4m(color: tuple[int, int, int], size: tuple[int, int] = (320, 240), frames: int = 10) -> bytes:
    """A silent film of one colour: YUV4MPEG2, 4:2:0."""
    width, height = size
    luma, blue, red = (bytes([value]) for value in Image.new("RGB", (1, 1), color).convert("YCbCr").tobytes())
    quarter = width * height // 4
    frame = b"FRAME\n" + luma * (width * height) + blue * quarter + red * quarter
    return f"YUV4MPEG2 W{width} H{height} F10:1 Ip A1:1 C420jpeg\n".encode() + frame * frames


def upload(page: Page, data: bytes, name: str = "photo.png", mime: str = "image/png") -> None:
    page.locator("#photo input[type=file]").set_input_files({"name": name, "mimeType": mime, "buffer": data})


def test_upload_then_right(page: Page, api: ColorApi) -> None:
    expect(page.locator("#right")).to_be_disabled()
    expect(page.locator("#wrong")).to_be_disabled()
    photo = png((220, 40, 40))
    upload(page, photo)
    expect(page.locator("#answer .sentence")).to_have_text("A cat, 93 % sure")
    assert page.locator("#answer .bars li").count() == 5
    expect(page.locator("#answer .bars li").first).to_contain_text("Cat")
    assert api.images == [photo], "the very bytes, once"
    page.locator("#right").click()
    expect(page.locator("#status")).to_contain_text(ENGLISH.stored.format(id=1))
    assert api.verdicts == [(hashlib.sha256(photo).hexdigest()[:12], True, None)]


def test_wrong_with_a_class_of_the_list(page: Page, api: ColorApi) -> None:
    upload(page, png((10, 20, 200)))
    expect(page.locator("#answer .sentence")).to_have_text("A ship, 93 % sure")
    page.locator("#wrong").click()
    expect(page.locator("#status")).to_have_text(ENGLISH.choose_first)
    assert api.verdicts == []
    page.locator("#correction input").click()
    page.get_by_role("option", name="Truck").click()
    page.locator("#wrong").click()
    expect(page.locator("#status")).to_contain_text(ENGLISH.stored.format(id=1))
    assert [verdict[1:] for verdict in api.verdicts] == [(False, "truck")]


def test_wrong_with_a_new_class_by_keyboard(page: Page, api: ColorApi) -> None:
    upload(page, png((230, 40, 40)))
    expect(page.locator("#answer .sentence")).to_be_visible()
    expect(page.locator("#right")).to_be_enabled()
    page.locator("#right").focus()
    page.keyboard.press("Tab")
    page.keyboard.type("Something")
    page.keyboard.press("Enter")
    expect(page.locator("#new-class textarea, #new-class input")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text(ENGLISH.name_first)
    page.keyboard.type(" bicycle ")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text(ENGLISH.stored.format(id=1))
    assert [verdict[1:] for verdict in api.verdicts] == [(False, "bicycle")]


def test_failing_feedback_is_told(page: Page, api: ColorApi) -> None:
    api.feedback_fails = True
    upload(page, png((240, 40, 40)))
    page.locator("#right").click()
    expect(page.locator("#status .error")).to_have_text("The feedback store is not available. " + ENGLISH.advice[503])
    api.feedback_fails = False
    page.locator("#right").click()
    expect(page.locator("#status .done")).to_be_visible()


def test_refused_answer(page: Page, api: ColorApi) -> None:
    upload(page, png((30, 180, 20)))
    expect(page.locator("#answer .sentence")).to_have_text("I don’t know this. My best guess would be a cat.")
    expect(page.locator("#answer .reason")).to_contain_text("1 %")
    expect(page.locator("#question")).to_contain_text(ENGLISH.was_refusing_right)
    expect(page.locator("#right")).to_have_text(ENGLISH.right_to_refuse)
    page.locator("#wrong").click()
    expect(page.locator("#status .done")).to_be_visible()
    assert [verdict[1:] for verdict in api.verdicts] == [(False, "cat")], "the best guess is proposed"


def test_what_is_no_image_is_told(page: Page) -> None:
    upload(page, b"not a picture at all", "photo.png")
    expect(page.locator("#answer .error")).to_have_text("The file is not an image. " + ENGLISH.advice[400])
    expect(page.locator("#right")).to_be_disabled()


def test_a_new_photo_forgets_the_old_answer(page: Page, api: ColorApi) -> None:
    upload(page, png((220, 50, 40)))
    page.locator("#right").click()
    expect(page.locator("#status .done")).to_be_visible()
    page.locator("#example-ship").click()
    expect(page.locator("#answer .sentence")).to_contain_text("A ship")
    expect(page.locator("#status")).to_have_text("")
    assert len(api.images) == 2
    with page.expect_response(lambda response: "run/predict" in response.url):
        page.locator("#classify").click()
    expect(page.locator("#answer .sentence")).to_contain_text("A ship")
    assert len(api.images) == 3
    page.get_by_role("button", name="Remove Image").click()
    expect(page.locator("#answer")).to_have_text(ENGLISH.waiting)
    expect(page.locator("#right")).to_be_disabled()


def test_webcam(page: Page, api: ColorApi) -> None:
    page.get_by_label("Capture from camera").click()
    page.get_by_title("grant webcam access").click()
    page.wait_for_function("document.querySelector('video').videoWidth > 0")
    page.get_by_title("capture photo").click()
    expect(page.locator("#answer .sentence")).to_contain_text("A cat")
    assert api.images[-1].startswith(b"\x89PNG"), "captured without loss"


@pytest.mark.parametrize(
    "page",
    [{"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}],
    indirect=True,
    ids=["phone"],
)
def test_phone(page: Page) -> None:
    upload(page, png((220, 60, 40)))
    expect(page.locator("#answer .sentence")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator("#right").click()
    expect(page.locator("#status .done")).to_be_visible()


@pytest.mark.parametrize("page", [{"color_scheme": "dark"}], indirect=True, ids=["dark"])
def test_dark(page: Page) -> None:
    upload(page, png((220, 70, 40)))
    expect(page.locator("#answer .sentence")).to_be_visible()
    light = page.evaluate("getComputedStyle(document.querySelector('#answer .sentence')).color")
    assert min(int(part) for part in light.strip("rgb()").split(",")) > 180


def test_controls_have_names_and_regions_speak(page: Page) -> None:
    for control in page.locator("button:visible, input:visible, textarea:visible").all():
        name = control.evaluate(
            "e => e.ariaLabel || e.innerText || e.title || (e.labels && e.labels[0]?.innerText) || ''"
        )
        assert name.strip(), control.evaluate("e => e.outerHTML.slice(0, 200)")
    for region in ("answer", "status"):
        expect(page.locator(f"#{region}")).to_have_attribute("aria-live", "polite")
    assert page.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize("path", [__file__, "/etc/passwd", "http://127.0.0.1:9/a.png", "https://example.com/a.png"])
def test_the_page_reads_no_file_but_uploads(server: Server, path: str) -> None:
    """A forged path instead of an upload is refused before our code sees it (events run with preprocess=False)."""
    config = httpx.get(f"{server.url}/ui/config").json()
    readers = [
        event["id"] for event in config["dependencies"] if len(event["inputs"]) == 1 and len(event["outputs"]) > 5
    ]
    assert len(readers) == 2, "the events that are handed the photo"
    for reader in readers:
        answer = httpx.post(
            f"{server.url}/ui/gradio_api/run/predict",
            json={
                "data": [{"path": path, "meta": {"_type": "gradio.FileData"}}],
                "fn_index": reader,
                "session_hash": "forged",
            },
        )
        assert answer.status_code == 500
        assert "not uploaded by a user" in answer.text


def test_served_html_names_no_foreign_script_font_or_style(server: Server) -> None:
    html = httpx.get(f"{server.url}/ui/").text
    for word in ("googleapis", "gstatic", "cdnjs", "cdn.jsdelivr", "unpkg", "google-analytics"):
        assert word not in html
