"""What people say about predictions and the photos they said it of: kept durably, reviewed, counted, erased.

There is one writer at a time: saves, reviews and deletions each hold one lock, so that a photo is never unlinked while
a row that needs it is being written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Literal, TypeVar

from sqlalchemy import ColumnElement, Select, delete, func, not_, or_, select, update
from sqlalchemy.orm import Session, defer

from monitoring.feedback_database import Database, unavailable_as_503
from monitoring.feedback_row import Feedback, KeptPhoto, NewFeedback, clean_label
from monitoring.group_commit import GroupCommit
from monitoring.image_store import DamagedImageError, ImageStore, open_images
from monitoring.intervals import wilson
from monitoring.remote_images import RemoteImageStore
from monitoring.suspicion import suspected
from runners.prediction import ApiError
from settings import Settings

__all__ = [
    "Accuracy",
    "Correction",
    "Feedback",
    "FeedbackStore",
    "KeptPhoto",
    "NewFeedback",
    "Removed",
    "Saved",
    "State",
    "clean_label",
]

State = Literal["pending", "accepted", "rejected"]
Value = TypeVar("Value", int, str)
Chosen = Callable[[type[Feedback] | type[KeptPhoto]], ColumnElement[bool]]
"""The rows of each table that a deletion is about."""

_IDS_PER_STATEMENT = 500
_PUTS_AT_ONCE = 16
_DELETIONS_PER_LOCK = 50
"""Saves go on in between: listing and deleting many photos takes minutes where they are far away."""


@dataclass(frozen=True, slots=True)
class Saved:
    """``id`` of the row that holds the answer; ``created`` is False when this prediction had an answer before."""

    id: int
    created: bool


@dataclass(frozen=True, slots=True)
class Correction:
    """A reviewed correction that may train: the photo ``sha256``, which `ImageStore.get` gives, shows ``label``.

    ``suspected``: the network's answer makes the person's label unlikely, and the reviewer gave it no other one.
    """

    id: int
    label: str
    sha256: str
    suspected: bool = False


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
    """What a deletion took: ``answers`` and ``kept`` rows, and ``photos`` files."""

    answers: int
    kept: int
    photos: int


class FeedbackStore:
    """The feedback table and its photos; threads and processes may share them.

    Every method raises `ApiError` 503 ``feedback_unavailable`` when the database or the photo folder cannot be used.
    """

    def __init__(self, url: str, images: ImageStore | RemoteImageStore) -> None:
        """Name the database by its SQLAlchemy ``url`` (nothing is opened yet); ValueError for one that cannot work."""
        self.database = Database(url)
        self.images = images
        self._save_together = GroupCommit(self._save_all)

    @classmethod
    def open(cls, settings: Settings) -> FeedbackStore:
        """The store that ``settings`` name, its folders made and its schema up to date."""
        store = cls.named_by(settings)
        store.prepare()
        return store

    @classmethod
    def named_by(cls, settings: Settings) -> FeedbackStore:
        """`open` without touching anything yet. Raises ValueError for a URL that cannot work."""
        return cls(settings.database, open_images(settings.images))

    def prepare(self) -> None:
        """Make the folders, create or upgrade the schema."""
        with unavailable_as_503():
            self.images.prepare()
        self.database.migrate()

    def healthy(self) -> bool:
        """Whether the table answers, and photos can be put."""
        try:
            with self.database.reading() as session:
                session.execute(select(Feedback.id).limit(1))
            with unavailable_as_503():
                return self.images.has_room()
        except ApiError:
            return False

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
        """Every row with a photo, oldest first, without probabilities: what a review compares new corrections with."""
        query = select(Feedback).where(Feedback.image_sha256.is_not(None)).order_by(Feedback.id)
        return self._rows(query.options(defer(Feedback.probabilities)))

    def counts(self) -> dict[str, int]:
        """Rows by kind: ``confirmed`` answers, and ``pending``, ``accepted`` and ``rejected`` corrections."""
        counts = dict.fromkeys(("confirmed", "pending", "accepted", "rejected"), 0)
        query = select(Feedback.correct, Feedback.state, func.count()).group_by(Feedback.correct, Feedback.state)
        with self.database.reading() as session:
            for correct, state, number in session.execute(query):
                counts["confirmed" if correct else state] += number
        return counts

    def kept(self, prediction_id: str) -> KeptPhoto | None:
        """The photo that is kept because of this prediction."""
        with self.database.reading() as session:
            return session.scalar(select(KeptPhoto).where(KeptPhoto.prediction_id == prediction_id))

    def photo(self, sha256: str) -> bytes | None:
        """The kept photo ``sha256``; None where it is gone or damaged."""
        with unavailable_as_503():
            try:
                return self.images.get(sha256)
            except (FileNotFoundError, DamagedImageError):
                return None

    def is_empty(self) -> bool:
        """Whether there is no row at all."""
        with self.database.reading() as session:
            return all(session.scalar(select(table.id).limit(1)) is None for table in (Feedback, KeptPhoto))

    def accuracy(self, since: datetime | None = None) -> Accuracy | None:
        """How often people found predictions right in answers since ``since`` (aware datetime); None without answers.

        Rejected answers don't count; a correction that the reviewer set back to the predicted label counts as right.
        Interval: Wilson, J. Am. Stat. Assoc. 22 (1927), at 95 %.
        """
        query = select(func.count(), func.count().filter(_RIGHT)).where(Feedback.state != "rejected")
        if since is not None:
            query = query.where(Feedback.updated_at >= since)
        with self.database.reading() as session:
            answers, correct = session.execute(query).one()
        if answers == 0:
            return None
        return Accuracy(answers, correct, correct / answers, *wilson(correct, answers))

    def answers_by_class(self, cnn_tag: str, since: datetime | None = None) -> dict[str, tuple[int, int]]:
        """Class answered by the network ``cnn_tag`` -> (answers found right, answers), as `accuracy` counts them.

        Photos that the gate refused are left out: nobody can find "unknown" right.
        """
        query = (
            select(Feedback.predicted_label, func.count().filter(_RIGHT), func.count())
            .where(Feedback.state != "rejected", Feedback.in_distribution, Feedback.cnn_tag == cnn_tag)
            .group_by(Feedback.predicted_label)
        )
        if since is not None:
            query = query.where(Feedback.updated_at >= since)
        with self.database.reading() as session:
            return {label: (right, total) for label, right, total in session.execute(query)}

    def latest_photos(self, cnn_tag: str, since: datetime | None, most: int) -> list[Feedback]:
        """Rows with a photo that the network ``cnn_tag`` answered, wrong answers first, then the newest."""
        query = select(Feedback).where(Feedback.cnn_tag == cnn_tag, Feedback.image_sha256.is_not(None))
        if since is not None:
            query = query.where(Feedback.updated_at >= since)
        return self._rows(query.order_by(Feedback.correct, Feedback.updated_at.desc()).limit(most))

    def photo_marks(self, besides: Chosen) -> set[str]:
        """`Feedback.photo_mark` of every answer with a photo, ``besides`` those that are picked."""
        query = select(Feedback).where(Feedback.image_sha256.is_not(None), not_(besides(Feedback)))
        return {row.photo_mark for row in self._rows(query)}

    def accepted(self) -> list[Correction]:
        """The accepted corrections that have a photo, one per photo: the latest review wins."""
        query = (
            select(Feedback)
            .where(Feedback.correct.is_(False), Feedback.state == "accepted", Feedback.image_sha256.is_not(None))
            .order_by(Feedback.reviewed_at, Feedback.id)
        )
        latest = {row.image_sha256: row for row in self._rows(query) if row.image_sha256}
        return [
            Correction(row.id, row.truth, sha256, row.reviewed_label is None and suspected(row))
            for sha256, row in latest.items()
        ]

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
        """Erase what is stored of a prediction, and its photo unless another one shares it; False if nothing is."""
        removed = self.remove(lambda table: table.prediction_id == prediction_id)
        if not (removed.answers or removed.kept):
            return False
        self.database.scrub()
        return True

    def withdraw(self, prediction_id: str) -> bool:
        """Take an answer back: its row and its photo go, as in `delete`, whose scrubbing is left to the next purge."""
        return bool(self.remove(lambda table: table.prediction_id == prediction_id).answers)

    def remove(self, chosen: Chosen, *, dry_run: bool = False) -> Removed:
        """Delete the rows that ``chosen`` picks and photos that only they had; `Database.scrub` does the rest."""
        photos: set[str] = set()
        counts = {}
        with self.database.writing() as session:
            for table in (Feedback, KeptPhoto):
                which = chosen(table)
                digests = session.scalars(select(table.image_sha256).where(which).distinct())
                photos.update(sha256 for sha256 in digests if sha256 is not None)
                counts[table] = session.scalar(select(func.count()).select_from(table).where(which)) or 0
                session.execute(delete(table).where(which))
            if dry_run:
                unused = sum(len(self._unused(session, some)) for some in _in_parts(photos))
                session.rollback()
                return Removed(counts[Feedback], counts[KeptPhoto], unused)
        # Rows first: were we to die in between, a photo without a row is swept later, a row without a photo is a fault.
        return Removed(counts[Feedback], counts[KeptPhoto], self.drop_unused(photos))

    def drop_unused(self, digests: Iterable[str], *, dry_run: bool = False) -> int:
        """Delete those of the photos ``digests`` that no row has; returns their number."""
        dropped = 0
        for some in _in_parts(digests, _DELETIONS_PER_LOCK):
            with self.database.writing() as session:
                unused = self._unused(session, some)
                dropped += len(unused) if dry_run else sum(map(self.images.delete, unused))
        return dropped

    def _unused(self, session: Session, digests: list[str]) -> list[str]:
        """Those of the photos ``digests`` that are there and that no row has."""
        used: set[str | None] = set()
        for table in (Feedback, KeptPhoto):
            chosen = table.image_sha256.in_(digests)
            used.update(session.scalars(select(table.image_sha256).where(chosen).distinct()))
        return [sha256 for sha256 in digests if sha256 not in used and self.images.exists(sha256)]

    def sweep(self, *, dry_run: bool = False) -> int:
        """Delete every photo that no row has, and unfinished files of writers that died; returns their number."""
        with self.database.writing():  # nobody is inside `ImageStore.put` while we hold the lock
            parts = self.images.drop_leftovers(dry_run=dry_run)
        return parts + self.drop_unused(self.images.digests(), dry_run=dry_run)

    @contextmanager
    def writing_with(self, photos: dict[str, bytes]) -> Iterator[Session]:
        """A transaction for rows that need ``photos`` (PNG by digest), which may be filled within: all or nothing."""
        put = False
        try:
            with self.database.writing() as session:
                yield session
                session.flush()
                put = True
                self._put_all(photos.values())
        except ApiError:
            if put:
                self._drop_if_possible(photos)
            raise

    def _save_all(self, entries: list[NewFeedback]) -> list[Saved]:
        """`save` each of ``entries``, in order and in one transaction: all of them or none."""
        saved: list[tuple[Feedback, bool]] = []
        photos: dict[str, bytes] = {}
        former: set[str] = set()
        with self.writing_with(photos) as session:
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
        with suppress(ApiError, OSError):  # `sweep` finds what cannot be dropped now
            if there := [sha256 for sha256 in digests if self.images.exists(sha256)]:
                self.drop_unused(there)

    def _rows(self, query: Select[Feedback]) -> list[Feedback]:
        with self.database.reading() as session:
            return list(session.scalars(query))


_RIGHT = or_(Feedback.correct, func.coalesce(Feedback.reviewed_label == func.lower(Feedback.predicted_label), False))
_AWAITS_REVIEW = (Feedback.correct.is_(False), Feedback.state == "pending")


def _in_parts(values: Iterable[Value], most: int = _IDS_PER_STATEMENT) -> Iterator[list[Value]]:
    """``values`` in lists of at most ``most``."""
    rest = iter(values)
    while part := list(islice(rest, most)):
        yield part
