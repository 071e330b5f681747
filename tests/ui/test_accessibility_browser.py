"""axe-core finds no serious fault on any tab, on a desk, on a phone, in the dark; and all goes by keyboard alone."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.ui.conftest import PHONE, ColorApi, Server, browser_marks, open_tab, png, settled, until, visit
from tests.ui.owner import FOLDER, FakeOwner
from ui.texts import ENGLISH, SOMETHING_ELSE

pytestmark = browser_marks

AXE = files("axe_playwright_python") / "axe.min.js"
READY = {
    ENGLISH.live_tab: ".live .sentence",
    ENGLISH.review_tab: "#review .cards img",
    ENGLISH.monitor_tab: "#history table",
    ENGLISH.data_tab: "#classes table",
}

# A colour on its way to another may be hard to read: what moves is let come to its end.
CHECK = """async () => {
  const moving = document.getAnimations().filter((one) => one.effect.getComputedTiming().endTime < Infinity);
  await Promise.allSettled(moving.map((one) => one.finished));
  return (await axe.run({ resultTypes: ["violations"] })).violations;
}"""

LOOKS = """element => {
  const { outlineStyle, outlineWidth, outlineColor, boxShadow, borderColor } = getComputedStyle(element);
  return [outlineStyle === "none" ? "" : outlineStyle + outlineWidth + outlineColor, boxShadow, borderColor].join();
}"""


@pytest.fixture(scope="module")
def api() -> ColorApi:
    return ColorApi()


@pytest.fixture(scope="module")
def owner() -> FakeOwner:
    return FakeOwner()


@pytest.fixture(scope="module")
def server(api: ColorApi, owner: FakeOwner) -> Iterator[Server]:
    with Server(api, owner=owner) as running:
        yield running


def faults(page: Page) -> list[str]:
    found: list[dict[str, Any]] = page.evaluate(CHECK)
    return [
        f"{fault['id']}: {[node['target'] for node in fault['nodes']][:3]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("options", [{}, PHONE, {"color_scheme": "dark"}], ids=["desk", "phone", "dark"])
def test_no_tab_has_a_serious_fault(
    browser: Browser, server: Server, request: pytest.FixtureRequest, options: dict[str, Any]
) -> None:
    with visit(browser, server.url, request.node.name, **options) as page:
        page.evaluate(AXE.read_text(encoding="utf-8"))
        assert faults(page) == [], "before a photo"
        photo = {"name": "photo.png", "mimeType": "image/png", "buffer": png((30, 180, 20))}
        page.locator("#photo input[type=file]").set_input_files(photo)
        expect(page.locator("#right")).to_be_visible()
        page.locator("#why").click()
        expect(page.locator("#heat figcaption")).to_be_visible()
        page.locator("#right").click()
        expect(page.locator("#undo")).to_be_visible()
        assert faults(page) == [], ENGLISH.classify_tab
        for tab, ready in READY.items():
            open_tab(page, tab)
            expect(page.locator(ready).first).to_be_visible()
            assert faults(page) == [], tab


def test_the_check_above_finds_faults(browser: Browser, server: Server, request: pytest.FixtureRequest) -> None:
    with visit(browser, server.url, request.node.name) as page:
        page.evaluate(AXE.read_text(encoding="utf-8"))
        page.evaluate(
            "document.querySelector('#intro').innerHTML += '<p style=\"color:#eee;background:#fff\">pale</p>'"
        )
        assert any(fault.startswith("color-contrast") for fault in faults(page))


def go_to(page: Page, target: Locator) -> None:
    """Press Tab until ``target`` has the focus, which one must be able to see."""
    before = target.evaluate(LOOKS)
    for _ in range(100):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            break
    expect(target).to_be_focused()
    until(page, lambda: target.evaluate(LOOKS) != before)


def press(page: Page, key: str, target: Locator) -> None:
    go_to(page, target)
    page.keyboard.press(key)


def test_all_goes_by_keyboard_alone(
    browser: Browser, server: Server, api: ColorApi, owner: FakeOwner, request: pytest.FixtureRequest
) -> None:
    api.verdicts.clear()
    owner.reset()
    with visit(browser, server.url, request.node.name) as page:
        page.on("dialog", lambda dialog: dialog.accept())
        press(page, "Enter", page.locator("#example-ship"))
        expect(page.locator("#answer .sentence")).to_contain_text("A ship")
        press(page, "Enter", page.locator("#why"))
        expect(page.locator("#heat figcaption")).to_be_visible()
        press(page, "Space", page.locator("#right"))
        expect(page.locator("#status .done")).to_contain_text(ENGLISH.said_right)
        press(page, "Enter", page.locator("#undo"))
        expect(page.locator("#status .done")).to_have_text(ENGLISH.withdrawn)
        press(page, "Space", page.get_by_role("button", name=ENGLISH.something_else))
        expect(page.locator("#status .done")).to_contain_text("something else")

        press(page, "Enter", page.get_by_role("tab", name=ENGLISH.live_tab))
        expect(page.locator(".live .sentence")).to_be_visible()
        press(page, "Space", page.locator(".pause"))
        expect(page.locator(".pause")).to_have_text(ENGLISH.go_on)
        page.wait_for_function("!document.querySelector('.live video').srcObject")

        press(page, "Space", page.get_by_role("tab", name=ENGLISH.data_tab))
        expect(page.locator("#capture-name input")).to_be_visible()
        settled(page)
        go_to(page, page.locator("#capture-name input"))
        page.keyboard.type("mug")
        go_to(page, page.locator("#capture-count input[type=number]"))
        page.keyboard.press("Control+A")
        page.keyboard.type("2")
        press(page, "Space", page.locator("#take-burst"))
        expect(page.locator("#capture-status .done")).to_contain_text("2 photos")
        assert [(label, len(photos)) for label, photos in owner.bursts] == [("mug", 2)]
        press(page, "Enter", page.get_by_role("button", name=f"Delete {FOLDER}"))
        expect(page.locator("#data-status .done")).to_have_text("Deleted 20 photos.")
        assert owner.folders == {}
    assert [verdict[1:] for verdict in api.verdicts] == [(True, None), (False, SOMETHING_ELSE)]
