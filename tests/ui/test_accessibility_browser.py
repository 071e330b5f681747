"""axe-core finds no serious fault on any tab, on a desk, on a phone, in the dark."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.ui.conftest import PHONE, ColorApi, Server, browser_marks, open_tab, png, visit
from tests.ui.owner import FakeOwner
from ui.texts import ENGLISH

pytestmark = browser_marks

AXE = files("axe_playwright_python") / "axe.min.js"
READY = {
    ENGLISH.live_tab: ".live .sentence",
    ENGLISH.review_tab: "#review .cards img",
    ENGLISH.monitor_tab: "#history table",
    ENGLISH.data_tab: "#classes table",
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(ColorApi(), owner=FakeOwner()) as running:
        yield running


def faults(page: Page) -> list[str]:
    found: list[dict[str, Any]] = page.evaluate("async () => (await axe.run({resultTypes: ['violations']})).violations")
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
