"""Settings and the environment of the libraries: nothing is sent anywhere, what the caller set wins."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from settings import ROOT, Settings


def run(code: str, **variables: str) -> str:
    clean = {k: v for k, v in os.environ.items() if k not in ("BENTOML_HOME", "MLFLOW_DISABLE_TELEMETRY")}
    command = [sys.executable, "-c", f"import os; from settings import *; configure_environment(Settings()); {code}"]
    done = subprocess.run(command, cwd=ROOT, env={**clean, **variables}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_telemetry_is_off_by_default() -> None:
    names = ("BENTOML_DO_NOT_TRACK", "GRADIO_ANALYTICS_ENABLED", "MLFLOW_DISABLE_TELEMETRY", "WHYLOGS_NO_ANALYTICS")
    names += ("RAY_USAGE_STATS_ENABLED",)
    assert run(f"print(*[os.environ[n] for n in {names}])") == "True False true True 0"


def test_what_the_caller_set_wins(tmp_path: Path) -> None:
    code = "print(os.environ['BENTOML_HOME'])"
    assert run(code, CIFAR_VAR=str(tmp_path)) == str(tmp_path / "bentoml")
    assert run(code, CIFAR_VAR=str(tmp_path), BENTOML_HOME="/elsewhere") == "/elsewhere"


def test_settings_come_from_the_environment_and_are_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIFAR_WINDOW_ROWS", "7")
    monkeypatch.setenv("CIFAR_API_TOKENS", '["a", "b"]')
    settings = Settings()
    assert (settings.window_rows, settings.api_tokens) == (7, ("a", "b"))
    with pytest.raises(ValidationError):
        settings.window_rows = 8  # type: ignore[misc]


def test_a_bad_setting_is_one_clear_line() -> None:
    for module, arguments in (("runners", ["starters"]), ("training", ["prepare"]), ("monitoring", ["drift"])):
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env={**os.environ, "CIFAR_MAX_BATCH": "many"},
            capture_output=True,
            text=True,
        )
        assert done.returncode != 0
        assert done.stderr.startswith("error: CIFAR_MAX_BATCH: "), done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr


def test_importing_the_service_loads_none_of_the_heavy_libraries() -> None:
    heavy = ("tensorflow", "keras", "gradio", "mlflow", "whylogs", "pandas", "sklearn", "matplotlib")
    code = f"import sys, service; print([m for m in {heavy} if m in sys.modules])"
    assert run(code).splitlines()[-1] == "[]"
