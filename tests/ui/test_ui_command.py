"""``python -m ui``: bad input ends in one sentence, and importing the room does no work."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, expect

from tests.live import free_port
from tests.serving import photo, world
from tests.ui.conftest import PATIENCE, Running, in_browser, upload, visit
from ui.__main__ import application, main, parser
from ui.texts import ENGLISH

ROOT = Path(__file__).resolve().parents[2]


def test_a_bad_address_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", "service:3000"]) == 1
    assert capsys.readouterr().err == "error: 'service:3000' is not an http or https address.\n"


@pytest.mark.parametrize(
    "arguments", [[], ["--url", "http://a", "--port", "70000"], ["--url", "http://a", "--port", "x"]]
)
def test_bad_options_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_the_token_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIFAR_TOKEN", "secret")
    assert parser().parse_args(["--url", "http://a"]).token == "secret"
    assert parser().parse_args(["--url", "http://a", "--token", "other"]).token == "other"


def test_the_front_door_leads_to_the_page() -> None:
    async def page() -> FastAPI:  # in a loop, since Gradio opens one for itself where there is none
        return application("http://127.0.0.1:9")

    app = asyncio.run(page())
    paths = {getattr(route, "path", "") for route in app.routes}
    assert {"/", "/ui", "/favicon.ico"} <= paths


@contextmanager
def alone(url: str, token: str, temporary: Path) -> Iterator[str]:
    """The address of ``python -m ui`` beside the service at ``url``, in a process of its own."""
    port, log = free_port(), temporary / "page.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "ui", "--url", url, "--port", str(port)],
            cwd=ROOT,
            env={**os.environ, "CIFAR_TOKEN": token, "GRADIO_TEMP_DIR": str(temporary / "uploads")},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        page = f"http://127.0.0.1:{port}"
        end = time.monotonic() + 4 * PATIENCE
        while not answers(f"{page}/favicon.ico"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield page
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=PATIENCE).status_code == 200
    except httpx.TransportError:
        return False


@in_browser
def test_the_page_alone_asks_and_teaches_the_service_at_its_address(
    browser: Browser, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    here = world(tmp_path, monitoring=False, api_tokens=("secret",))
    with (
        Running(lambda: here.app) as service,
        alone(service.url, "secret", tmp_path) as url,
        visit(browser, url, request.node.name) as page,
    ):
        upload(page, photo())
        expect(page.locator("#answer .sentence")).to_contain_text("A dog")
        expect(page.locator("#seen img")).to_have_js_property("naturalWidth", 32)
        page.locator("#right").click()
        expect(page.locator("#status .done")).to_have_text(f"{ENGLISH.said_right} {ENGLISH.stored.format(id=1)}")
        expect(page.get_by_role("tab")).to_have_text([ENGLISH.classify_tab, ENGLISH.live_tab])
        assert httpx.get(url, timeout=PATIENCE).headers["location"] == "/ui/"
    assert here.handlers._feedback.counts()["confirmed"] == 1


def test_importing_the_room_loads_nothing_heavy() -> None:
    code = (
        "import sys, ui.page, ui.client, ui.__main__;"
        "print([name for name in ('gradio', 'fastapi', 'httpx', 'pandas', 'numpy', 'runners') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
