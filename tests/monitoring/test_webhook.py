"""The webhook: one message when there is drift, none otherwise, and never a failed check because of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from monitoring.drift import DriftResult
from monitoring.webhook import post

RESULT = DriftResult(verdict="drift", reason="It is dark.", alpha=0.01, reference_rows=9, window_rows=7, since="2026")


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[dict]]]:
    got: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(500 if self.path == "/broken" else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_message_says_what_since_when_and_where(receiver):
    url, got = receiver
    assert post(f"{url}/secret", RESULT, "cifar_cnn:abc", "drift/x.html")
    (body,) = got
    assert body["text"] == "Drift in the traffic of cifar_cnn:abc: It is dark."
    assert (body["verdict"], body["since"], body["window_rows"], body["report"]) == ("drift", "2026", 7, "drift/x.html")
    assert "columns" not in body


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/secret", "file:///secret", "secret", "{}/broken"])
def test_a_receiver_that_fails_is_a_warning_without_its_address(receiver, capsys, url):
    address = url.format(receiver[0])
    assert not post(address, RESULT, "cifar_cnn:abc", None)
    err = capsys.readouterr().err
    assert err.startswith("warning: the drift webhook was not reached: ")
    assert err.count("\n") == 1
    assert "secret" not in err
    assert address not in err
