"""Traces by OTLP reach a collector: the real exporter over HTTP, and a collector that only takes down what it gets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import http_trace
from settings import Settings
from tests.serving import classify, photo, world


class Collector(HTTPServer):
    """Keeps each request: path, type of content, body."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Takes)
        self.taken: list[tuple[str, str, bytes]] = []


class _Takes(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.taken.append((self.path, self.headers["content-type"], body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_spans_of_a_request_reach_the_collector(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    monkeypatch.setattr(http_trace, "_tracer", None)
    provider = http_trace.start_tracing(Settings(traces="otlp"))
    assert provider is not None

    async def main() -> None:
        async with world(tmp_path).client() as client:
            assert (await classify(client, photo())).status_code == 200

    asyncio.run(main())
    provider.shutdown()
    assert {(path, kind) for path, kind, _ in collector.taken} == {("/v1/traces", "application/x-protobuf")}
    found = [ExportTraceServiceRequest.FromString(body) for _, _, body in collector.taken]
    resources = [resource for request in found for resource in request.resource_spans]
    names = {a.value.string_value for r in resources for a in r.resource.attributes if a.key == "service.name"}
    assert names == {"cifar"}
    spans = {span.name: span for resource in resources for scope in resource.scope_spans for span in scope.spans}
    assert set(spans) == {"POST", "decode", "predict"}
    assert spans["decode"].parent_span_id == spans["predict"].parent_span_id == spans["POST"].span_id
    assert len({span.trace_id for span in spans.values()}) == 1
