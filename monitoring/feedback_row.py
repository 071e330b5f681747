"""The rows of the store: a person's answer (`Feedback`, and `NewFeedback` as it arrives) and a photo (`KeptPhoto`)."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, DateTime, Dialect, Double, Index, String, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from runners.prediction import ApiError, Prediction

_FACTS = (
    "prediction_id",
    "predicted_label",
    "best_guess",
    "probability",
    "probabilities",
    "in_distribution",
    "ood_p_value",
    "cnn_tag",
)


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes, stored as naive UTC, which SQLite and PostgreSQL compare alike."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    pass


class Predicted:
    """The columns of what was predicted of a photo."""

    prediction_id: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    predicted_label: Mapped[str] = mapped_column(String(64))
    best_guess: Mapped[str] = mapped_column(String(64))
    probability: Mapped[float] = mapped_column(Double)
    probabilities: Mapped[dict[str, float] | None] = mapped_column(JSON(none_as_null=True))
    in_distribution: Mapped[bool]
    ood_p_value: Mapped[float] = mapped_column(Double)
    cnn_tag: Mapped[str] = mapped_column(String(200))

    @property
    def facts(self) -> dict[str, Any]:
        """As `facts` of the prediction."""
        return {name: getattr(self, name) for name in _FACTS}


class KeptPhoto(Predicted, Base):
    """A photo that is kept because of its prediction, whether or not somebody gives feedback on it."""

    __tablename__ = "kept_photo"
    __table_args__ = (
        Index("kept_photo_prediction", "prediction_id", unique=True),
        Index("kept_photo_image", "image_sha256"),
        Index("kept_photo_created", "created_at"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    image_sha256: Mapped[str] = mapped_column(String(64))


class Feedback(Predicted, Base):
    """One person's latest answer about one prediction. Confirmations (``correct``) are accepted as they come."""

    __tablename__ = "feedback"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'accepted', 'rejected')", name="feedback_state"),
        Index("feedback_prediction", "prediction_id", unique=True),
        Index("feedback_image", "image_sha256"),
        Index("feedback_state_correct", "state", "correct"),
        Index("feedback_created", "created_at"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    correct: Mapped[bool]
    label: Mapped[str | None] = mapped_column(String(64))
    note: Mapped[str] = mapped_column(String(1000))
    image_sha256: Mapped[str | None] = mapped_column(String(64))
    dhash: Mapped[str | None] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(8))
    reviewed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    reviewed_label: Mapped[str | None] = mapped_column(String(64))

    @property
    def truth(self) -> str:
        """The class of the photo as far as people have said: the reviewer's, else the person's, else the prediction."""
        return self.reviewed_label or self.label or clean_label(self.predicted_label)

    @property
    def photo_mark(self) -> str:
        """Names this answer's photo in a page, without telling its prediction_id, which opens it; 32 hex digits."""
        return hashlib.sha256(f"{self.prediction_id} {self.image_sha256}".encode()).hexdigest()[:32]

    def says(self, entry: NewFeedback, sha256: str | None) -> bool:
        """Whether ``entry`` repeats this answer; a repetition need not bring the photo again."""
        same_photo = sha256 is None or sha256 == self.image_sha256
        return same_photo and (self.correct, self.label, self.note) == (entry.correct, entry.label, entry.note)

    def replace(self, entry: NewFeedback, sha256: str | None) -> None:
        """Take over ``entry`` in place of whatever was said and reviewed before."""
        for name in ("correct", "label", "note", *_FACTS):
            setattr(self, name, getattr(entry, name))
        if sha256 is not None and sha256 != self.image_sha256:
            self.image_sha256, self.dhash = sha256, None
        self.state = "accepted" if entry.correct else "pending"
        self.reviewed_at = self.reviewed_label = None
        self.updated_at = datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFeedback:
    """One answer to keep. ``image`` is the photo as `runners.images.archive_png` made it, None where none is kept.

    ``probabilities``: class name to calibrated probability, None where they are not known any more.
    ``label`` is the right class of a wrong prediction: free text, because people may propose new classes; kept as
    `clean_label` writes it. A confirmation has none. ``note``: at most 1,000 characters. ``probability`` and
    ``ood_p_value`` are in 0..1 and, like ``best_guess`` and ``cnn_tag``, come from the prediction, not from the person.

    Raises:
        ApiError: 422 when the fields contradict each other, are too long or are not text.
    """

    prediction_id: str
    correct: bool
    label: str | None = None
    note: str = ""
    predicted_label: str
    best_guess: str
    probability: float
    in_distribution: bool
    ood_p_value: float
    cnn_tag: str
    probabilities: dict[str, float] | None = None
    image: bytes | None = None

    def __post_init__(self) -> None:
        if not (1 <= len(self.prediction_id) <= 64 and self.prediction_id.isprintable()):
            raise _bad_field("The prediction_id must be 1 to 64 printable characters.")
        note = self.note.strip()
        if len(note) > 1000:
            raise _bad_field(f"The note has {len(note):,} characters; at most 1,000 are taken.")
        if any(unicodedata.category(char) in ("Cc", "Cs") and char not in "\t\r\n" for char in note):
            raise _bad_field("The note holds characters that are not text.")
        label = None if self.label is None else clean_label(self.label)
        predicted = clean_label(self.predicted_label)
        if self.correct and label not in (None, predicted):
            raise _bad_field(f'The prediction cannot be both correct and "{label}".')
        if not self.correct and label is None:
            raise _bad_field("A wrong prediction needs the right label.")
        if not self.correct and label == predicted:
            raise _bad_field(f'The label "{label}" is what was predicted; send correct=true instead.')
        object.__setattr__(self, "note", note)
        object.__setattr__(self, "label", None if self.correct else label)


def facts(prediction: Prediction) -> dict[str, Any]:
    """What is stored of ``prediction``, by the names of the columns and of `NewFeedback`."""
    return {
        "prediction_id": prediction.prediction_id,
        "predicted_label": prediction.label,
        "best_guess": prediction.best_guess,
        "probability": prediction.probability,
        "probabilities": {name: round(p, 6) for name, p in prediction.probabilities.items()},
        "in_distribution": prediction.in_distribution,
        "ood_p_value": prediction.ood_p_value,
        "cnn_tag": prediction.model.cnn,
    }


def clean_label(text: str) -> str:
    """A class name as it is stored: Unicode NFC, lower case, single spaces, 1 to 64 printable characters.

    Raises:
        ApiError: 422 when nothing is left, too much is, or it holds control characters.
    """
    label = " ".join(unicodedata.normalize("NFC", text).split()).lower()
    if not (1 <= len(label) <= 64 and label.isprintable()):
        raise _bad_field("The label must be 1 to 64 printable characters.")
    return label


def _bad_field(message: str) -> ApiError:
    return ApiError(422, "bad_field", message)
