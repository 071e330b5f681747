"""The API's calls over HTTP: what the page is handed when it runs alone, against a remote service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

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

    async def classify(self, image: bytes) -> dict[str, Any]:
        """``POST /classify`` with ``image``, an encoded photo."""
        return await self._call("POST", "classify", files={"image": ("photo", image, "application/octet-stream")})

    async def feedback(
        self, prediction_id: str, correct: bool, label: str | None = None, note: str | None = None
    ) -> dict[str, Any]:
        """``POST /feedback``; ``label`` and ``note`` are left out when None."""
        body = {"prediction_id": prediction_id, "correct": correct, "label": label, "note": note}
        return await self._call(
            "POST", "feedback", json={key: value for key, value in body.items() if value is not None}
        )

    async def labels(self) -> dict[str, Any]:
        """``GET /labels``."""
        return await self._call("GET", "labels")

    async def _call(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        import httpx

        try:
            response = await self._client.request(method, path, **content)
        except httpx.TimeoutException:
            raise ApiProblem("timeout", f"{self._url} did not answer in {TIMEOUT_SECONDS:.0f} s.") from None
        except httpx.HTTPError as error:
            raise ApiProblem("unreachable", f"{self._url} cannot be reached: {error}") from None
        try:
            body = response.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise ApiProblem(
                "bad_answer", f"{self._url} answered {response.status_code} without JSON.", response.status_code
            )
        if response.status_code == httpx.codes.OK:
            return body
        match body:
            case {"error": {"code": str(code), "message": str(message)}}:
                raise ApiProblem(code, message, response.status_code)
        raise ApiProblem(
            "bad_answer", f"{self._url} answered {response.status_code} without an error of ours.", response.status_code
        )
