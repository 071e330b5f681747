"""Shared by the tests in a real browser: a double of the API, a server of the page, Chromium with a camera of ours."""

from __future__ import annotations

import asyncio
import hashlib
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
import uvicorn
from fastapi import FastAPI
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.conftest import CHROMIUM
from ui.api import Api, ApiProblem, OwnerApi
from ui.page import mount

SCREENSHOTS = Path(__file__).resolve().parents[2] / "var" / "screenshots"
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CAMERA_LEFT, CAMERA_RIGHT = (200, 30, 30), (120, 30, 30)
"""What the camera shows: were its picture mirrored, the sides would change places."""
MAX_FILE_BYTES = 1_000_000
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
]

PATIENCE = 60
"""Seconds that anything may take: on a busy machine much is slow, and nobody waits for what has come."""
expect.set_options(timeout=1000 * PATIENCE / 2)

HARMLESS = {"Method not implemented."}
"""What Gradio's client warns of when it closes its own stream of heartbeats."""

_FRAMES = """() => new Promise((done) => {
  let left = 4;
  const frame = () => (left-- ? requestAnimationFrame(frame) : setTimeout(done));
  frame();
})"""
_NAMELESS = """(all) => all
  .filter((e) => !(e.ariaLabel || e.innerText || e.title || (e.labels && e.labels[0]?.innerText) || "").trim())
  .map((e) => e.outerHTML.slice(0, 200))"""

browser_marks = [
    pytest.mark.browser,
    pytest.mark.timeout(600),
]

SIZES = pytest.mark.parametrize("page", [{}, PHONE], indirect=True, ids=["desk", "phone"])
"""For the fixture ``page`` of a module: a desktop's window, and a phone's."""


def in_browser(test: Callable[..., None]) -> Callable[..., None]:
    """`browser_marks` on one test."""
    for mark in browser_marks:
        test = mark(test)
    return test


class ColorApi:
    """Red photos are a cat, blue ones a ship, green ones are refused; anything else fails as the API would. Previews,
    heat maps and thanks are on their way while ``held``."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.images: list[bytes] = []
        self.verdicts: list[tuple[str, bool, str | None]] = []
        self.frames: list[bytes] = []
        self.withdrawn: list[str] = []
        self.feedback_fails = self.gone = self.held = False
        self.sure = 0.93

    async def classify(self, image: bytes, live: bool = False) -> dict[str, Any]:
        (self.frames if live else self.images).append(image)
        if self.gone:
            raise ApiProblem("unreachable", "http://service cannot be reached: refused")
        try:
            red, green, blue = Image.open(io.BytesIO(image)).convert("RGB").resize((1, 1)).tobytes()
        except OSError:
            raise ApiProblem("not_an_image", "The file is not an image.", 400) from None
        best = "ship" if blue > red else "cat"
        refused = green > max(red, blue)
        probabilities = dict.fromkeys(CLASSES, (1 - self.sure) / 9) | {best: self.sure}
        return {
            "prediction_id": hashlib.sha256(image).hexdigest()[:12],
            "label": "unknown" if refused else best,
            "best_guess": best,
            "probability": self.sure,
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
        await self._let_go()
        return {"id": len(self.verdicts)}

    async def explain(self, image: bytes) -> dict[str, Any]:
        """Hot in the upper right corner."""
        heat = [[0.0] * 7 for _ in range(7)]
        heat[0][6], heat[1][6], heat[6][0] = 3.0, 1.5, -1.0
        await self._let_go()
        return {"label": "cat", "probability": 0.93, "heat": heat}

    async def preview(self, image: bytes) -> bytes:
        await self._let_go()
        buffer = io.BytesIO()
        Image.open(io.BytesIO(image)).convert("RGB").resize((32, 32)).save(buffer, "PNG")
        return buffer.getvalue()

    async def withdraw(self, prediction_id: str) -> dict[str, Any]:
        if self.feedback_fails:
            raise ApiProblem("feedback_unavailable", "The feedback store is not available.", 503)
        self.withdrawn.append(prediction_id)
        return {"prediction_id": prediction_id, "withdrawn": True}

    async def _let_go(self) -> None:
        while self.held:
            await asyncio.sleep(0.01)

    async def labels(self) -> dict[str, Any]:
        return {
            "classes": CLASSES,
            "models": {"cnn": "cifar_cnn:a", "forest": "ood_forest:a"},
            "thresholds": {"refuse_share": 0.05},
        }


class Running:
    """uvicorn in a thread on a free port of 127.0.0.1; the application is made in its loop, as Gradio expects."""

    def __init__(self, made: Callable[[], FastAPI]) -> None:
        self._made = made
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server: uvicorn.Server | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    async def _serve(self) -> None:
        self._server = uvicorn.Server(uvicorn.Config(self._made(), log_level="warning"))
        await self._server.serve(sockets=[self._socket])

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + 4 * PATIENCE  # the first one imports Gradio
        while self._server is None or not self._server.started:
            assert self._thread.is_alive(), "the server ended"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.05)
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.should_exit = self._server.force_exit = True  # open streams of a page are not waited for
        self._thread.join(PATIENCE)
        self._socket.close()
        assert not self._thread.is_alive()


class Server(Running):
    """The page of ``api``, in ``app``."""

    def __init__(self, api: Api, app: FastAPI | None = None, owner: OwnerApi | None = None) -> None:
        super().__init__(lambda: mount(app or FastAPI(), api, owner=owner, max_file_bytes=MAX_FILE_BYTES))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert CHROMIUM.exists(), "CI must install Chromium"
    camera = tmp_path_factory.mktemp("camera") / "red.y4m"
    camera.write_bytes(y4m(CAMERA_LEFT, CAMERA_RIGHT))
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), headless=True, args=[*FLAGS, f"--use-file-for-fake-video-capture={camera}"]
        )
        yield browser
        browser.close()


@contextmanager
def visit(
    browser: Browser, url: str, name: str, forgiven: tuple[str, ...] = (), before: str | None = None, **options: Any
) -> Iterator[Page]:
    """The open page; afterwards: a screenshot, whatever has happened, nothing on the console, nothing asked of another
    host.

    ``forgiven`` complaints have one of these in them: those that a test provokes. ``before`` is JavaScript that runs
    before the page's own. The camera is allowed, unless ``options`` have other permissions.
    """
    usual = {"viewport": {"width": 1100, "height": 900}, "locale": "en-US", "permissions": ["camera"]}
    context = browser.new_context(**{**usual, **options})
    context.set_default_timeout(1000 * PATIENCE)
    page = context.new_page()
    if before is not None:
        page.add_init_script(before)
    complaints: list[str] = []
    strangers: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        expected = message.text in HARMLESS or any(words in message.text for words in forgiven)
        if message.type in ("error", "warning") and not expected:
            complaints.append(f"{message.text} ({message.location.get('url')})")

    def asked(request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme in ("http", "https", "ws", "wss") and url.hostname != "127.0.0.1":
            strangers.append(request.url)

    page.on("console", heard)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", asked)
    try:
        page.goto(f"{url}/ui/")
        loaded(page)
        yield page
    finally:
        page.screenshot(path=SCREENSHOTS / f"{name.replace('[', '-').strip(']')}.png", full_page=True)
        context.close()
    assert not complaints, "\n".join(complaints)
    assert not strangers, strangers


def loaded(page: Page) -> None:
    """Wait until the page has answered its own first question: everything on it is bound by then."""
    expect(page.locator("#models")).to_contain_text("cifar_cnn:", timeout=1000 * PATIENCE)


def settled(page: Page) -> None:
    """Wait a few frames: in the second one after a tab was first opened, Gradio sets its fields back to what it knows,
    and what was written before that is lost. A person does not see the tab before."""
    page.evaluate(_FRAMES)


def nameless(page: Page, controls: str) -> list[str]:
    """What of ``controls``, a selector, has no name that a screen reader could say."""
    return page.locator(controls).evaluate_all(_NAMELESS)


def fits(page: Page) -> bool:
    """Whether nothing is wider than the window."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def upload(page: Page, data: bytes, name: str = "photo.png", mime: str = "image/png") -> None:
    """Choose a file under *Ask*."""
    page.locator("#photo input[type=file]").set_input_files({"name": name, "mimeType": mime, "buffer": data})


def faulty_camera(page: Page, name: str) -> None:
    """From now on the browser has no picture to give, for the reason ``name``."""
    fail = f"async () => {{ throw new DOMException('', '{name}') }}"
    page.evaluate(f"() => {{ navigator.mediaDevices.getUserMedia = {fail} }}")


def until(page: Page, reached: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < end
        page.wait_for_timeout(50)


def png(color: tuple[int, int, int], size: tuple[int, int] = (320, 240)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


def y4m(
    left: tuple[int, int, int], right: tuple[int, int, int], size: tuple[int, int] = (320, 240), frames: int = 10
) -> bytes:
    """A silent film of two colours side by side: YUV4MPEG2, 4:2:0."""
    width, height = size
    picture = Image.new("RGB", size, left)
    picture.paste(right, (width // 2, 0, width, height))
    luma, blue, red = picture.convert("YCbCr").split()
    half = (width // 2, height // 2)
    frame = b"FRAME\n" + luma.tobytes() + blue.resize(half).tobytes() + red.resize(half).tobytes()
    return f"YUV4MPEG2 W{width} H{height} F10:1 Ip A1:1 C420jpeg\n".encode() + frame * frames


def is_of_the_camera(photo: bytes) -> bool:
    """Whether a photo is a PNG of what the camera shows, the right way round."""
    with Image.open(io.BytesIO(photo)) as image:
        width, height = image.size
        seen = [image.convert("RGB").getpixel((x, height // 2)) for x in (width // 4, 3 * width // 4)]
        png = image.format == "PNG"
    sides = zip(seen, (CAMERA_LEFT, CAMERA_RIGHT), strict=True)
    return png and all(abs(a - b) <= 24 for side in sides for a, b in zip(*side, strict=True))


def open_tab(page: Page, name: str) -> None:
    """Open a tab, which an owner's page shows a moment after the others: on a phone it may have gone into the menu."""
    tab = page.get_by_role("tab", name=name, exact=True)
    menu = page.locator(".overflow-menu button").first
    tab.or_(menu).filter(visible=True).first.wait_for()
    if tab.is_visible():
        tab.click()
    else:
        menu.click()
        page.locator(".overflow-dropdown").get_by_text(name, exact=True).click()
    settled(page)
