"""The page in a real browser, over a double of the API that answers from the bytes it is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, Response, Route, expect

from tests.ui.conftest import (
    PATIENCE,
    PHONE,
    SIZES,
    ColorApi,
    Server,
    browser_marks,
    faulty_camera,
    fits,
    is_of_the_camera,
    loaded,
    nameless,
    png,
    settled,
    until,
    upload,
    visit,
)
from ui.texts import ENGLISH, SOMETHING_ELSE

pytestmark = browser_marks

_UNPLUGGED = """
const film = MediaDevices.prototype.getUserMedia;
MediaDevices.prototype.getUserMedia = async function (wanted) {
  if (window.plugged) return film.call(this, wanted);
  throw new DOMException("", "NotFoundError");
};
"""


_OVER_EACH_OTHER = """() => {
  const [photo, map] = document.querySelectorAll("#heat img");
  return JSON.stringify(map.getBoundingClientRect()) === JSON.stringify(photo.getBoundingClientRect());
}"""

_SLOW_CAMERA = """
const film = MediaDevices.prototype.getUserMedia;
MediaDevices.prototype.getUserMedia = async function (wanted) {
  const stream = await film.call(this, wanted);
  if (!window.given) await new Promise((give) => (window.give = give));
  return stream;
};
"""

_NOTE_FAULTS = """() => {
  const answer = document.querySelector(".live .answer");
  window.faults = [];
  new MutationObserver(() => {
    for (const fault of answer.querySelectorAll(".error")) window.faults.push(fault.textContent);
  }).observe(answer, { childList: true });
}"""


@pytest.fixture(scope="module")
def api() -> ColorApi:
    return ColorApi()


@pytest.fixture(scope="module")
def server(api: ColorApi) -> Iterator[Server]:
    with Server(api) as running:
        yield running


@pytest.fixture(autouse=True)
def fresh(api: ColorApi) -> None:
    """Also for the tests that open a page of their own."""
    api.reset()


@pytest.fixture
def page(browser: Browser, server: Server, api: ColorApi, request: pytest.FixtureRequest) -> Iterator[Page]:
    with visit(browser, server.url, request.node.name, **getattr(request, "param", {})) as page:
        api.reset()  # once more, now that whatever the last page sent has come
        yield page


@SIZES
def test_upload_then_right(page: Page, api: ColorApi) -> None:
    for part in ("why", "right", "choices", "classify"):
        expect(page.locator(f"#{part}")).to_be_hidden()  # nothing to press before there is an answer
    photo = png((220, 40, 40))
    upload(page, photo)
    expect(page.locator("#answer .sentence")).to_have_text("A cat, 93 % sure")
    expect(page.locator("#answer .bars li")).to_have_count(5)
    expect(page.locator("#answer .bars li").first).to_contain_text("Cat")
    assert api.images == [photo], "the very bytes, once"
    page.locator("#right").click()
    expect(page.locator("#status")).to_have_text(f"{ENGLISH.said_right} {ENGLISH.stored.format(id=1)}")
    assert api.verdicts == [(hashlib.sha256(photo).hexdigest()[:12], True, None)]
    assert fits(page)


def test_one_click_stores_a_class_of_the_list(page: Page, api: ColorApi) -> None:
    upload(page, png((10, 20, 200)))
    expect(page.locator("#answer .sentence")).to_have_text("A ship, 93 % sure")
    choices = page.locator("#choices [role=group] button")
    expect(choices).to_have_count(10)  # all but the answer, and none of them
    *classes, last = choices.all_inner_texts()
    assert (classes, last) == (sorted(classes), ENGLISH.something_else)
    page.get_by_role("button", name="Truck").click()
    expect(page.locator("#status")).to_have_text("You said: it is a truck. Stored as record 1. Thank you.")
    assert [verdict[1:] for verdict in api.verdicts] == [(False, "truck")]


@SIZES
def test_a_new_class_by_keyboard(page: Page, api: ColorApi) -> None:
    upload(page, png((230, 40, 40)))
    expect(page.locator("#right")).to_be_visible()
    page.get_by_role("button", name=ENGLISH.something_else).focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#status .error")).to_have_text(ENGLISH.name_first)
    page.keyboard.type(" bicycle ")
    page.keyboard.press("Enter")
    expect(page.locator("#status .done")).to_contain_text("the class “bicycle”")
    page.get_by_label(ENGLISH.new_class).fill("tram")
    page.get_by_role("button", name=ENGLISH.wrong).click()
    expect(page.locator("#status .done")).to_contain_text("the class “tram”")
    assert [verdict[1:] for verdict in api.verdicts] == [(False, "bicycle"), (False, "tram")]


@SIZES
def test_something_else_is_one_click_and_undo_takes_it_back(page: Page, api: ColorApi) -> None:
    photo = png((235, 40, 40))
    upload(page, photo)
    expect(page.locator("#undo")).to_have_count(0)
    page.get_by_role("button", name=ENGLISH.something_else).click()
    expect(page.locator("#status .done")).to_have_text("You said: it is something else. Stored as record 1. Thank you.")
    assert [verdict[1:] for verdict in api.verdicts] == [(False, SOMETHING_ELSE)]
    api.feedback_fails = True
    page.locator("#undo").click()
    expect(page.locator("#status .error")).to_contain_text("not available")
    assert api.withdrawn == []
    api.feedback_fails = False
    page.locator("#undo").click()
    expect(page.locator("#status .done")).to_have_text(ENGLISH.withdrawn)
    expect(page.locator("#undo")).to_have_count(0)
    assert api.withdrawn == [hashlib.sha256(photo).hexdigest()[:12]]


@pytest.mark.parametrize("page", [{}, PHONE, {"color_scheme": "dark"}], indirect=True, ids=["desk", "phone", "dark"])
def test_why(page: Page) -> None:
    expect(page.locator("#why")).to_be_hidden()
    upload(page, png((220, 40, 40)))
    expect(page.locator("#seen img")).to_have_js_property("naturalWidth", 32)
    page.locator("#why").click()
    sentence = "It looked most at the upper right to find a cat."
    expect(page.locator("#heat figcaption")).to_contain_text(sentence)
    over = page.locator("#heat .map")
    expect(over).to_have_attribute("alt", sentence)
    expect(page.locator("#heat img").first).to_have_js_property("naturalWidth", 320)  # the photo itself
    page.wait_for_function(_OVER_EACH_OTHER)
    assert fits(page)


@SIZES
def test_live(page: Page, api: ColorApi) -> None:
    page.get_by_role("tab", name=ENGLISH.live_tab).click()
    expect(page.locator(".live .sentence")).to_have_text("A cat, 93 % sure")
    expect(page.locator(".live .forgotten")).to_be_visible()
    expect(page.locator(".live .spoken")).to_have_text("A cat, 93 % sure")
    page.evaluate("window.bar = document.querySelector('.live .bars i')")
    until(page, lambda: len(api.frames) >= 4)
    api.sure = 0.5
    expect(page.locator(".live .sentence")).to_have_text("A cat, 50 % sure")
    assert page.evaluate("window.bar.isConnected && window.bar.style.width") == "50%", "the same bar has moved"
    assert api.images == [], "nothing but live pictures is asked for"
    assert is_of_the_camera(api.frames[0]), "the first picture too, the right way round"
    assert fits(page)
    page.get_by_role("button", name=ENGLISH.pause).click()
    page.wait_for_function("!document.querySelector('.live video').srcObject")
    taken = len(api.frames)
    page.wait_for_timeout(600)
    assert len(api.frames) <= taken + 1
    page.get_by_role("button", name=ENGLISH.go_on).click()
    until(page, lambda: len(api.frames) > taken + 1)
    page.get_by_role("tab", name=ENGLISH.classify_tab).click()
    page.wait_for_function("!document.querySelector('.live video').srcObject")
    page.get_by_role("tab", name=ENGLISH.live_tab).click()
    page.wait_for_function("document.querySelector('.live video').videoWidth > 0")


def test_live_says_what_is_wrong_and_goes_on(page: Page, api: ColorApi) -> None:
    api.gone = True
    page.get_by_role("tab", name=ENGLISH.live_tab).click()
    expect(page.locator(".live .answer .error")).to_have_text(ENGLISH.problems["unreachable"])
    api.gone = False
    expect(page.locator(".live .sentence")).to_be_visible()


def test_live_paused_while_the_camera_starts_goes_on(
    browser: Browser, server: Server, request: pytest.FixtureRequest
) -> None:
    """A camera that is closed before its first picture leaves no fault behind, and nothing waits for it."""
    with visit(browser, server.url, request.node.name, before=_SLOW_CAMERA) as page:
        page.get_by_role("tab", name=ENGLISH.live_tab).click()
        page.wait_for_function("!!window.give")
        page.evaluate(_NOTE_FAULTS)
        page.get_by_role("button", name=ENGLISH.pause).click()
        page.get_by_role("button", name=ENGLISH.go_on).click()
        page.evaluate("() => { window.given = true; window.give(); }")
        expect(page.locator(".live .sentence")).to_have_text("A cat, 93 % sure")
        assert page.evaluate("window.faults") == []


@SIZES
def test_live_without_a_camera(page: Page, api: ColorApi) -> None:
    faulty_camera(page, "NotAllowedError")
    page.get_by_role("tab", name=ENGLISH.live_tab).click()
    for name in ("NotAllowedError", "NotFoundError", "AbortError"):
        faulty_camera(page, name)  # each try looks for a camera anew
        sentence = ENGLISH.camera_faults.get(name, ENGLISH.live_failed)
        expect(page.locator(".live .answer .error")).to_have_text(sentence)
    assert api.frames == []


@SIZES
def test_failing_feedback_is_told(page: Page, api: ColorApi) -> None:
    api.feedback_fails = True
    upload(page, png((240, 40, 40)))
    page.locator("#right").click()
    expect(page.locator("#undo")).to_have_count(0)
    expect(page.locator("#status .error")).to_have_text("The feedback store is not available. " + ENGLISH.advice[503])
    api.feedback_fails = False
    page.locator("#right").click()
    expect(page.locator("#status .done")).to_be_visible()


@pytest.mark.parametrize(
    ("answer", "sentence", "options"),
    [
        (None, ENGLISH.problems["unreachable"], {}),
        (None, ENGLISH.problems["unreachable"], PHONE),
        (401, ENGLISH.signed_out, {}),
    ],
    ids=["gone-desk", "gone-phone", "signed out"],
)
def test_a_page_that_is_cut_off_says_what_to_do(
    browser: Browser,
    server: Server,
    request: pytest.FixtureRequest,
    answer: int | None,
    sentence: str,
    options: dict[str, Any],
) -> None:
    with visit(browser, server.url, request.node.name, forgiven=("Failed to load resource",), **options) as page:
        upload(page, png((210, 40, 40)))
        expect(page.locator("#right")).to_be_visible()

        def cut_off(route: Route) -> None:
            if answer is None:
                route.abort()
            else:
                route.fulfill(status=answer, body='{"error": {"code": "unauthorised", "message": "no"}}')

        page.route("**/gradio_api/**", cut_off)
        page.locator("#right").click()
        expect(page.get_by_role("alert").filter(has_text=sentence)).to_be_visible()
        page.evaluate("window.cutOff = true")
        page.unroute("**/gradio_api/**")
        if answer is None:  # Gradio loads the page anew
            page.wait_for_function("!window.cutOff")
            loaded(page)
        else:
            page.locator("#right").click()
            expect(page.locator("#status .done")).to_be_visible()
        expect(page.locator("#cut-off")).to_be_hidden()


def test_a_token_that_holds_no_longer_is_told_where_a_photo_is_given(
    browser: Browser, server: Server, api: ColorApi, request: pytest.FixtureRequest
) -> None:
    """Whatever the browser sends, live pictures and uploads too, is refused once the token has run out."""
    with visit(browser, server.url, request.node.name, forgiven=("Failed to load resource", "Response")) as page:
        refused = '{"error": {"code": "unauthorised", "message": "no"}}'
        ways = ("**/ui/live", "**/gradio_api/upload**")
        for way in ways:
            page.route(way, lambda route: route.fulfill(status=401, body=refused, content_type="application/json"))
        told = page.get_by_role("alert").filter(has_text=ENGLISH.signed_out)
        page.get_by_role("tab", name=ENGLISH.live_tab).click()
        expect(page.locator(".live .answer .error")).to_have_text(ENGLISH.signed_out)
        expect(told).to_be_visible()
        page.unroute(ways[0])
        expect(page.locator(".live .sentence")).to_be_visible()  # signed in again, elsewhere: it goes on
        expect(told).to_be_hidden()
        page.get_by_role("tab", name=ENGLISH.classify_tab).click()
        page.wait_for_function("!document.querySelector('.live video').srcObject")
        upload(page, png((220, 40, 40)))
        expect(told).to_be_visible()
        assert api.images == []
        page.unroute(ways[1])
        page.reload()  # as the sentence says
        loaded(page)
        upload(page, png((220, 40, 40)))
        expect(page.locator("#answer .sentence")).to_have_text("A cat, 93 % sure")


@SIZES
def test_refused_answer(page: Page, api: ColorApi) -> None:
    upload(page, png((30, 180, 20)))
    expect(page.locator("#answer .sentence")).to_have_text("I don’t know this. My best guess would be a cat.")
    expect(page.locator("#answer .reason")).to_contain_text("1 %")
    expect(page.locator("#question")).to_contain_text(ENGLISH.was_refusing_right)
    expect(page.locator("#right")).to_have_text(ENGLISH.right_to_refuse)
    expect(page.locator("#choices [role=group] button")).to_have_count(10)
    expect(page.get_by_role("button", name=ENGLISH.something_else)).to_have_count(0)  # that is what "right" says
    page.locator("#choices [role=group] button").first.click()
    expect(page.locator("#status .done")).to_be_visible()
    assert [verdict[1:] for verdict in api.verdicts] == [(False, "cat")], "the best guess comes first"
    assert fits(page)


@SIZES
def test_what_is_no_image_is_told(page: Page) -> None:
    upload(page, b"not a picture at all", "photo.png")
    expect(page.locator("#answer .error")).to_have_text("The file is not an image. " + ENGLISH.advice[400])
    expect(page.locator("#right")).to_be_hidden()


@SIZES
def test_a_new_photo_forgets_the_old_answer(page: Page, api: ColorApi) -> None:
    upload(page, png((220, 50, 40)))
    page.locator("#right").click()
    expect(page.locator("#status .done")).to_be_visible()
    page.locator("#why").click()
    expect(page.locator("#heat figcaption")).to_be_visible()
    page.locator("#example-ship").click()
    expect(page.locator("#answer .sentence")).to_contain_text("A ship")
    for part in ("status", "heat"):
        expect(page.locator(f"#{part}")).to_have_text("")
    expect(page.locator("#undo")).to_have_count(0)
    assert len(api.images) == 2
    page.get_by_role("button", name="Remove Image").click()
    expect(page.locator("#answer")).to_have_text(ENGLISH.waiting)
    expect(page.locator("#right")).to_be_hidden()


def answers(page: Page) -> list[Response]:
    """What the page's events are answered from now on."""
    answered: list[Response] = []
    page.on("response", lambda answer: answered.append(answer) if answer.url.endswith("/run/predict") else None)
    return answered


def test_a_preview_that_comes_after_its_photo_has_gone_is_not_shown(page: Page, api: ColorApi) -> None:
    answered = answers(page)
    api.held = True
    upload(page, png((220, 50, 40)))
    expect(page.locator("#answer .sentence")).to_contain_text("A cat")
    page.get_by_role("button", name="Remove Image").click()
    until(page, lambda: len(answered) == 2)  # of the photo, and of none
    expect(page.locator("#answer")).to_have_text(ENGLISH.waiting)
    api.held = False
    until(page, lambda: len(answered) == 4)  # their previews
    settled(page)
    expect(page.locator("#seen")).to_be_empty()


@pytest.mark.parametrize(("button", "place"), [("why", "heat"), ("right", "status")])
def test_what_comes_when_another_photo_is_there_is_not_shown(
    page: Page, api: ColorApi, button: str, place: str
) -> None:
    """It would be read as being about that one."""
    upload(page, png((220, 50, 40)))
    expect(page.locator("#seen img")).to_be_visible()
    answered = answers(page)
    api.held = True
    page.locator(f"#{button}").click()
    page.locator("#example-ship").click()
    expect(page.locator("#answer .sentence")).to_contain_text("A ship")
    until(page, lambda: len(answered) == 2)  # the example, and what it is
    api.held = False
    until(page, lambda: len(answered) == 4)  # what was asked of the photo before, and the example's preview
    settled(page)
    expect(page.locator(f"#{place}")).to_be_empty()
    expect(page.locator("#undo")).to_have_count(0)


def test_a_page_that_the_server_has_forgotten_says_so(page: Page, api: ColorApi) -> None:
    """As an hour after a computer went to sleep; the answer that it shows belongs to nothing."""
    upload(page, png((220, 50, 40)))
    expect(page.locator("#right")).to_be_visible()

    def from_another(route: Route) -> None:
        route.continue_(post_data=route.request.post_data_json | {"session_hash": "another"})

    page.route("**/run/predict", from_another)
    page.locator("#right").click()
    expect(page.locator("#status .error")).to_have_text(ENGLISH.give_again)
    assert api.verdicts == []
    page.unroute("**/run/predict")
    upload(page, png((220, 50, 41)))
    page.locator("#right").click()
    expect(page.locator("#status .done")).to_be_visible()


@SIZES
def test_what_failed_can_be_tried_again(page: Page, api: ColorApi) -> None:
    api.gone = True
    upload(page, png((220, 50, 40)))
    expect(page.locator("#answer .error")).to_have_text(ENGLISH.problems["unreachable"])
    api.gone = False
    page.get_by_role("button", name=ENGLISH.classify).click()
    expect(page.locator("#answer .sentence")).to_contain_text("A cat")
    expect(page.locator("#classify")).to_be_hidden()


@SIZES
def test_webcam(page: Page, api: ColorApi) -> None:
    upload(page, png((10, 20, 200)))
    expect(page.locator("#answer .sentence")).to_contain_text("A ship")
    page.get_by_label("Capture from camera").click()
    expect(page.locator("#answer")).to_have_text(ENGLISH.waiting)
    page.get_by_title("grant webcam access").click()
    page.wait_for_function("document.querySelector('#photo video')?.currentTime > 0")  # before, it is black
    page.get_by_title("capture photo").click()
    expect(page.locator("#answer .sentence")).to_contain_text("A cat")
    assert is_of_the_camera(api.images[-1]), "captured without loss, not mirrored"


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("name", ["NotAllowedError", "NotFoundError"])
def test_a_camera_that_is_refused_or_missing_is_told(
    browser: Browser, server: Server, request: pytest.FixtureRequest, name: str, options: dict[str, Any]
) -> None:
    """Gradio's own camera says nothing: the page does, and the next click looks for a camera anew."""
    refused = name == "NotAllowedError"
    fault: dict[str, Any] = {"permissions": []} if refused else {"before": _UNPLUGGED}
    with visit(browser, server.url, request.node.name, **options, **fault) as page:
        told = page.get_by_role("alert")
        page.get_by_label("Capture from camera").click()
        page.get_by_title("grant webcam access").click()
        expect(told).to_have_text(ENGLISH.camera_faults[name])
        assert fits(page)
        page.context.grant_permissions(["camera"])
        page.evaluate("window.plugged = true")
        page.get_by_title("grant webcam access").click()
        expect(page.get_by_title("capture photo")).to_be_visible()
        expect(told).to_be_hidden()


def test_a_camera_that_an_insecure_page_does_not_get_is_told(
    browser: Browser, server: Server, request: pytest.FixtureRequest
) -> None:
    nothing = "Object.defineProperty(navigator, 'mediaDevices', { value: undefined, configurable: true })"
    with visit(browser, server.url, request.node.name, before=nothing) as page:
        held: list[Route] = []
        page.route("**/held", lambda route: held.append(route))
        page.evaluate("() => { fetch('held').then(() => (window.answered = true)) }")
        page.get_by_label("Capture from camera").click()
        page.get_by_title("grant webcam access").click()
        told = page.get_by_role("alert")
        expect(told).to_have_text(ENGLISH.camera_faults["SecurityError"])
        until(page, lambda: len(held) == 1)
        held[0].fulfill(status=200)
        page.wait_for_function("window.answered")
        expect(told).to_be_visible()  # what was asked before the fault does not take it away
        page.evaluate("() => fetch('config').then((answer) => answer.text())")
        expect(told).to_be_visible()  # nor what the page asks by itself
        page.locator("#example-ship").click()
        expect(told).to_be_hidden()


@pytest.mark.parametrize("page", [{"color_scheme": "dark"}], indirect=True, ids=["dark"])
def test_dark(page: Page) -> None:
    upload(page, png((220, 70, 40)))
    expect(page.locator("#answer .sentence")).to_be_visible()
    light = page.evaluate("getComputedStyle(document.querySelector('#answer .sentence')).color")
    assert min(int(part) for part in light.strip("rgb()").split(",")) > 180


def test_controls_have_names_and_regions_speak(page: Page) -> None:
    assert nameless(page, "button:visible, input:visible, textarea:visible") == []
    for region in ("answer", "status"):
        expect(page.locator(f"#{region}")).to_have_attribute("aria-live", "polite")
    assert page.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize("path", [__file__, "/etc/passwd", "http://127.0.0.1:9/a.png", "https://example.com/a.png"])
def test_the_page_reads_no_file_but_uploads(server: Server, path: str) -> None:
    """A forged path instead of an upload is refused before our code sees it (events run with preprocess=False)."""
    config = httpx.get(f"{server.url}/ui/config", timeout=PATIENCE).json()
    [photo] = [component["id"] for component in config["components"] if component["type"] == "image"]
    readers = [event for event in config["dependencies"] if event["backend_fn"] and photo in event["inputs"]]
    assert len(readers) == 3, "the events that are handed the photo"
    for reader in readers:
        forged = {"path": path, "meta": {"_type": "gradio.FileData"}}
        answer = httpx.post(
            f"{server.url}/ui/gradio_api/run/predict",
            json={
                "data": [forged if number == photo else None for number in reader["inputs"]],
                "fn_index": reader["id"],
                "session_hash": "forged",
            },
            timeout=PATIENCE,
        )
        assert answer.status_code == 500
        assert "not uploaded by a user" in answer.text


def test_served_html_names_no_foreign_script_font_or_style(server: Server) -> None:
    html = httpx.get(f"{server.url}/ui/", timeout=PATIENCE).text
    for word in ("googleapis", "gstatic", "cdnjs", "cdn.jsdelivr", "unpkg", "google-analytics"):
        assert word not in html
