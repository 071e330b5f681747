"""Review, monitor and data in a real browser: what the owner sees, clicks and types, and that nobody else can."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, Response, expect

from http_api import new_app
from monitoring import history
from settings import Settings
from tests.serving import photo, world
from tests.test_http_owner import calls_of
from tests.ui.conftest import (
    PATIENCE,
    PHONE,
    SIZES,
    ColorApi,
    Server,
    browser_marks,
    fits,
    nameless,
    open_tab,
    until,
    upload,
    visit,
)
from tests.ui.owner import FOLDER, FakeOwner
from ui.texts import ENGLISH

pytestmark = browser_marks

LOOKS = pytest.mark.parametrize(
    "page", [{}, PHONE, {"color_scheme": "dark"}], indirect=True, ids=["desk", "phone", "dark"]
)


@pytest.fixture(scope="module")
def owner() -> FakeOwner:
    return FakeOwner()


@pytest.fixture(scope="module")
def server(owner: FakeOwner) -> Iterator[Server]:
    with Server(ColorApi(), owner=owner) as running:
        yield running


@pytest.fixture
def page(browser: Browser, server: Server, owner: FakeOwner, request: pytest.FixtureRequest) -> Iterator[Page]:
    with visit(browser, server.url, request.node.name, **getattr(request, "param", {})) as page:
        owner.reset()  # now that whatever the last page sent has come
        yield page


def cards(page: Page) -> Locator:
    return page.locator("#review .cards > li")


def expect_focus(page: Page, number: int) -> None:
    """On correction ``number`` or within it."""
    expect(page.locator(f"#review li[data-id='{number}']:focus-within")).to_be_attached()


@LOOKS
def test_the_cards_show_what_a_reviewer_needs(page: Page) -> None:
    open_tab(page, ENGLISH.review_tab)
    expect(cards(page)).to_have_count(4)
    first = cards(page).first
    expect(first).to_contain_text("Person: Dog")
    expect(first).to_contain_text("Network: Cat, 97 %")
    expect(first.locator(".marks li")).to_have_text(["same photo as 2", "2 says another class"])
    expect(first.locator("img")).to_have_js_property("naturalWidth", 64)
    near, mislabel = "almost the same photo as 1, 3, 4, …", ENGLISH.marks["suspected_mislabel"]
    expect(cards(page).nth(1).locator(".marks li")).to_have_text([near, mislabel])
    expect(cards(page).nth(2)).to_contain_text("“<b>mine</b>”")  # as it was written
    expect(cards(page).nth(2)).to_contain_text(ENGLISH.review_refused)
    expect(cards(page).nth(3)).to_contain_text(ENGLISH.no_photo)
    assert fits(page)


@SIZES
def test_each_filter_asks_for_its_kind(page: Page) -> None:
    open_tab(page, ENGLISH.review_tab)
    for kind, ids in (("refused", ["3"]), ("unsure", ["3"]), ("disagree", ["1", "2", "4"])):
        box = page.get_by_label(ENGLISH.review_kinds[kind])
        box.check()
        expect(cards(page)).to_have_count(len(ids))
        assert cards(page).evaluate_all("all => all.map(card => card.dataset.id)") == ids
        box.uncheck()
        expect(cards(page)).to_have_count(4)
    page.get_by_label(ENGLISH.review_class, exact=True).click()
    page.get_by_role("option", name="Bird").click()
    expect(cards(page)).to_have_count(1)
    page.get_by_label(ENGLISH.review_model, exact=True).click()
    page.get_by_role("option", name="cifar_cnn:b").click()
    expect(page.locator("#review")).to_contain_text(ENGLISH.nothing_matches)


def test_a_filter_that_is_set_while_the_list_is_on_its_way_counts(page: Page, owner: FakeOwner) -> None:
    owner.held = True
    open_tab(page, ENGLISH.review_tab)
    until(page, lambda: owner.asked == 1)
    page.get_by_label(ENGLISH.review_kinds["refused"]).check()
    owner.held = False
    expect(cards(page)).to_have_count(1)


@SIZES
def test_accept_relabel_reject_and_undo_by_hand(page: Page, owner: FakeOwner) -> None:
    open_tab(page, ENGLISH.review_tab)
    status = page.locator("#review-status .done")
    cards(page).first.get_by_role("button", name=ENGLISH.accept).click()
    expect(status).to_have_text("Accepted correction 1.")
    expect(cards(page)).to_have_count(3)
    cards(page).first.get_by_role("button", name=ENGLISH.relabel).click()
    expect(page.locator("#review-status .error")).to_have_text(ENGLISH.relabel_first)
    cards(page).first.get_by_label(ENGLISH.relabel_as).fill(" frog ")
    cards(page).first.get_by_role("button", name=ENGLISH.relabel).click()
    expect(status).to_have_text("Accepted correction 2 as Frog.")
    expect(cards(page)).to_have_count(2)
    expect(cards(page).first.get_by_label(ENGLISH.relabel_as)).to_have_value("")
    cards(page).first.get_by_role("button", name=ENGLISH.reject).click()
    expect(status).to_have_text("Rejected correction 3.")
    page.locator("#review-undo").click()
    expect(status).to_have_text("Correction 3 waits for review again.")
    expect(cards(page)).to_have_count(2)
    assert owner.reviews == [
        (1, "accepted", None),
        (2, "accepted", "frog"),
        (3, "rejected", None),
        (3, "pending", None),
    ]


def test_review_by_keyboard_alone(page: Page, owner: FakeOwner) -> None:
    open_tab(page, ENGLISH.review_tab)
    expect(cards(page)).to_have_count(4)
    cards(page).first.focus()
    page.keyboard.press("n")
    expect_focus(page, 2)
    page.keyboard.press("a")
    expect(cards(page)).to_have_count(3)
    expect_focus(page, 3)  # the next one
    page.keyboard.press("l")
    page.keyboard.type("dear")  # letters are no commands while one writes
    page.keyboard.press("Escape")
    page.keyboard.press("p")
    expect_focus(page, 1)
    page.keyboard.press("l")
    page.keyboard.type("wolf")
    page.keyboard.press("Enter")
    expect(cards(page)).to_have_count(2)
    expect_focus(page, 3)
    page.keyboard.press("ArrowRight")
    expect_focus(page, 4)
    page.keyboard.press("r")
    expect(cards(page)).to_have_count(1)
    expect_focus(page, 3)  # the last one left
    page.keyboard.press("z")
    expect(cards(page)).to_have_count(2)
    cards(page).first.focus()
    for number, left in ((3, 1), (4, 0)):
        expect_focus(page, number)
        page.keyboard.press("r")
        expect(cards(page)).to_have_count(left)
    expect(page.locator("#review")).to_contain_text(ENGLISH.nothing_pending)
    assert owner.reviews == [
        (2, "accepted", None),
        (1, "accepted", "wolf"),
        (4, "rejected", None),
        (4, "pending", None),
        (3, "rejected", None),
        (4, "rejected", None),
    ]


@SIZES
def test_a_decision_that_is_not_stored_is_told(page: Page, owner: FakeOwner) -> None:
    open_tab(page, ENGLISH.review_tab)
    expect(cards(page)).to_have_count(4)
    owner.fails = True
    cards(page).first.get_by_role("button", name=ENGLISH.accept).click()
    expect(page.locator("#review-status .error")).to_have_text("The store is away. " + ENGLISH.advice[503])
    expect(cards(page)).to_have_count(4)


@LOOKS
def test_monitor(page: Page, owner: FakeOwner) -> None:
    open_tab(page, ENGLISH.monitor_tab)
    tiles = page.locator("#traffic .tiles")
    for text in ("1,234", "7.9 %", "88.9 %", "92.2 %", "67.3 %", "53.8 % to 78.5 % (95 %), 52 answers"):
        expect(tiles).to_contain_text(text)
    expect(page.locator("#traffic .bars").first).to_contain_text("60.0 %")
    seen = owner.requests
    page.wait_for_function(f"document.querySelector('#traffic b')?.textContent > {seen}")  # by itself
    cells = page.locator("#drift [data-column]")
    expect(cells).to_have_count(9)
    loud = page.locator("#drift [data-column=label][data-window='1']")
    expect(loud).to_have_text("!")
    expect(loud).to_have_class("shade-5")
    expect(page.locator("#drift [data-column=brightness][data-window='0']")).to_have_class("shade-0")
    loud.click()
    detail = page.locator("#drift-detail")
    expect(detail).to_contain_text("Drift (adjusted p = 1e-09).")
    expect(detail.locator("tbody tr").first).to_have_text("Cat75.0 %25.0 %")
    expect(page.locator("#history")).to_contain_text("cifar_cnn:b · champion")
    expect(page.locator("#history")).to_contain_text("retrained from cifar_cnn:a")
    expect(page.locator("#history")).to_contain_text("not promoted: worse on test photos")
    expect(page.locator("#history")).to_contain_text("test photos: -1.23 points (-2.00 to -0.40, 10,000 photos)")
    expect(page.locator("#monitor-links")).to_contain_text(ENGLISH.mlflow_how)
    expect(page.get_by_role("link", name=ENGLISH.mlflow, exact=True)).to_have_attribute("href", "http://127.0.0.1:5000")
    assert fits(page)


@SIZES
def test_the_drift_map_by_keyboard(page: Page) -> None:
    open_tab(page, ENGLISH.monitor_tab)
    page.locator("#drift [data-column][tabindex='0']").focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowRight", "ArrowRight"):  # the last one leads nowhere
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    expect(page.locator("#drift-detail h3")).to_contain_text("Label")
    expect(page.locator("#drift-detail")).to_contain_text(ENGLISH.too_few)
    expect(page.locator("#drift [data-column=label][data-window='2']")).to_have_attribute("aria-pressed", "true")


def test_monitoring_that_is_away_is_told(page: Page, owner: FakeOwner) -> None:
    owner.fails = True
    open_tab(page, ENGLISH.monitor_tab)
    for part in ("traffic", "drift", "history"):
        expect(page.locator(f"#{part} .error")).to_contain_text("The store is away.")
    owner.fails = False
    owner.windows = []
    open_tab(page, ENGLISH.data_tab)
    open_tab(page, ENGLISH.monitor_tab)
    expect(page.locator("#drift")).to_have_text(ENGLISH.no_windows)


def test_the_whole_report_opens(page: Page, server: Server) -> None:
    open_tab(page, ENGLISH.monitor_tab)
    with page.expect_popup() as opened:
        page.get_by_role("link", name=ENGLISH.full_report).click()
    expect(opened.value.get_by_role("heading", name="No drift")).to_be_visible()
    assert opened.value.url == f"{server.url}/ui/report"


@LOOKS
def test_counts_bursts_and_deletion(page: Page, owner: FakeOwner) -> None:
    open_tab(page, ENGLISH.data_tab)
    rows = page.locator("#classes tbody tr")
    expect(rows.first).to_have_text("Cat6,00003")
    expect(page.locator("#classes")).to_contain_text("300.1 times the photos of the smallest, Mug")
    asked: list[str] = []
    answers = iter([False, True, True, True])
    page.on("dialog", lambda d: (asked.append(d.message), d.accept() if next(answers) else d.dismiss()))
    burst = page.get_by_role("button", name=f"Delete {FOLDER}")
    burst.click()
    until(page, lambda: len(asked) == 1)
    page.wait_for_timeout(200)
    assert owner.folders, "asked first, and told no"
    burst.click()
    expect(page.locator("#data-status .done")).to_have_text("Deleted 20 photos.")
    expect(burst).to_have_count(0)
    page.get_by_label(ENGLISH.prediction_id).fill("17")
    page.get_by_role("button", name=ENGLISH.delete, exact=True).click()
    expect(page.locator("#data-status .done")).to_have_text("Deleted 1 answer and 1 photo.")
    page.get_by_role("button", name=ENGLISH.delete_all.format(answers="42 answers")).click()
    until(page, lambda: len(owner.deleted) == 2)
    assert owner.deleted == ["17", None]
    assert asked[0] == ENGLISH.delete_burst_really.format(photos="20 photos", folder=FOLDER)
    assert fits(page)


def test_a_deletion_that_fails_is_told(page: Page, owner: FakeOwner) -> None:
    open_tab(page, ENGLISH.data_tab)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name=ENGLISH.delete, exact=True).click()
    expect(page.locator("#data-status .error")).to_have_text(ENGLISH.prediction_first)
    owner.fails = True
    page.get_by_role("button", name=f"Delete {FOLDER}").click()
    expect(page.locator("#data-status .error")).to_contain_text("The store is away.")


def is_of_the_cards(answer: Response) -> bool:
    return answer.url.endswith("/run/predict") and "data-id=" in answer.text()


def test_the_tabs_over_the_services_own_calls(
    browser: Browser, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the doubles above stand for: a real store, real counts, real folders."""
    info = SimpleNamespace(creation_time=datetime.now(UTC), metadata={})
    monkeypatch.setattr(history, "_stored", lambda: [SimpleNamespace(tag="cifar_cnn:1", info=info)])
    verdict = {"promoted": False, "reason": "no better than the champion", "comparisons": []}
    (tmp_path / "runs" / "retrain-1").mkdir(parents=True)
    (tmp_path / "runs" / "retrain-1" / "verdict.json").write_text(json.dumps(verdict))
    here = world(tmp_path, monitoring=False)
    here.app.router.routes.pop()  # the answer to paths that nothing answers, which the service adds after the page
    with (
        Server(here.handlers, here.app, calls_of(here)) as server,
        visit(browser, server.url, request.node.name) as page,
    ):
        upload(page, photo())
        expect(page.locator("#answer .sentence")).to_contain_text("A dog")
        page.get_by_role("button", name="Cat", exact=True).click()
        expect(page.locator("#status .done")).to_contain_text("You said: it is a cat.")
        open_tab(page, ENGLISH.review_tab)
        expect(cards(page)).to_have_count(1)
        expect(cards(page)).to_contain_text("Person: Cat")
        expect(cards(page).locator("img")).to_have_js_property("naturalWidth", 32)
        open_tab(page, ENGLISH.monitor_tab)
        expect(page.locator("#traffic .tiles")).to_contain_text("1 answer")
        expect(page.locator("#traffic .bars").first).to_contain_text("Dog")
        expect(page.locator("#drift")).to_have_text(ENGLISH.no_windows)
        expect(page.locator("#history")).to_contain_text("cifar_cnn:1 · champion")
        expect(page.locator("#history")).to_contain_text("no better than the champion")
        with page.expect_response(is_of_the_cards):  # else it might come after what the click is answered
            open_tab(page, ENGLISH.review_tab)
        cards(page).get_by_role("button", name=ENGLISH.accept).click()
        expect(page.locator("#review")).to_contain_text(ENGLISH.nothing_pending)
        open_tab(page, ENGLISH.data_tab)
        expect(page.locator("#classes tbody tr")).to_have_text(["Cat001"])
        page.locator("#capture-name input").fill("mug")
        page.locator("#capture-count input[type=number]").fill("2")
        page.locator("#capture-count input[type=number]").press("Tab")
        page.locator("#take-burst").click()
        expect(page.locator("#classes tbody tr")).to_have_text(["Cat001", "Mug020"])
        [folder] = (tmp_path / "data" / "captured" / "mug").iterdir()
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name=f"Delete captured/mug/{folder.name}").click()
        expect(page.locator("#data-status .done")).to_have_text("Deleted 2 photos.")
        assert not folder.exists()


def test_controls_of_the_owners_tabs_have_names(page: Page) -> None:
    last = {
        ENGLISH.review_tab: "#review .cards button",
        ENGLISH.monitor_tab: "#history table",
        ENGLISH.data_tab: "#kept button",
    }
    for tab, ready in last.items():
        open_tab(page, tab)
        expect(page.locator(ready).first).to_be_visible()
        assert nameless(page, "button:visible, input:visible, textarea:visible, video:visible") == []


def test_no_event_serves_anybody_but_the_owner() -> None:
    """Every event of the page, sent without a browser by a caller who is not the owner: no owner's call is made."""
    settings = Settings(api_tokens=("a caller's",), owner_token="the owner's")
    owner = FakeOwner(settings)
    called: list[str] = []
    for name in ("capture", "corrections", "review", "traffic", "drift", "history", "holdings", "report"):
        setattr(owner, name, lambda *_, name=name: called.append(name))
    for name in ("delete_burst", "delete_feedback"):
        setattr(owner, name, lambda *_, name=name: called.append(name))
    sign = {"Authorization": "Bearer a caller's"}
    data = {"id": 1, "action": "accept", "label": "", "kind": "burst", "name": FOLDER, "window": 0, "column": "label"}
    with Server(ColorApi(), new_app(settings), owner) as server:
        config = httpx.get(f"{server.url}/ui/config", headers=sign, timeout=PATIENCE).json()
        kinds = {component["id"]: component["type"] for component in config["components"]}
        fitting: dict[str, Any] = {"checkboxgroup": [], "slider": 20, "textbox": "mug"}
        refused = 0
        for event in config["dependencies"]:
            body = {
                "data": [fitting.get(kinds[number]) for number in event["inputs"]],
                "fn_index": event["id"],
                "session_hash": "forged",
                "event_data": data,
            }
            address = f"{server.url}/ui/gradio_api/run/predict"
            answer = httpx.post(address, json=body, headers=sign, timeout=PATIENCE)
            refused += ENGLISH.owner_only in answer.text
        report = httpx.get(f"{server.url}/ui/report", headers=sign, timeout=PATIENCE)
        assert (report.status_code, called) == (403, [])
        assert refused == 10, "all of them but the burst without photos"
        assert httpx.get(f"{server.url}/ui/report", timeout=PATIENCE).status_code == 401
