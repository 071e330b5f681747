"""What crosses the border to the caller: a prediction, and the one error type of the API."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ApiError(Exception):
    """An error that the caller may see: HTTP ``status``, machine-readable ``code``, one clear sentence."""

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after

    def body(self) -> dict[str, dict[str, str]]:
        return {"error": {"code": self.code, "message": self.message}}


class ModelTags(BaseModel):
    """BentoML tags of a pair."""

    model_config = ConfigDict(frozen=True)

    cnn: str = Field(description="of the network")
    forest: str = Field(description="of the gate")


class Timings(BaseModel):
    """Wall-clock milliseconds of one request inside the server."""

    model_config = ConfigDict(frozen=True)

    decode_ms: float = Field(ge=0, description="reading the photo")
    predict_ms: float = Field(ge=0, description="waiting for a batch, network and gate")


class Prediction(BaseModel):
    """What the pair says of one photo."""

    model_config = ConfigDict(frozen=True)

    prediction_id: str = Field(description="names the prediction in `/feedback`, for a while")
    label: str = Field(description='the class, or `"unknown"` when the gate refuses')
    best_guess: str = Field(description="the most probable class, also when the gate refuses")
    probability: float = Field(ge=0, le=1, description="calibrated probability of `best_guess`")
    probabilities: dict[str, float] = Field(description="class name -> calibrated probability, all classes")
    in_distribution: bool = Field(description="false when the gate refuses")
    ood_score: float = Field(description="anomaly score of the isolation forest; higher is more unknown")
    ood_p_value: float = Field(ge=0, le=1, description="conformal: share of good images at least as unusual")
    model: ModelTags = Field(description="the pair that answered")
    timings: Timings = Field(description="where the time went")
