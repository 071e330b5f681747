"""What the page needs from whoever hosts it: the API's calls, the owner's, and errors that carry a sentence."""

from __future__ import annotations

from typing import Any, Literal, Protocol


class Api(Protocol):
    """The calls of the HTTP API that the page makes, with the same JSON in and out.

    Each may raise an error with the attributes ``code`` and ``message``, and perhaps ``status`` (the HTTP status):
    `ApiProblem`, or the service's own error type. The page shows the sentence of those and logs any other.
    """

    async def classify(self, image: bytes, live: bool = False) -> dict[str, Any]:
        """The Prediction of an encoded photo, as ``POST /classify`` answers it; of a ``live`` one nothing is kept."""
        ...

    async def explain(self, image: bytes) -> dict[str, Any]:
        """``{"label": best guess, "probability": its, "heat": rows of numbers}``, as ``POST /explain``."""
        ...

    async def preview(self, image: bytes) -> bytes:
        """The photo as the network reads it, a PNG of 32×32, as ``POST /preview``."""
        ...

    async def feedback(
        self, prediction_id: str, correct: bool, label: str | None = None, note: str | None = None
    ) -> dict[str, Any]:
        """Store a verdict, as ``POST /feedback`` does; ``{"id": ...}`` names the stored record."""
        ...

    async def withdraw(self, prediction_id: str) -> dict[str, Any]:
        """Take the verdict back, as ``DELETE /feedback/{prediction_id}`` does."""
        ...

    async def labels(self) -> dict[str, Any]:
        """``{"classes": [...], "models": {"cnn": tag, "forest": tag}, "thresholds": {...}}``, as ``GET /labels``."""
        ...


class OwnerApi(Protocol):
    """What only the owner may do; the page asks `is_owner` before each call, and fails as those of `Api` do."""

    def is_owner(self, authorization: str) -> bool:
        """Whether a request with this header ``Authorization`` ("" for none) comes from the owner."""
        ...

    async def capture(self, label: str, images: list[bytes]) -> dict[str, Any]:
        """Keep encoded photos of class ``label`` as one burst, as ``POST /captures`` does.

        ``{"folder": where they lie, "photos": how many, "line": the line that the classes file needs}``
        """
        ...

    async def corrections(self, chosen: dict[str, Any]) -> dict[str, Any]:
        """Corrections that wait for review: ``pending`` and ``matching`` (numbers), ``labels``, ``models``, ``items``.

        ``chosen``: ``label``, ``model`` (None for any), ``refused``, ``unsure``, ``disagree`` (whether only such).
        """
        ...

    async def review(
        self, correction: int, state: Literal["pending", "accepted", "rejected"], label: str | None = None
    ) -> None:
        """Accept a correction (as ``label``, if given), reject it, or put it back."""
        ...

    async def traffic(self) -> dict[str, Any]:
        """What was asked and answered in the last hour, and what people said of it."""
        ...

    async def drift(self) -> list[dict[str, Any]]:
        """The latest windows of traffic, oldest first, each compared with the reference column by column."""
        ...

    async def history(self) -> dict[str, Any]:
        """``models`` that were served and ``challengers`` that were judged, the latest first."""
        ...

    async def report(self) -> str:
        """The whole drift report, an HTML document."""
        ...

    async def holdings(self) -> dict[str, Any]:
        """``classes`` with their numbers of photos, captured ``bursts``, ``feedback`` by kind."""
        ...

    async def delete_burst(self, folder: str) -> int:
        """Delete a captured burst; the number of photos."""
        ...

    async def delete_feedback(self, name: str | None) -> dict[str, int]:
        """Erase one feedback, by its number or prediction_id, or all; ``{"answers": rows, "photos": files}``."""
        ...


class ApiProblem(Exception):  # noqa: N818 - told to a person, not a fault of the program
    """An API call that failed: machine-readable ``code``, one clear sentence, HTTP ``status`` if one was answered."""

    def __init__(self, code: str, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


def as_problem(error: Exception) -> ApiProblem | None:
    """``error`` as an `ApiProblem` when it carries a ``code`` and a ``message``, whatever its type; else None."""
    if isinstance(error, ApiProblem):
        return error
    code, message = getattr(error, "code", None), getattr(error, "message", None)
    if not isinstance(code, str) or not isinstance(message, str):
        return None
    status = getattr(error, "status", None)
    return ApiProblem(code, message, status if isinstance(status, int) else None)
