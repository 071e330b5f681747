"""The guard before the API: tokens, and bodies that are too large before anything reads them."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from http_api import add_fallback, new_app
from http_rate import RateLimiter
from settings import Settings


def client_of(settings: Settings) -> TestClient:
    app = new_app(settings)

    @app.post("/classify")
    async def classify() -> str:
        return "reached"

    @app.get("/ui/")
    async def page() -> str:
        return "page"

    add_fallback(app)
    return TestClient(app, base_url="http://127.0.0.1:3000")


@pytest.fixture
def guarded() -> Iterator[TestClient]:
    with client_of(Settings(api_tokens=("secret", "other"))) as client:
        yield client


def test_without_tokens_everything_is_open() -> None:
    with client_of(Settings(api_tokens=())) as client:
        assert client.post("/classify").json() == "reached"


@pytest.mark.parametrize(
    "header", [None, "Bearer wrong", "Bearer ", "secret", "Basic !!", "Basic " + base64.b64encode(b"me:no").decode()]
)
@pytest.mark.parametrize("path", ["/classify", "/ui/"])
def test_a_missing_or_wrong_token_is_401(guarded: TestClient, header: str | None, path: str) -> None:
    headers = {"Authorization": header} if header else {}
    answer = guarded.request("POST" if path == "/classify" else "GET", path, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "unauthorised"
    assert answer.headers["www-authenticate"].partition(" ")[0] == ("Basic" if path == "/ui/" else "Bearer")


@pytest.mark.parametrize(
    "header", ["Bearer secret", "Bearer other", "Basic " + base64.b64encode(b"me:secret").decode()]
)
def test_each_token_opens_api_and_page(guarded: TestClient, header: str) -> None:
    assert guarded.post("/classify", headers={"Authorization": header}).json() == "reached"
    assert guarded.get("/ui/", headers={"Authorization": header}).json() == "page"


def test_the_icon_needs_no_token(guarded: TestClient) -> None:
    assert guarded.get("/favicon.ico").json()["error"]["code"] == "not_found", "past the guard: this app has none"


def test_a_body_over_the_limit_is_413() -> None:
    with client_of(Settings(max_upload_bytes=1000)) as client:
        answer = client.post("/classify", content=b"x" * 70_000)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_many_bytes")


@pytest.mark.parametrize("path", ["/metrics", "/labels", "/openapi.json", "/", "/nowhere"])
def test_all_but_probes_and_icon_need_the_token(guarded: TestClient, path: str) -> None:
    assert guarded.get(path).status_code == 401


def test_a_websocket_is_not_let_past_the_token(guarded: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect), guarded.websocket_connect("/ui/"):
        pass


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def spy(given: bytes, token: bytes) -> bool:
        compared.append(token)
        return given == token

    monkeypatch.setattr("http_guard.hmac.compare_digest", spy)
    with client_of(Settings(api_tokens=("first", "second"), owner_token="third")) as client:
        assert client.post("/classify", headers={"Authorization": "Bearer first"}).status_code == 200
    assert compared == [b"first", b"second", b"third"], "all of them, whichever matches"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:3000", "localhost:3000", "[::1]:3000", "a.localhost", ""])
def test_without_a_token_this_machine_is_let_in(host: str) -> None:
    with client_of(Settings()) as client:
        assert client.post("/classify", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["rebound.example:3000", "192.0.2.7", "[2001:db8::1]:3000", "localhost.example", "::"])
def test_without_a_token_no_other_name_is(host: str) -> None:
    with client_of(Settings()) as client:
        answer = client.post("/classify", headers={"Host": host})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_localhost")
    for settings in (Settings(allow_anonymous=True), Settings(api_tokens=("secret",))):
        with client_of(settings) as client:
            answer = client.post("/classify", headers={"Host": host, "Authorization": "Bearer secret"})
            assert answer.status_code == 200


def test_headers_are_on_every_answer(guarded: TestClient) -> None:
    for path, token in (("/ui/", True), ("/ui/", False), ("/classify", False), ("/nowhere", True), ("/livez", False)):
        answer = guarded.get(path, headers={"Authorization": "Bearer secret"} if token else {})
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert ("default-src 'none'" in answer.headers["content-security-policy"]) == (path != "/ui/")
        assert "server" not in answer.headers


def test_no_other_site_may_read_answers(guarded: TestClient) -> None:
    asks = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    for answer in (
        guarded.options("/classify", headers={**asks, "Authorization": "Bearer secret"}),
        guarded.post("/classify", headers={"Origin": asks["Origin"], "Authorization": "Bearer secret"}),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_a_fault_of_ours_tells_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    app = new_app(Settings())

    @app.get("/fault")
    async def fault() -> None:
        raise RuntimeError("secret")

    with TestClient(app, base_url="http://localhost") as client:
        answer = client.get("/fault")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert "secret" not in answer.text
    assert "x-frame-options" in answer.headers
    assert "secret" in caplog.text, "but its log says what"


def test_another_method_is_405_and_says_which() -> None:
    with client_of(Settings()) as client:
        answer = client.get("/classify")
        assert (answer.status_code, answer.json()["error"]["code"]) == (405, "http_405")
        assert answer.headers["allow"] == "POST"


def test_a_client_that_calls_too_often_is_429() -> None:
    with client_of(Settings(rate_limit=0.2)) as client:  # two at once
        assert [client.post("/classify").status_code for _ in range(3)] == [200, 200, 429]
        answer = client.post("/classify")
        assert answer.json()["error"]["code"] == "too_many_requests"
        assert 4 <= int(answer.headers["retry-after"]) <= 5
        assert client.get("/livez").status_code != 429


def test_guessing_tokens_is_limited_too() -> None:
    with client_of(Settings(api_tokens=("secret",), rate_limit=0.2)) as client:
        codes = [client.post("/classify", headers={"Authorization": f"Bearer {n}"}).status_code for n in range(4)]
        assert codes == [401, 401, 429, 429]


def test_the_rate_is_per_client_and_clients_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("http_rate.MAX_CLIENTS", 3)
    limiter = RateLimiter(2.0, lambda: now)
    assert [limiter.wait("192.0.2.1") for _ in range(21)] == [None] * 20 + [1]
    assert limiter.wait("192.0.2.2") is None
    now = 0.5
    assert limiter.wait("192.0.2.1") is None, "half a second is worth one"
    assert limiter.wait("192.0.2.1") == 1
    for _ in range(20):
        assert limiter.wait("2001:db8::1") is None
    assert limiter.wait("2001:db8::2") == 1, "one network is one client"
    assert limiter.wait("2001:db8:0:1::2") is None
    assert len(limiter._buckets) == 3
    assert all(RateLimiter(0).wait("192.0.2.1") is None for _ in range(100_000))


def test_a_path_that_is_not_there_is_json() -> None:
    with client_of(Settings()) as client:
        assert client.get("/nowhere").json()["error"] == {
            "code": "not_found",
            "message": "There is nothing at /nowhere.",
        }
