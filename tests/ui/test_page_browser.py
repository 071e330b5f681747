"""The page in a real browser, over a double of the API that answers from the bytes it is sent."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.ui.conftest import ColorApi, Server, browser_marks, png, visit
from ui.texts import ENGLISH

pytestmark = browser_marks


@pytest.fixture(scope="module")
def api() -> ColorApi:
    return ColorApi()


@pytest.fixture(scope="module")
def server(api: ColorApi) -> Iterator[Server]:
    with Server(api) as running:
        yield running


@pytest.fixture
def page(browser: Browser, server: Server, api: ColorApi, request: pytest.FixtureRequest) -> Iterator[Page]:
    api.images.clear()
    api.verdicts.clear()
    api.feedback_fails = False
    with visit(browser, server.url, request.node.name, **getattr(request, "param", {})) as page:
        yield page


def upload(page: Page, data: bytes, name: str = "photo.png", mime: str = "image/png") -> None:
    page.locator("#photo input[type=file]").set_input_files({"name": name, "mimeType": mime, "buffer": data})


def until(page: Page, reached: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end
        page.wait_for_timeout(50)


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
    page.locator("#classify").click()
    until(page, lambda: len(api.images) == 3)  # the answer reads the same as before, so the page cannot tell
    expect(page.locator("#answer .sentence")).to_contain_text("A ship")
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
