"""What the page needs from whoever hosts it: three calls and errors that carry a sentence."""

from __future__ import annotations

from typing import Any, Protocol


class Api(Protocol):
    """The calls of the HTTP API that the page makes, with the same JSON in and out.

    Each may raise an error with the attributes ``code`` and ``message``, and perhaps ``status`` (the HTTP status):
    `ApiProblem`, or the service's own error type. The page shows the sentence of those and logs any other.
    """

    async def classify(self, image: bytes) -> dict[str, Any]:
        """The Prediction of an encoded photo, as ``POST /classify`` answers it."""
        ...

    async def feedback(
        self, prediction_id: str, correct: bool, label: str | None = None, note: str | None = None
    ) -> dict[str, Any]:
        """Store a verdict, as ``POST /feedback`` does; ``{"id": ...}`` names the stored record."""
        ...

    async def labels(self) -> dict[str, Any]:
        """``{"classes": [...], "models": {"cnn": tag, "forest": tag}, "thresholds": {...}}``, as ``GET /labels``."""
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
