"""Bodies of the HTTP API beside `runners.prediction.Prediction`; docs/api.md has their descriptions."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from runners.prediction import ModelTags


class FeedbackRequest(BaseModel):
    """Whether a prediction was right."""

    model_config = ConfigDict(extra="forbid")

    prediction_id: str = Field(min_length=1, max_length=64, description="that of the prediction")
    correct: bool = Field(description="whether `label` of the prediction was right")
    label: str | None = Field(None, min_length=1, max_length=64, description="the right class, when not correct")
    note: str | None = Field(None, max_length=1000, description="anything worth telling the owner")


class FeedbackStored(BaseModel):
    """The feedback is on disk."""

    id: int = Field(description="of the stored record; the same call again gives the same")
    prediction_id: str = Field(description="as sent")


class FeedbackWithdrawn(BaseModel):
    """The feedback and its photo are deleted."""

    prediction_id: str = Field(description="as sent")
    withdrawn: bool = Field(description="always true")


class Explanation(BaseModel):
    """Where the network saw its best guess."""

    label: str = Field(description="the best guess, which the heat is about")
    probability: float = Field(ge=0, le=1, description="its calibrated probability")
    heat: list[list[float]] = Field(description="log-odds that hiding a square of the photo costs, row by row")


class Captured(BaseModel):
    """The photos are kept."""

    folder: str = Field(description="where, below the data root")
    photos: int = Field(ge=1, description="how many")
    line: str = Field(description="what the classes file needs below `folders:`")


class Thresholds(BaseModel):
    """Limits of the gate."""

    refuse_share: float = Field(ge=0, le=1, description="a photo whose `ood_p_value` is at most this is refused")


class Labels(BaseModel):
    """What is served now."""

    classes: list[str] = Field(description="class names, in the order of the network's outputs")
    models: ModelTags = Field(description="tags of the pair")
    thresholds: Thresholds = Field(description="what they are held against")


class Alive(BaseModel):
    """The process answers."""

    alive: bool = Field(description="always true")


class Readiness(BaseModel):
    """Which parts work."""

    ready: bool = Field(description="whether photos can be answered")
    network: str = Field(description="`ok` or `unavailable`")
    feedback: str = Field(description="`ok` or `unavailable`")


class ErrorText(BaseModel):
    """A code and a sentence."""

    code: str = Field(description="for programs: one of those listed below")
    message: str = Field(description="for people: one sentence")


class ErrorBody(BaseModel):
    """Every error of the API."""

    error: ErrorText = Field(description="what went wrong")
