"""The API's calls over HTTP: what the page is handed when it runs alone, against a remote service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlsplit

from ui.api import ApiProblem

if TYPE_CHECKING:
    import httpx

TIMEOUT_SECONDS = 30.0


class HttpApi:
    """`ui.api.Api` over HTTP; use it as ``async with`` or call `aclose`.

    ``url`` is the service's address (http or https), ``token`` its bearer token where one is set, ``transport`` an
    httpx transport that replaces the network. Every call raises `ApiProblem`, and nothing else, when it fails.

    Raises:
        ValueError: ``url`` is no http or https address.
    """

    def __init__(
        self, url: str, token: str | None = None, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        import httpx

        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise ValueError(f"{url!r} is not an http or https address.")
        self._url = url
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=TIMEOUT_SECONDS,
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def classify(self, image: bytes, live: bool = False) -> dict[str, Any]:
        """``POST /classify`` with ``image``, an encoded photo."""
        params = {"live": "true"} if live else {}
        return await self._call("POST", "classify", files=_form(image), params=params)

    async def explain(self, image: bytes) -> dict[str, Any]:
        """``POST /explain``."""
        return await self._call("POST", "explain", files=_form(image))

    async def preview(self, image: bytes) -> bytes:
        """``POST /preview``."""
        response = await self._send("POST", "preview", files=_form(image))
        if response.status_code == 200 and response.content.startswith(b"\x89PNG"):
            return response.content
        self._json(response)  # raises for an error of ours
        raise self._strange(response, "without a picture")

    async def feedback(
        self, prediction_id: str, correct: bool, label: str | None = None, note: str | None = None
    ) -> dict[str, Any]:
        """``POST /feedback``; ``label`` and ``note`` are left out when None."""
        body = {"prediction_id": prediction_id, "correct": correct, "label": label, "note": note}
        return await self._call(
            "POST", "feedback", json={key: value for key, value in body.items() if value is not None}
        )

    async def withdraw(self, prediction_id: str) -> dict[str, Any]:
        """``DELETE /feedback/{prediction_id}``."""
        return await self._call("DELETE", f"feedback/{quote(prediction_id, safe='')}")

    async def labels(self) -> dict[str, Any]:
        """``GET /labels``."""
        return await self._call("GET", "labels")

    async def _call(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        return self._json(await self._send(method, path, **content))

    async def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        import httpx

        try:
            return await self._client.request(method, path, **content)
        except httpx.TimeoutException:
            raise ApiProblem("timeout", f"{self._url} did not answer in {TIMEOUT_SECONDS:.0f} s.") from None
        except httpx.HTTPError as error:
            raise ApiProblem("unreachable", f"{self._url} cannot be reached: {error}") from None

    def _json(self, response: httpx.Response) -> dict[str, Any]:
        try:
            body = response.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise self._strange(response, "without JSON")
        if response.status_code == 200:
            return body
        match body:
            case {"error": {"code": str(code), "message": str(message)}}:
                raise ApiProblem(code, message, response.status_code)
        raise self._strange(response, "without an error of ours")

    def _strange(self, response: httpx.Response, how: str) -> ApiProblem:
        message = f"{self._url} answered {response.status_code} {how}."
        return ApiProblem("bad_answer", message, response.status_code)


def _form(image: bytes) -> dict[str, Any]:
    return {"image": ("photo", image, "application/octet-stream")}
