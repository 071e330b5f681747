"""`python -m monitoring`: exit codes, one-line errors, JSON, and the report in MLflow."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from PIL import Image
from pydantic import SecretStr

from monitoring import profiles, tracking, webhook
from monitoring.__main__ import main
from monitoring.drift import DriftResult, check
from monitoring.feedback import FeedbackStore, NewFeedback
from monitoring.report import MOST_SAMPLES, render
from runners import store
from settings import ROOT

CNN = "cifar_cnn:abc"
LOADS = r'https?://|<script|<link|@import|url\(|src="(?!data:image/jpeg;base64,)'


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
        start = (end - timedelta(hours=1)).isoformat()
        made = profiles.profile(
            table(rows, seed=int(rows + hours_ago), **change), refuse_share="0.05", start=start, end=end.isoformat()
        )
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
    assert not re.search(LOADS, html)


@pytest.fixture
def photographed(served):
    """A feedback store with 40 answers "cat", half of them wrong, each with a photo of its own colour."""
    settings, _, _ = served
    store_ = FeedbackStore.open(settings)
    for number in range(40):
        buffer = io.BytesIO()
        Image.new("RGB", (200, 100), (6 * number, 0, 90)).save(buffer, "PNG")
        wrong = number % 2 == 1
        store_.save(
            NewFeedback(
                prediction_id=f"p{number}",
                correct=not wrong,
                label="lynx" if wrong else None,
                predicted_label="cat",
                best_guess="cat",
                probability=0.9,
                in_distribution=True,
                ood_p_value=0.5,
                cnn_tag=CNN,
                image=buffer.getvalue(),
            )
        )
    return store_


def reference_with(model, table, right):
    made = profiles.profile(table(2_000, seed=1), refuse_share="0.05", right=json.dumps(right))
    (model / "reference.bin").write_bytes(made.to_bytes())


def test_wrong_answers_are_concept_drift(served, photographed, table, capsys):
    settings, add, model = served
    add(200)
    reference_with(model, table, {"cat": [190, 200]})
    assert main(["drift", "--json"], settings) == 1
    answer = json.loads(capsys.readouterr().out)
    assert [answer[f"{kind}_drift"] for kind in ("input", "prediction", "concept")] == [False, False, True]
    assert [(c["name"], c["answers"], c["accuracy"], c["drifted"]) for c in answer["feedback"]] == [
        ("all answers", 40, 0.5, True),
        ("cat", 40, 0.5, True),
    ]


def test_feedback_on_another_model_or_another_time_does_not_count(photographed):
    assert photographed.answers_by_class("cifar_cnn:other") == {}
    assert photographed.answers_by_class(CNN, datetime.now(UTC)) == {}
    assert photographed.answers_by_class(CNN) == {"cat": (20, 40)}


def test_the_report_shows_kept_photos_and_survives_those_that_are_gone(served, photographed, tmp_path, capsys):
    settings, add, _ = served
    add(200, brightness=0.2)
    gone = photographed.latest_photos(CNN, None, 1)[0].image_sha256
    photographed.images.path(gone).write_bytes(b"damaged")
    page = tmp_path / "drift.html"
    assert main(["report", "--out", str(page)], settings) == 0
    html = page.read_text(encoding="utf-8")
    assert html.count("data:image/jpeg;base64,") == MOST_SAMPLES - 1
    assert "cat, is lynx" in html
    assert "Since when" in html
    assert not re.search(LOADS, html)


def test_a_check_makes_no_feedback_database(served):
    settings, add, _ = served
    add(200)
    assert main(["drift"], settings) == 0
    assert not (settings.var / "feedback.db").exists()


def test_drift_since_is_the_first_changed_window(served, capsys):
    settings, add, _ = served
    for hours in range(12, 0, -1):
        add(100 + hours, hours_ago=hours, brightness=0.2 if hours <= 4 else 0.0)
    assert main(["drift", "--json"], settings) == 1
    since = datetime.fromisoformat(json.loads(capsys.readouterr().out)["since"])
    assert timedelta(hours=4.9) < datetime.now(UTC) - since < timedelta(hours=5.1)


@pytest.mark.parametrize(("brightness", "calls"), [(0.2, 1), (0.0, 0)])
def test_the_webhook_is_told_of_drift_only(served, monkeypatch, brightness, calls):
    settings, add, _ = served
    add(200, brightness=brightness)
    told = []
    monkeypatch.setattr(webhook, "post", lambda *arguments: told.append(arguments))
    assert main(["drift"], settings) == calls
    assert told == []
    with_address = settings.model_copy(update={"drift_webhook": SecretStr("http://127.0.0.1:9/")})
    assert main(["drift"], with_address) == calls
    assert len(told) == calls


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
