"""`python -m bench.page`: the page as a person waits for it, in headless Chromium, against the real server.

A wait begins with the browser's event (the drop, the click) and ends with the frame that shows the answer. Server and
browser share the cores of this machine.
"""

from __future__ import annotations

import base64
import io
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from bench.load import photos
from bench.servers import Server, StartError, free_port
from bench.serving import target
from runners.store import StoreError, served
from settings import Settings, configure_environment
from training.speed import engine, machine

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ("--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
OPENINGS, PHOTOS, LARGE_PHOTOS, LIVE_SECONDS = 5, 20, 5, 10
LARGE = (4000, 3000)
"""Pixels of a telephone's photo."""

Waits = dict[str, list[float]]
COLD, WARM = "first paint, cold cache", "first paint, warm cache"
COLD_READY, WARM_READY = "takes a photo, cold cache", "takes a photo, warm cache"
DROP, DROP_LARGE, DRAWING = (
    "photo dropped to answer",
    "12-megapixel photo dropped to answer",
    "drawing clicked to answer",
)
WHY, LIVE = "“Why?” to heat map", "live, from answer to answer"

_WATCH = """
(function look() {
  if (document.querySelector("#photo input[type=file]")) window.readyAt = performance.now();
  else requestAnimationFrame(look);
})();
// The milliseconds from the next event of a type to the frame in which place shows another thing of the kind wanted.
window.wait = (type, place, wanted) => new Promise((resolve) => {
  const find = () => document.querySelector(place).querySelector(wanted);
  const old = find();
  let begun = null;
  addEventListener(type, () => (begun = performance.now()), { capture: true, once: true });
  const watch = new MutationObserver(async () => {
    const found = find();
    if (begun === null || !found || found === old) return;
    watch.disconnect();
    await Promise.all([...found.querySelectorAll("img")].map((image) => image.decode()));
    requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - begun)));
  });
  watch.observe(document.querySelector(place), { childList: true, subtree: true });
});
"""
_DROP = """(photo) => {
  const answered = wait("drop", "#answer", ".sentence");
  const dataTransfer = new DataTransfer();
  const bytes = Uint8Array.from(atob(photo), (letter) => letter.charCodeAt(0));
  dataTransfer.items.add(new File([bytes], "photo.jpg", { type: "image/jpeg" }));
  const drop = new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
  document.querySelector("#photo [aria-dropeffect]").dispatchEvent(drop);
  return answered;
}"""
_CLICK = """([button, place, wanted]) => {
  const shown = wait("click", place, wanted);
  document.querySelector(button).click();
  return shown;
}"""
_LIVE = """(seconds) => new Promise((resolve) => {
  const shown = [];
  const watch = new MutationObserver(() => shown.push(performance.now()));
  watch.observe(document.querySelector(".live .heading"), { childList: true });
  setTimeout(() => resolve(shown), 1000 * seconds);
})"""
_FIRST_PAINT = "performance.getEntriesByName('first-paint')[0].startTime"


def main() -> int:
    settings = Settings()
    configure_environment(settings)
    if not CHROMIUM.exists():
        print(f"error: {CHROMIUM} is missing; on Debian: apt-get install chromium", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="bench-page-") as folder:
        try:
            served(settings)
            server = _server(settings, Path(folder))
            server.start()
        except (StoreError, StartError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        try:
            waits = measured(server.url, [path.read_bytes() for path in photos(Path(folder), PHOTOS + 1)])
        finally:
            server.stop()
    print(f"{machine()}, {engine()}\n\n{'milliseconds':<38}{'median':>8}{'worst':>8}{'of':>5}")
    for name, values in waits.items():
        print(f"{name:<38}{statistics.median(values):>8.0f}{max(values):>8.0f}{len(values):>5}")
    print()
    print("\n".join(targets(waits)))
    return 0


def targets(waits: Waits) -> Iterator[str]:
    """A line per target; each is for the worst of its waits."""
    for name, kinds, wanted in (
        ("page_first_paint", (COLD, WARM), 2000),
        ("page_classify", (DROP, DROP_LARGE, DRAWING), 500),
        ("page_heat_map", (WHY,), 300),
        ("page_live", (LIVE,), 1000),
    ):
        worst = max(max(waits[kind]) for kind in kinds)
        yield target(name, f"{worst:.0f} ms at worst", f"< {wanted} ms", worst < wanted)


def measured(url: str, small: list[bytes]) -> Waits:
    """Milliseconds of every wait, by name, on the page of the service at ``url``; the first photo warms up."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        try:
            waits = _openings(browser, url)
            with browser.new_context() as context:
                page = context.new_page()
                _open(page, url)
                waits |= _questions(page, small)
                waits[DROP_LARGE] = [_drop(page, photo) for photo in _large_photos()][1:]
                waits[LIVE] = _live(page)
        finally:
            browser.close()
    return waits


def _openings(browser: Browser, url: str) -> Waits:
    """Each time by a browser that has never seen the page, then once more by the same."""
    waits: Waits = {COLD: [], COLD_READY: [], WARM: [], WARM_READY: []}
    for number in range(OPENINGS + 1):
        with browser.new_context() as context:
            for paint, ready in ((COLD, COLD_READY), (WARM, WARM_READY)):
                page = context.new_page()
                _open(page, url)
                if number:  # the first time warms up
                    waits[paint].append(page.evaluate(_FIRST_PAINT))
                    waits[ready].append(page.evaluate("readyAt"))
                page.close()
    return waits


def _open(page: Page, url: str) -> None:
    page.add_init_script(_WATCH)
    page.goto(f"{url}/ui/")
    page.wait_for_selector("#models p")


def _questions(page: Page, photos: list[bytes]) -> Waits:
    """A photo dropped and explained, a drawing clicked; in turns."""
    waits: Waits = {DROP: [], DRAWING: [], WHY: []}
    for photo in photos:
        waits[DROP].append(_drop(page, photo))
        waits[WHY].append(page.evaluate(_CLICK, ["#why", "#heat", "figure, .plain"]))
        waits[DRAWING].append(page.evaluate(_CLICK, ["#example-ship", "#answer", ".sentence"]))
        page.wait_for_selector("#seen img")
    return {name: values[1:] for name, values in waits.items()}


def _drop(page: Page, photo: bytes) -> float:
    milliseconds = page.evaluate(_DROP, base64.b64encode(photo).decode())
    page.wait_for_selector("#seen img")
    return float(milliseconds)


def _large_photos() -> Iterator[bytes]:
    """JPEG photos of `LARGE`, some 2 MB each, the same in every run; one more to warm up."""
    rng = np.random.default_rng(1)
    for _ in range(LARGE_PHOTOS + 1):
        coarse = Image.fromarray(rng.integers(0, 256, (375, 500, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        coarse.resize(LARGE, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        yield buffer.getvalue()


def _live(page: Page) -> list[float]:
    """The gaps between the answers of the live tab."""
    page.get_by_role("tab", name="Live").click()
    page.wait_for_selector(".live .heading")
    shown = page.evaluate(_LIVE, LIVE_SECONDS)
    return [float(gap) for gap in np.diff(shown)]


def _server(settings: Settings, folder: Path) -> Server:
    """The service over an empty folder with the store of ``settings``; not started."""
    port, bentoml = free_port(), str(Path(sys.executable).with_name("bentoml"))
    environment = {"BENTOML_HOME": str(settings.bentoml_home), "CIFAR_VAR": str(folder)}
    return Server(
        "the service", [bentoml, "serve", "service:Cifar", "--port", str(port)], environment, port, folder / "log"
    )


if __name__ == "__main__":
    raise SystemExit(main())
