"""The guard before the API: tokens, and bodies that are too large before anything reads them."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from http_api import add_fallback, new_app
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
    return TestClient(app)


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
    assert ("www-authenticate" in answer.headers) == (path == "/ui/")


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


def test_a_path_that_is_not_there_is_json() -> None:
    with client_of(Settings()) as client:
        assert client.get("/nowhere").json()["error"] == {
            "code": "not_found",
            "message": "There is nothing at /nowhere.",
        }
