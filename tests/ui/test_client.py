"""The HTTP client: what it sends, and that every failure is an `ApiProblem` with a sentence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from ui.api import ApiProblem
from ui.client import HttpApi

Handler = Callable[[httpx.Request], httpx.Response]


def call(handler: Handler, what: Callable[[HttpApi], Awaitable[dict[str, Any]]], token: str | None = None) -> Any:
    async def run() -> dict[str, Any]:
        async with HttpApi("http://service:3000", token, transport=httpx.MockTransport(handler)) as api:
            return await what(api)

    return asyncio.run(run())


def test_classify_posts_the_bytes_as_the_field_image() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert (request.method, str(request.url)) == ("POST", "http://service:3000/classify")
        assert b'name="image"' in request.content
        assert b"\x89PNG bytes" in request.content
        assert request.headers["authorization"] == "Bearer secret"
        return httpx.Response(200, json={"label": "cat"})

    assert call(handler, lambda api: api.classify(b"\x89PNG bytes"), token="secret") == {"label": "cat"}


def test_feedback_leaves_out_what_is_not_given() -> None:
    seen: list[Any] = []

    def handler(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("POST", "/feedback")
        assert "authorization" not in request.headers
        seen.append(json.loads(request.content))
        return httpx.Response(200, json={"id": 7})

    assert call(handler, lambda api: api.feedback("p1", True)) == {"id": 7}
    call(handler, lambda api: api.feedback("p1", False, "dog", "mine"))
    assert seen == [
        {"prediction_id": "p1", "correct": True},
        {"prediction_id": "p1", "correct": False, "label": "dog", "note": "mine"},
    ]


def test_labels() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("GET", "/labels")
        return httpx.Response(200, json={"classes": ["cat"]})

    assert call(handler, lambda api: api.labels()) == {"classes": ["cat"]}


def test_live_explain_preview_and_withdraw() -> None:
    seen: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(f"{request.method} {request.url.raw_path.decode()}")
        if request.url.path == "/preview":
            return httpx.Response(200, content=b"\x89PNG 32x32", headers={"content-type": "image/png"})
        return httpx.Response(200, json={})

    call(handler, lambda api: api.classify(b"photo", live=True))
    call(handler, lambda api: api.explain(b"photo"))
    assert call(handler, lambda api: api.preview(b"photo")) == b"\x89PNG 32x32"
    call(handler, lambda api: api.withdraw("a/b"))
    assert seen == ["POST /classify?live=true", "POST /explain", "POST /preview", "DELETE /feedback/a%2Fb"]


@pytest.mark.parametrize("body", [b"<html>", b"{}"], ids=["page", "json"])
def test_a_preview_that_is_no_picture_is_told(body: bytes) -> None:
    with pytest.raises(ApiProblem) as caught:
        call(lambda _: httpx.Response(200, content=body), lambda api: api.preview(b"photo"))
    assert caught.value.code == "bad_answer"


def test_an_address_with_a_path_keeps_it() -> None:
    async def run() -> dict[str, Any]:
        transport = httpx.MockTransport(lambda request: httpx.Response(200, json={"at": request.url.path}))
        async with HttpApi("https://host/classifier/", transport=transport) as api:
            return await api.labels()

    assert asyncio.run(run()) == {"at": "/classifier/labels"}


def test_the_services_error_is_passed_on() -> None:
    body = {"error": {"code": "too_many_bytes", "message": "The file has 11,000,000 bytes."}}
    with pytest.raises(ApiProblem) as caught:
        call(lambda _: httpx.Response(413, json=body), lambda api: api.classify(b"x"))
    assert (caught.value.code, caught.value.message) == ("too_many_bytes", "The file has 11,000,000 bytes.")
    assert caught.value.status == 413


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(502, text="<html>Bad gateway</html>"),
        httpx.Response(200, text="welcome"),
        httpx.Response(200, json=["not", "an", "object"]),
        httpx.Response(422, json={"detail": "of another service"}),
        httpx.Response(307, headers={"location": "http://elsewhere/"}),
    ],
    ids=["proxy page", "other site", "wrong shape", "other error", "redirect"],
)
def test_what_is_not_our_service_is_told(response: httpx.Response) -> None:
    with pytest.raises(ApiProblem) as caught:
        call(lambda _: response, lambda api: api.labels())
    assert caught.value.code == "bad_answer"
    assert "http://service:3000" in caught.value.message
    assert caught.value.status == response.status_code


@pytest.mark.parametrize(
    ("failure", "code"),
    [(httpx.ConnectError("refused"), "unreachable"), (httpx.ReadTimeout("slow"), "timeout")],
    ids=["gone", "slow"],
)
def test_a_service_that_is_gone_or_slow_is_told(failure: httpx.HTTPError, code: str) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        raise failure

    with pytest.raises(ApiProblem) as caught:
        call(handler, lambda api: api.labels())
    assert caught.value.code == code
    assert caught.value.status is None


@pytest.mark.parametrize("url", ["", "service:3000", "ftp://host", "http://", "/path"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not an http or https address"):
        HttpApi(url)
