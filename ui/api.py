"""What the page needs from whoever hosts it: three calls, one more for owners, and errors that carry a sentence."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


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


@runtime_checkable
class OwnerApi(Api, Protocol):
    """An `Api` whose owner may also add photos: the page then has a tab for it, which only the owner sees."""

    def is_owner(self, authorization: str) -> bool:
        """Whether a request with this header ``Authorization`` ("" for none) comes from the owner."""
        ...

    async def capture(self, label: str, images: list[bytes]) -> dict[str, Any]:
        """Keep encoded photos of class ``label`` as one burst, as ``POST /captures`` does.

        ``{"folder": where they lie, "photos": how many, "line": the line that the classes file needs}``
        """
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
