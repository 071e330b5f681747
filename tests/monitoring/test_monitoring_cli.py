"""`python -m monitoring`: exit codes, one-line errors, JSON, and the report in MLflow."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from monitoring import profiles, tracking
from monitoring.__main__ import main
from monitoring.drift import DriftResult, check
from monitoring.report import render
from runners import store
from settings import ROOT

CNN = "cifar_cnn:abc"


@pytest.fixture
def served(tracked, table, tmp_path, monkeypatch):
    """Settings with a served model that has a reference, and a function that records windows for it."""
    settings = tracked()
    model = tmp_path / "model"
    model.mkdir()
    (model / "reference.bin").write_bytes(profiles.profile(table(2_000, seed=1), refuse_share="0.05").to_bytes())
    monkeypatch.setattr(store, "served", lambda _: store.Served(CNN, "ood_forest:abc", model, model))

    def add(rows: int, hours_ago: float = 0.0, **change) -> None:
        end = datetime.now(UTC) - timedelta(hours=hours_ago)
        made = profiles.profile(table(rows, seed=int(rows + hours_ago), **change), refuse_share="0.05")
        tracking.log_window(settings, tracking.model_run(settings, CNN), made, end=end, replica="pod")

    return settings, add, model


def test_no_drift_is_0(served, capsys):
    settings, add, _ = served
    add(200)
    add(150)
    assert main(["drift"], settings) == 0
    assert capsys.readouterr().out.startswith("no drift: No column of 350 rows")


def test_drift_is_1_and_its_report_lies_in_mlflow(served, capsys):
    settings, add, _ = served
    add(200, brightness=0.2)
    assert main(["drift", "--json"], settings) == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["model"], answer["verdict"], answer["input_drift"]) == (CNN, "drift", True)
    assert answer["window_rows"] == 200
    client, run_id = tracking.client(settings), tracking.model_run(settings, CNN)
    assert [f.path for f in client.list_artifacts(run_id, "drift")] == [answer["report"]]
    assert client.get_metric_history(run_id, "drift")[-1].value == 1


@pytest.mark.parametrize("missing", ["rows", "traffic", "reference"])
def test_what_cannot_be_judged_is_2(served, capsys, missing):
    settings, add, model = served
    if missing != "traffic":
        add(20 if missing == "rows" else 200)
    if missing == "reference":
        (model / "reference.bin").unlink()
    assert main(["drift", "--json"], settings) == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["verdict"] == "cannot judge"
    assert {"rows": "20 rows", "traffic": "No traffic", "reference": "no reference"}[missing] in answer["reason"]


def test_the_span_chooses_the_windows(served, capsys):
    settings, add, _ = served
    add(300, hours_ago=60, brightness=0.2)
    add(100, hours_ago=5)
    add(90, hours_ago=1)
    for span, rows in ([], 190), (["--last", "1"], 90), (["--hours", "2"], 90), (["--last", "9"], 490):
        main(["drift", "--json", *span], settings)
        assert json.loads(capsys.readouterr().out)["window_rows"] == rows
    assert main(["drift", "--hours", "100"], settings) == 1


def test_a_damaged_reference_is_3_in_one_line(served, capsys):
    settings, add, model = served
    add(100)
    (model / "reference.bin").write_bytes(b"WHY1 and then nothing")
    assert main(["drift"], settings) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "damaged" in err


@pytest.mark.parametrize("arguments", [[], ["dirft"], ["drift", "--last", "0"], ["drift", "--hours", "nan"]])
def test_a_wrong_command_line_is_3_in_one_line(tracked, capsys, arguments):
    assert main(arguments, tracked()) == 3
    assert re.fullmatch(r"error: [^\n]+\n", capsys.readouterr().err)


def test_the_real_command_without_a_model_is_3_without_a_traceback(tmp_path):
    environment = {**os.environ, "CIFAR_VAR": str(tmp_path), "BENTOML_HOME": str(tmp_path / "bentoml")}
    done = subprocess.run(
        [sys.executable, "-m", "monitoring", "drift"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 3
    assert re.fullmatch(r"error: no model [^\n]+\n", done.stderr)
    assert done.stdout == ""


def test_the_report_is_one_page_that_loads_nothing(served, tmp_path, capsys):
    settings, add, _ = served
    add(200, brightness=0.2)
    page = tmp_path / "new" / "drift.html"
    assert main(["report", "--out", str(page), "--json"], settings) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "drift"
    html = page.read_text(encoding="utf-8")
    assert "The traffic has changed" in html
    for part in ("brightness", "What to do next", "prefers-color-scheme: dark"):
        assert part in html
    assert not re.search(r"https?://|<script|<link|@import|url\(|src=", html)


def test_a_report_without_traffic_is_2_and_writes_nothing(served, tmp_path):
    settings, _, _ = served
    assert main(["report", "--out", str(tmp_path / "none.html")], settings) == 2
    assert not (tmp_path / "none.html").exists()


def test_the_report_escapes_what_users_may_name(table):
    made = table(100)
    made["label"][:] = "<b>&"
    profile = profiles.profile(made)
    html = render(check(profile, profile), "<i>:1")
    assert "<b>" not in html
    assert "<i>" not in html
    assert "&lt;b&gt;&amp;" in html


@pytest.mark.parametrize(
    ("verdict", "next_step"), [("no drift", "Nothing to do"), ("cannot judge", "Wait for more traffic")]
)
def test_every_verdict_has_a_page(verdict, next_step):
    result = DriftResult(verdict=verdict, reason="Because.", alpha=0.01, reference_rows=1, window_rows=1)
    assert next_step in render(result, CNN)
