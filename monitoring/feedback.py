"""What people say about predictions and the photos they said it of: kept durably, reviewed, counted, erased.

There is one writer at a time: saves, reviews and deletions each hold one lock, so that a photo is never unlinked while
a row that needs it is being written.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

from sqlalchemy import ColumnElement, Select, delete, func, or_, select, update
from sqlalchemy.orm import Session

from monitoring.feedback_database import Database, unavailable_as_503
from monitoring.feedback_row import Feedback, NewFeedback, clean_label
from monitoring.group_commit import GroupCommit
from monitoring.image_store import ImageStore
from runners.prediction import ApiError
from settings import Settings

__all__ = [
    "Accuracy",
    "Correction",
    "Feedback",
    "FeedbackStore",
    "NewFeedback",
    "Removed",
    "Saved",
    "State",
    "clean_label",
]

State = Literal["pending", "accepted", "rejected"]
Value = TypeVar("Value", int, str)

_IDS_PER_STATEMENT = 500
_PUTS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Saved:
    """``id`` of the row that holds the answer; ``created`` is False when this prediction had an answer before."""

    id: int
    created: bool


@dataclass(frozen=True, slots=True)
class Correction:
    """A reviewed correction that may train: the PNG at ``image`` shows ``label``; `ImageStore.get` verifies it."""

    id: int
    label: str
    sha256: str
    image: Path


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Share ``value`` of ``answers`` that found the prediction right; 95 % Wilson interval ``low``..``high``."""

    answers: int
    correct: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Removed:
    """What a deletion took: ``answers`` rows and ``photos`` files."""

    answers: int
    photos: int


class FeedbackStore:
    """The feedback table and its photos; threads and processes may share them.

    Every method raises `ApiError` 503 ``feedback_unavailable`` when the database or the photo folder cannot be used.
    """

    def __init__(self, url: str, images: ImageStore) -> None:
        """Name the database by its SQLAlchemy ``url`` (nothing is opened yet); ValueError for one that cannot work."""
        self.database = Database(url)
        self.images = images
        self._save_together = GroupCommit(self._save_all)

    @classmethod
    def open(cls, settings: Settings) -> FeedbackStore:
        """The store that ``settings`` name, its folders made and its schema up to date."""
        store = cls(settings.database, ImageStore(settings.images))
        with unavailable_as_503():
            store.images.root.mkdir(parents=True, exist_ok=True)
        store.database.migrate()
        return store

    def healthy(self) -> bool:
        """Whether the table answers and the photo folder takes files."""
        try:
            with self.database.reading() as session:
                session.execute(select(Feedback.id).limit(1))
        except ApiError:
            return False
        return os.access(self.images.root, os.W_OK)

    def save(self, entry: NewFeedback) -> Saved:
        """Keep ``entry``, durably when this returns.

        The same answer to the same prediction is stored once and keeps its review; another answer replaces the former
        one and awaits review again.
        """
        return self._save_together(entry)

    def pending(
        self, limit: int = 50, offset: int = 0, *, label: str | None = None, predicted_label: str | None = None
    ) -> list[Feedback]:
        """Corrections that await review, oldest first; only those to ``label`` or from ``predicted_label`` if given."""
        query = select(Feedback).where(*_AWAITS_REVIEW).order_by(Feedback.id).limit(limit).offset(offset)
        if label is not None:
            query = query.where(Feedback.label == clean_label(label))
        if predicted_label is not None:
            query = query.where(Feedback.predicted_label == predicted_label)
        return self._rows(query)

    def photographed(self) -> list[Feedback]:
        """Every row with a photo, oldest first: what a review compares new corrections with."""
        return self._rows(select(Feedback).where(Feedback.image_sha256.is_not(None)).order_by(Feedback.id))

    def counts(self) -> dict[str, int]:
        """Rows by kind: ``confirmed`` answers, and ``pending``, ``accepted`` and ``rejected`` corrections."""
        counts = dict.fromkeys(("confirmed", "pending", "accepted", "rejected"), 0)
        query = select(Feedback.correct, Feedback.state, func.count()).group_by(Feedback.correct, Feedback.state)
        with self.database.reading() as session:
            for correct, state, number in session.execute(query):
                counts["confirmed" if correct else state] += number
        return counts

    def accuracy(self, since: datetime | None = None) -> Accuracy | None:
        """How often people found predictions right in answers since ``since`` (aware datetime); None without answers.

        Rejected answers don't count; a correction that the reviewer set back to the predicted label counts as right.
        Interval: Wilson, J. Am. Stat. Assoc. 22 (1927), at 95 %.
        """
        right = or_(
            Feedback.correct, func.coalesce(Feedback.reviewed_label == func.lower(Feedback.predicted_label), False)
        )
        query = select(func.count(), func.count().filter(right)).where(Feedback.state != "rejected")
        if since is not None:
            query = query.where(Feedback.updated_at >= since)
        with self.database.reading() as session:
            answers, correct = session.execute(query).one()
        if answers == 0:
            return None
        from scipy.stats import binomtest

        interval = binomtest(correct, answers).proportion_ci(0.95, method="wilson")
        return Accuracy(answers, correct, correct / answers, float(interval.low), float(interval.high))

    def accepted(self) -> list[Correction]:
        """The accepted corrections that have a photo, one per photo: the latest review wins."""
        query = (
            select(Feedback)
            .where(Feedback.correct.is_(False), Feedback.state == "accepted", Feedback.image_sha256.is_not(None))
            .order_by(Feedback.reviewed_at, Feedback.id)
        )
        latest = {row.image_sha256: row for row in self._rows(query) if row.image_sha256}
        return [Correction(row.id, row.truth, sha256, self.images.path(sha256)) for sha256, row in latest.items()]

    def set_state(self, ids: Sequence[int], state: State, label: str | None = None) -> int:
        """Review the corrections ``ids``; ``label`` (with accepted only) is the reviewer's in place of the person's.

        Returns how many were changed; ids of confirmations and unknown ids change nothing.
        """
        if label is not None and state != "accepted":
            raise ValueError("Only an accepted correction can be given another label.")
        values = {
            "state": state,
            "reviewed_at": None if state == "pending" else datetime.now(UTC),
            "reviewed_label": None if label is None else clean_label(label),
        }
        changed = 0
        with self.database.writing() as session:
            for some in _in_parts(ids):
                chosen = Feedback.id.in_(some)
                statement = update(Feedback).where(Feedback.correct.is_(False), chosen).values(values)
                changed += len(session.scalars(statement.returning(Feedback.id)).all())
        return changed

    def corrections_among(self, ids: Sequence[int]) -> set[int]:
        """Those of ``ids`` that are corrections, whatever their state."""
        found: set[int] = set()
        with self.database.reading() as session:
            for some in _in_parts(ids):
                chosen = Feedback.id.in_(some)
                found.update(session.scalars(select(Feedback.id).where(Feedback.correct.is_(False), chosen)))
        return found

    def keep_dhashes(self, dhashes: Mapping[str, str]) -> None:
        """Remember perceptual hashes (16 hex digits) by the SHA-256 of their photos."""
        with self.database.writing() as session:
            for sha256, dhash in dhashes.items():
                session.execute(update(Feedback).where(Feedback.image_sha256 == sha256).values(dhash=dhash))

    def delete(self, prediction_id: str) -> bool:
        """Erase the answer to a prediction, and its photo unless another answer shares it; False if there was none."""
        if not self.remove(Feedback.prediction_id == prediction_id).answers:
            return False
        self.database.scrub()
        return True

    def remove(self, condition: ColumnElement[bool], *, dry_run: bool = False) -> Removed:
        """Delete the rows that meet ``condition`` and photos that only they had; `Database.scrub` does the rest."""
        kept = select(Feedback.image_sha256).where(~condition, Feedback.image_sha256.is_not(None)).correlate(None)
        only_theirs = select(Feedback.image_sha256).where(condition, Feedback.image_sha256.not_in(kept)).distinct()
        with self.database.writing() as session:
            answers = session.scalar(select(func.count()).select_from(Feedback).where(condition)) or 0
            photos = [sha256 for sha256 in session.scalars(only_theirs) if sha256 is not None]
            if dry_run:
                return Removed(answers, sum(map(self.images.exists, photos)))
            session.execute(delete(Feedback).where(condition))
        # Rows first: were we to die in between, a photo without a row is swept later, a row without a photo is a fault.
        return Removed(answers, self.drop_unused(photos))

    def drop_unused(self, digests: Iterable[str], *, dry_run: bool = False) -> int:
        """Delete those of the photos ``digests`` that no row has; returns their number."""
        dropped = 0
        with self.database.writing() as session:
            for some in _in_parts(digests):
                chosen = Feedback.image_sha256.in_(some)
                used = set(session.scalars(select(Feedback.image_sha256).where(chosen).distinct()))
                unused = [sha256 for sha256 in some if sha256 not in used and self.images.exists(sha256)]
                dropped += len(unused) if dry_run else sum(map(self.images.delete, unused))
        return dropped

    def sweep(self, *, dry_run: bool = False) -> int:
        """Delete every photo that no row has, and unfinished files of writers that died; returns their number."""
        with self.database.writing():  # nobody is inside `ImageStore.put` while we hold the lock
            parts = list(self.images.leftovers())
            if not dry_run:
                for part in parts:
                    part.unlink()
        return len(parts) + self.drop_unused(self.images.digests(), dry_run=dry_run)

    def _save_all(self, entries: list[NewFeedback]) -> list[Saved]:
        """`save` each of ``entries``, in order and in one transaction: all of them or none."""
        saved: list[tuple[Feedback, bool]] = []
        photos: dict[str, bytes] = {}
        former: set[str] = set()
        put = False
        try:
            with self.database.writing() as session:
                rows = self._by_prediction(session, [entry.prediction_id for entry in entries])
                for entry in entries:
                    sha256 = None if entry.image is None else hashlib.sha256(entry.image).hexdigest()
                    row = rows.get(entry.prediction_id)
                    created = row is None
                    if row is None:
                        row = Feedback(prediction_id=entry.prediction_id, created_at=datetime.now(UTC))
                        rows[entry.prediction_id] = row
                        session.add(row)
                    saved.append((row, created))
                    if not created and row.says(entry, sha256):
                        continue
                    if row.image_sha256 not in (None, sha256):
                        former.add(str(row.image_sha256))
                    row.replace(entry, sha256)
                    if sha256 is not None and entry.image is not None:
                        photos[sha256] = entry.image
                session.flush()
                put = True
                self._put_all(photos.values())
        except ApiError:
            if put:
                self._drop_if_possible(photos)
            raise
        self._drop_if_possible(former)
        return [Saved(row.id, created) for row, created in saved]

    def _by_prediction(self, session: Session, prediction_ids: list[str]) -> dict[str, Feedback]:
        rows = session.scalars(select(Feedback).where(Feedback.prediction_id.in_(prediction_ids)))
        return {row.prediction_id: row for row in rows}

    def _put_all(self, pngs: Collection[bytes]) -> None:
        if len(pngs) < 2:
            list(map(self.images.put, pngs))
            return
        with ThreadPoolExecutor(min(_PUTS_AT_ONCE, len(pngs))) as threads:  # a disk takes many at once as fast as one
            list(threads.map(self.images.put, pngs))

    def _drop_if_possible(self, digests: Iterable[str]) -> None:
        with suppress(ApiError):  # `sweep` finds what cannot be dropped now
            if there := [sha256 for sha256 in digests if self.images.exists(sha256)]:
                self.drop_unused(there)

    def _rows(self, query: Select[Feedback]) -> list[Feedback]:
        with self.database.reading() as session:
            return list(session.scalars(query))


_AWAITS_REVIEW = (Feedback.correct.is_(False), Feedback.state == "pending")


def _in_parts(values: Iterable[Value]) -> Iterator[list[Value]]:
    """``values`` in lists that one statement takes."""
    rest = iter(values)
    while part := list(islice(rest, _IDS_PER_STATEMENT)):
        yield part
