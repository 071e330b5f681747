"""The owner's corner in a real browser: a burst from a camera of known colour, who sees the tab, and what is told."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.resources import files
from typing import Any

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, Error, Page, Response, Route, expect

from http_api import new_app
from settings import Settings
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
    open_tab,
    until,
    visit,
)
from tests.ui.owner import FOLDER, FakeOwner
from ui.texts import ENGLISH

pytestmark = browser_marks


class OwnerColorApi(ColorApi, FakeOwner):
    """Both APIs in one."""

    def __init__(self, settings: Settings | None = None) -> None:
        FakeOwner.__init__(self, settings)

    def reset(self) -> None:
        ColorApi.reset(self)
        FakeOwner.reset(self)


@pytest.fixture(scope="module")
def api() -> OwnerColorApi:
    return OwnerColorApi()


@pytest.fixture(scope="module")
def server(api: OwnerColorApi) -> Iterator[Server]:
    with Server(api, owner=api) as running:
        yield running


@pytest.fixture
def page(browser: Browser, server: Server, api: OwnerColorApi, request: pytest.FixtureRequest) -> Iterator[Page]:
    with visit(browser, server.url, request.node.name, **getattr(request, "param", {})) as page:
        api.reset()  # now that whatever the last page sent has come
        yield page


def wait_for_camera(page: Page) -> None:
    page.wait_for_function("document.querySelector('#camera video')?.videoWidth > 0")


def choose(page: Page, name: str, count: int) -> None:
    page.locator("#capture-name input").fill(name)
    page.locator("#capture-count input[type=number]").fill(str(count))
    page.locator("#capture-count input[type=number]").press("Tab")


@pytest.mark.parametrize("page", [{}, PHONE, {"color_scheme": "dark"}], indirect=True, ids=["desk", "phone", "dark"])
def test_a_burst(page: Page, api: OwnerColorApi) -> None:
    open_tab(page, ENGLISH.data_tab)
    wait_for_camera(page)
    choose(page, " mug ", 6)
    held: list[tuple[float, Route]] = []  # till all has been looked at that is there only while a burst is taken
    page.route(re.compile(r"/gradio_api/upload\b"), lambda route: held.append((time.monotonic(), route)))
    start = time.monotonic()
    page.locator("#take-burst").click()
    expect(page.locator("#capture-status .busy")).to_have_text(ENGLISH.taking)
    expect(page.locator("#taken progress")).to_be_visible()
    expect(page.locator("#take-burst")).to_be_disabled()
    until(page, lambda: len(held) == 6)
    assert held[0][0] - start >= 5 * 0.2
    for _, route in held:
        route.continue_()
    done = page.locator("#capture-status .done")
    expect(done).to_have_text(ENGLISH.captured.format(photos="6 photos", folder=FOLDER))
    expect(page.locator("#capture-status pre")).to_have_text("  mug: captured/mug", use_inner_text=True)
    expect(page.locator("#taken progress")).to_be_hidden()
    expect(page.locator("#take-burst")).to_be_enabled()
    expect(page.locator("#taken img")).to_have_count(6)
    for picture in page.locator("#taken img").all():
        expect(picture).to_have_js_property("naturalWidth", 320)
    expect(page.locator("#taken img").last).to_have_attribute("alt", ENGLISH.photo_number.format(number=6))
    [(label, photos)] = api.bursts
    assert (label, len(photos)) == ("mug", 6)
    for photo in photos:
        with Image.open(io.BytesIO(photo)) as image:
            assert image.size == (320, 240)
        assert is_of_the_camera(photo)
    assert fits(page)


def test_a_second_burst_replaces_the_first_ones_pictures(page: Page, api: OwnerColorApi) -> None:
    open_tab(page, ENGLISH.data_tab)
    for count in (4, 2):
        choose(page, "mug", count)
        page.locator("#take-burst").click()
        told = ENGLISH.captured.format(photos=f"{count} photos", folder=FOLDER)
        expect(page.locator("#capture-status .done")).to_have_text(told)
        expect(page.locator("#taken img")).to_have_count(count)
    assert [len(photos) for _, photos in api.bursts] == [4, 2]


def test_without_a_name_nothing_is_taken(page: Page, api: OwnerColorApi) -> None:
    open_tab(page, ENGLISH.data_tab)
    page.locator("#capture-name input").fill("  ")
    page.locator("#take-burst").click()
    expect(page.locator("#capture-status .error")).to_have_text(ENGLISH.capture_name_first)
    expect(page.locator("#take-burst")).to_be_enabled()
    expect(page.locator("#taken img")).to_have_count(0)
    assert api.bursts == []


def test_what_the_service_refuses_is_told(page: Page) -> None:
    open_tab(page, ENGLISH.data_tab)
    choose(page, "unknown", 2)
    page.locator("#take-burst").click()
    expect(page.locator("#capture-status .error")).to_contain_text("photos of no class")
    expect(page.locator("#take-burst")).to_be_enabled()


def test_known_classes_are_suggested(page: Page) -> None:
    open_tab(page, ENGLISH.data_tab)
    expect(page.locator("#capture-name input")).to_have_attribute("list", "known-classes")
    options = page.locator("datalist#known-classes option")
    expect(options).to_have_count(10)
    assert options.first.get_attribute("value") == "airplane"


def test_known_classes_are_suggested_though_the_field_comes_late(page: Page) -> None:
    """Over a slow connection the tab may be opened before the script of its field has come."""
    scripts = (files("gradio") / "templates" / "frontend" / "assets").iterdir()
    late = {s.name for s in scripts if s.name.endswith(".js") and 'data-testid="textbox"' in s.read_text("utf-8")}
    held: list[Route] = []
    page.route(lambda url: url.rpartition("/")[2] in late, lambda route: held.append(route))
    page.reload()
    loaded(page)
    open_tab(page, ENGLISH.data_tab)
    expect(page.locator("#take-burst")).to_be_visible()
    expect(page.locator("#capture-name input")).to_have_count(0)
    for route in held:
        route.continue_()
    expect(page.locator("#capture-name input")).to_have_attribute("list", "known-classes")
    expect(page.locator("datalist#known-classes option")).to_have_count(10)


def test_the_camera_is_on_only_while_its_tab_is_open(page: Page) -> None:
    assert page.evaluate("document.querySelector('#camera video')?.srcObject ?? null") is None
    open_tab(page, ENGLISH.data_tab)
    wait_for_camera(page)
    page.evaluate("window.stream = document.querySelector('#camera video').srcObject")
    page.get_by_role("tab", name=ENGLISH.classify_tab).click()
    page.wait_for_function("!window.stream.active && !document.querySelector('#camera video').srcObject")
    open_tab(page, ENGLISH.data_tab)
    wait_for_camera(page)


@SIZES
def test_a_camera_that_fails_is_told(page: Page, api: OwnerColorApi) -> None:
    faulty_camera(page, "NotAllowedError")
    open_tab(page, ENGLISH.data_tab)
    expect(page.locator("#camera .error")).to_have_text(ENGLISH.camera_faults["NotAllowedError"])
    choose(page, "mug", 2)
    for name in (*ENGLISH.camera_faults, "AbortError"):
        faulty_camera(page, name)
        page.evaluate("document.querySelector('#camera .error').textContent = ''")  # what was told before
        page.locator("#take-burst").click()  # looks for a camera anew
        sentence = ENGLISH.camera_faults.get(name, ENGLISH.camera_failed)
        expect(page.locator("#camera .error")).to_have_text(sentence)
        expect(page.locator("#capture-status [role=status]")).to_be_empty()
        expect(page.locator("#take-burst")).to_be_enabled()
    assert api.bursts == []


def test_a_camera_that_goes_away_is_told(page: Page, api: OwnerColorApi) -> None:
    open_tab(page, ENGLISH.data_tab)
    wait_for_camera(page)
    choose(page, "mug", 60)
    page.locator("#take-burst").click()
    expect(page.locator("#taken img")).not_to_have_count(0)
    page.evaluate("document.querySelector('#camera video').srcObject.getTracks().forEach(track => track.stop())")
    expect(page.locator("#camera .error")).to_have_text(ENGLISH.camera_faults["NotReadableError"])
    assert api.bursts == []
    choose(page, "mug", 2)
    page.locator("#take-burst").click()
    expect(page.locator("#capture-status .done")).to_be_visible()


def test_controls_of_the_tab_have_names(page: Page) -> None:
    open_tab(page, ENGLISH.data_tab)
    expect(page.locator("#take-burst")).to_be_visible()
    assert nameless(page, "#capture :is(button, input, textarea, video):visible") == []
    expect(page.locator("#capture-status [role=status]")).to_have_attribute("aria-live", "polite")


def hides_the_tabs(answer: Response) -> bool:
    """Whether this is what a page that was opened by no owner is told; a stream of events would never end."""
    if not answer.url.endswith("/run/predict"):
        return False
    with suppress(Error):  # what the page before the reload was answered may be gone
        return '"visible":false' in answer.text().replace(" ", "")
    return False


@pytest.mark.parametrize(("password", "seen"), [("the owner's", True), ("a caller's", False)], ids=["owner", "caller"])
def test_with_tokens_the_tab_is_for_who_signs_in_with_the_owners(
    browser: Browser, request: pytest.FixtureRequest, password: str, seen: bool
) -> None:
    settings = Settings(api_tokens=("a caller's",), owner_token="the owner's")
    api = OwnerColorApi(settings)
    sign_in = {"http_credentials": {"username": "me", "password": password}}
    with (
        Server(api, new_app(settings), api) as server,
        visit(browser, server.url, request.node.name, **sign_in) as page,
    ):
        if seen:
            open_tab(page, ENGLISH.data_tab)
            choose(page, "mug", 2)
            page.locator("#take-burst").click()
            expect(page.locator("#capture-status .done")).to_be_visible()
        else:
            with page.expect_response(hides_the_tabs):
                page.reload()
            expect(page.get_by_role("tab", name=ENGLISH.classify_tab)).to_be_visible()
            expect(page.get_by_role("tab", name=ENGLISH.data_tab)).to_have_count(0)
    assert len(api.bursts) == seen


def event(server: Server, data: list[Any], **headers: str) -> httpx.Response:
    """The event that keeps a burst, sent without a browser."""
    base = f"{server.url}/ui"
    config = httpx.get(f"{base}/config", headers=headers, timeout=PATIENCE).json()
    [number] = [e["id"] for e in config["dependencies"] if len(e["inputs"]) == 3 and len(e["outputs"]) == 2]
    body = {"data": data, "fn_index": number, "session_hash": "forged"}
    return httpx.post(f"{base}/gradio_api/run/predict", json=body, headers=headers, timeout=PATIENCE)


def uploaded(server: Server, data: bytes, **headers: str) -> dict[str, Any]:
    address, files = f"{server.url}/ui/gradio_api/upload", {"files": ("0.png", data)}
    answer = httpx.post(address, files=files, headers=headers, timeout=PATIENCE)
    return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}


def test_the_event_is_the_owners_alone() -> None:
    settings = Settings(api_tokens=("a caller's",), owner_token="the owner's")
    api = OwnerColorApi(settings)
    with Server(api, new_app(settings), api) as server:
        for token, bursts in (("a caller's", 0), ("the owner's", 1)):
            sign = {"Authorization": f"Bearer {token}"}
            answer = event(server, ["mug", 2, [uploaded(server, b"photo", **sign)]], **sign)
            assert answer.status_code == 200
            assert (ENGLISH.owner_only in answer.text) == (bursts == 0)
            assert len(api.bursts) == bursts


@pytest.mark.parametrize("path", [__file__, "/etc/passwd", "http://127.0.0.1:9/a.png"])
@pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "gradio.FileData"}}], ids=["bare", "marked"])
def test_the_event_reads_no_file_but_uploads(
    server: Server, api: OwnerColorApi, path: str, meta: dict[str, Any]
) -> None:
    api.bursts.clear()
    answer = event(server, ["mug", 2, [{"path": path, **meta}]])
    assert answer.status_code == 500
    assert api.bursts == []
