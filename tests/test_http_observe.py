"""What an operator sees: metrics with fixed labels, a JSON line per request, spans, alerts on metrics that exist."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import subprocess
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import http_trace
from http_metrics import Metrics, engine_version
from http_observe import log_requests, request_log
from runners.network import import_openvino
from settings import ROOT, BadSettingError, Settings
from tests.serving import Slow, classify, photo, world


def test_requests_photos_and_batches_are_counted(tmp_path: Path) -> None:
    async def main() -> None:
        here = world(tmp_path, Slow(0.001))
        async with here.client() as client:
            for brightness in (10, 20, 250):
                assert (await classify(client, photo(brightness))).status_code == 200
            assert (await classify(client, b"no photo")).status_code == 400
            files = [("images", ("p", photo())) for _ in range(5)]
            assert (await client.post("/classify_batch", files=files)).status_code == 200
            for number in range(50):
                assert (await client.request(f"M{number}", f"/made/up/{number}")).status_code in (404, 405)
            text = (await client.get("/metrics")).text
        assert here.metric('cifar_requests_total{code="200",method="POST",path="/classify"}') == 3
        assert here.metric('cifar_requests_total{code="400",method="POST",path="/classify"}') == 1
        assert here.metric('cifar_request_seconds_count{path="/classify"}') == 4
        assert here.metric('cifar_predictions_total{label="cat"}') == 2
        assert here.metric('cifar_predictions_total{label="dog"}') == 6
        assert here.metric('cifar_predictions_total{label="unknown"}') == 0
        assert here.metric("cifar_refused_total") == 0
        assert here.metric('cifar_bad_photos_total{code="not_an_image"}') == 1
        assert here.metric("cifar_batch_photos_sum") == 8
        assert here.metric("cifar_network_seconds_count") >= 4
        assert here.metric("cifar_requests_in_progress") == 0
        engine = f'engine="openvino",engine_version="{engine_version("openvino")}"'
        about = f'cifar_served_info{{cnn="cifar_cnn:1",{engine},forest="ood_forest:1",runners="inprocess"}}'
        assert here.metric(about) == 1
        assert "made" not in text
        assert len(re.findall(r'path="other"', text)) < 40, "no caller makes the metrics grow"

    asyncio.run(main())


def test_the_version_of_the_engine_is_told_without_loading_it() -> None:
    code = "import sys, http_metrics as m; print(*map(m.engine_version, ('openvino', 'tensorflow')), *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    openvino, tensorflow, *loaded = done.stdout.split()
    assert openvino == import_openvino().__version__.partition("-")[0]
    assert re.fullmatch(r"\d+\.\d+\.\d+", tensorflow)
    assert not {"openvino", "tensorflow", "keras"} & set(loaded)


def test_an_engine_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("http_metrics._PACKAGES", {"tensorflow": ("no-such-package", "nor-this-one")})
    assert engine_version("tensorflow") == "unknown"


def test_monitoring_is_told_and_a_lost_row_shows() -> None:
    metrics = Metrics()
    recorder = SimpleNamespace(rows_recorded=7, rows_dropped=0, windows_flushed=2, windows_sent=1, last_error=None)
    metrics.watch(SimpleNamespace(depth=3), SimpleNamespace(feedback_ok=True), recorder)  # type: ignore[arg-type]
    text = metrics.text().decode()
    for line in ("cifar_queue_photos 3.0", "cifar_monitoring_rows_dropped_total 0.0", "cifar_monitoring_ok 1.0"):
        assert line in text.splitlines()
    recorder.rows_dropped, recorder.last_error = 4, "the queue is full"
    text = metrics.text().decode()
    for line in (
        "cifar_monitoring_rows_dropped_total 4.0",
        "cifar_monitoring_ok 0.0",
        "cifar_monitoring_rows_total 7.0",
    ):
        assert line in text.splitlines()


def test_a_recorder_that_has_ended_leaves_its_counts_and_goes() -> None:
    metrics, alive = Metrics(), []
    for number in range(1, 6):
        recorder = Ended(number)
        alive.append(weakref.ref(recorder))
        metrics.watch(SimpleNamespace(depth=0), SimpleNamespace(feedback_ok=True), recorder)  # type: ignore[arg-type]
        recorder.rows_recorded += 10
        recorder.ended = number != 2  # its sender still waits for MLflow
    del recorder
    assert [number for number, one in enumerate(alive, 1) if one()] == [2, 5]
    assert "cifar_monitoring_rows_total 65.0" in metrics.text().decode().splitlines()
    assert "cifar_monitoring_windows_sent_total 5.0" in metrics.text().decode().splitlines()


class Ended:
    last_error, ended, rows_dropped, windows_flushed, windows_sent = None, False, 0, 1, 1

    def __init__(self, rows: int) -> None:
        self.rows_recorded = rows


def everything_told(tmp_path: Path) -> str:
    """The text of `/metrics` where monitoring and the keeper of photos are on."""
    here = world(tmp_path, keep_images="all")
    recorder = SimpleNamespace(rows_recorded=0, rows_dropped=0, windows_flushed=0, windows_sent=0, last_error=None)
    here.app.state.metrics.watch(here.batcher, here.health, recorder, here.keeper)
    here.app.state.metrics.request("GET", "/labels", 200, 0.1)
    return here.app.state.metrics.text().decode()


def test_alerts_read_metrics_that_exist(tmp_path: Path) -> None:
    known = {line.split("{")[0].split(" ")[0] for line in everything_told(tmp_path).splitlines()}
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus-rules.yml").read_text())
    expressions = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    named = set(re.findall(r"\bcifar_\w+", " ".join(expressions)))
    assert named <= known, named - known
    assert "cifar_monitoring_rows_dropped_total" in named
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert ("record" in rule) or {"summary", "description"} <= set(rule["annotations"])


def test_every_metric_is_documented_and_no_other(tmp_path: Path) -> None:
    told = set(re.findall(r"^# TYPE (cifar_\w+) ", everything_told(tmp_path), re.M))  # also those without a sample
    written = set(re.findall(r'"(cifar_\w+?)(?:_total)?"', (ROOT / "http_metrics.py").read_text()))
    assert written - {name.removesuffix("_total") for name in told} == set(), "not seen by this test"
    assert {"cifar_photos_lost_total", "cifar_monitoring_ok", "cifar_reloads_total", "cifar_served_info"} <= told
    documented = set(re.findall(r"\bcifar_[a-z_]+", (ROOT / "docs" / "api.md").read_text()))
    assert documented == told


def test_one_json_line_per_request_names_the_prediction_and_shows_nothing_of_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with world(tmp_path).client() as client:
            with caplog.at_level(logging.INFO, "cifar.requests"):
                one = await client.post("/classify", files={"image": ("holiday.jpg", photo())})
                files = [("images", ("p", data)) for data in (photo(), b"bad", photo())]
                many = await client.post("/classify_batch?secret=1", files=files)
                await client.get("/a%0Ab%E2%80%A8c")
                body = {"prediction_id": one.json()["prediction_id"], "correct": False, "label": "mug", "note": "mine"}
                await client.post("/feedback", json=body)
        records = [record.getMessage() for record in caplog.records if record.name == "cifar.requests"]
        assert not [text for text in records if "\n" in text or "\u2028" in text]
        first, second, third, fourth = map(json.loads, records)
        assert (first["method"], first["path"], first["status"]) == ("POST", "/classify", 200)
        assert first["prediction_id"] == fourth["prediction_id"] == one.json()["prediction_id"]
        assert second["prediction_ids"] == [a["prediction_id"] for a in many.json() if "error" not in a]
        assert third["status"] == 404
        for secret in ("holiday", "secret", "mug", "mine", "127.0.0.1"):
            assert secret not in "".join(records)

    asyncio.run(main())


def test_the_lines_go_to_standard_output_bare(capsys: pytest.CaptureFixture[str]) -> None:
    before = request_log.handlers, request_log.level, request_log.propagate
    try:
        log_requests()
        request_log.info('{"a": 1}')
        assert capsys.readouterr().out == '{"a": 1}\n'
    finally:
        request_log.handlers, request_log.level, request_log.propagate = before


def test_a_request_is_one_trace_with_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(http_trace, "_tracer", provider.get_tracer("cifar"))
    parent = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"

    async def main() -> None:
        async with world(tmp_path).client() as client:
            assert (await classify(client, photo(), traceparent=parent)).status_code == 200

    asyncio.run(main())
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert set(spans) == {"POST", "decode", "predict"}
    request = spans["POST"]
    assert format(request.context.trace_id, "032x") == "a" * 32
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == 200
    for name in ("decode", "predict"):
        inner = spans[name].parent
        assert inner is not None
        assert inner.span_id == request.context.span_id


def test_traces_are_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_trace, "_tracer", None)
    assert http_trace.start_tracing(Settings()) is None
    provider = http_trace.start_tracing(Settings(traces="console"))
    assert provider is not None
    provider.shutdown()
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(BadSettingError, match="opentelemetry-exporter-otlp"):
        http_trace.start_tracing(Settings(traces="otlp"))
