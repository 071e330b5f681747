"""``python -m ui``: bad input ends in one sentence, and importing the room does no work."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi import FastAPI

from ui.__main__ import application, main, parser

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


def test_importing_the_room_loads_nothing_heavy() -> None:
    code = (
        "import sys, ui.page, ui.client, ui.__main__;"
        "print([name for name in ('gradio', 'fastapi', 'httpx', 'pandas', 'numpy', 'runners') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
