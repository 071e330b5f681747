"""The people of `bench.closed_loop`: those who correct, some of them wrongly, and the one who reviews."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from monitoring.feedback import FeedbackStore, NewFeedback
from monitoring.review_marks import mark
from runners.pipeline import Pipeline
from training.sources import Labelled

NAMES = ("reviewed", "a tenth wrong, accepted unseen", "a third of one class, accepted unseen")
CORRECTIONS, WRONG, REFUSE_SHARE = 200, 20, 0.05
VICTIM, IMPOSTOR = "cat", "dog"
"""In the last scenario a third of the corrections are photos of the first, said to be the second."""


@dataclass(frozen=True, slots=True)
class Given:
    """A stored correction: its id, whether it tells the truth, the truth, whether the review marks it."""

    id: int
    right: bool
    truth: str
    marked: bool = False


def give(name: str, store: FeedbackStore, champion: Pipeline, shifted: Labelled, plain: Labelled) -> list[Given]:
    """Store `CORRECTIONS` corrections; ``shifted`` and ``plain`` are the same photos after and before the shift."""
    rng = np.random.default_rng(2)
    scores = champion.score(shifted[0], batch=250)
    order = rng.permutation(len(shifted[1]))
    missed = [int(i) for i in order if scores.best[i] != shifted[1][i]]
    hit = [int(i) for i in order if scores.best[i] == shifted[1][i]]
    labels = champion.labels
    if name == NAMES[2]:
        victims = [int(i) for i in order if labels[plain[1][i]] == VICTIM][: CORRECTIONS // 3]
        before = champion.score(plain[0][victims], batch=250)
        poison = [
            (plain[0][row], before[at : at + 1], IMPOSTOR, VICTIM)
            for at, row in enumerate(victims)
            if labels[int(before.best[at])] != IMPOSTOR
        ]
    else:
        liars, slips = hit[: WRONG // 2], missed[CORRECTIONS : CORRECTIONS + WRONG // 2]
        poison = []
        for row in liars + slips:
            taken = {int(scores.best[row]), int(shifted[1][row])}
            label = int(rng.choice([c for c in range(len(labels)) if c not in taken]))
            poison.append((shifted[0][row], scores[row : row + 1], labels[label], labels[shifted[1][row]]))
    honest = [
        (shifted[0][row], scores[row : row + 1], labels[shifted[1][row]], labels[shifted[1][row]])
        for row in missed[: CORRECTIONS - len(poison)]
    ]
    given = []
    for number, (pixels, score, said, truth) in enumerate([*honest, *poison]):
        best, known = labels[int(score.best[0])], float(score.ood_p_value[0]) > REFUSE_SHARE
        entry = NewFeedback(
            prediction_id=f"photo-{number}",
            correct=False,
            label=said,
            predicted_label=best if known else "unknown",
            best_guess=best,
            probability=min(float(score.confidence[0]), 1.0),
            in_distribution=known,
            ood_p_value=float(score.ood_p_value[0]),
            cnn_tag=champion.cnn_tag,
            image=_png(pixels),
        )
        given.append(Given(store.save(entry).id, said == truth, truth))
    marks = mark(store, store.pending(limit=10 * CORRECTIONS))
    return [replace(g, marked=bool(marks[g.id].names)) for g in given]


def reviewed(store: FeedbackStore, given: list[Given], *, looks_at_marked: bool) -> set[int]:
    """Review them; the ids of the accepted ones. Whoever does not look at marked ones accepts all."""
    rejected = [g.id for g in given if looks_at_marked and g.marked and not g.right]
    accepted = [g.id for g in given if g.id not in set(rejected)]
    store.set_state(accepted, "accepted")
    if rejected:
        store.set_state(rejected, "rejected")
    return set(accepted)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
