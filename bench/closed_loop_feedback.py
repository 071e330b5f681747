"""The people of `bench.closed_loop`: those who correct, some of them wrongly, and the one who reviews."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from monitoring.feedback import Feedback, FeedbackStore, NewFeedback
from monitoring.review_marks import mark
from monitoring.suspicion import suspected
from runners.pipeline import Pipeline
from training.sources import Labelled

CORRECTIONS, WRONG, REFUSE_SHARE = 200, 20, 0.05
VICTIM, IMPOSTOR = "cat", "dog"
"""Who poisons one class gives a third of the corrections: photos of the first, said to be the second."""


class Said(NamedTuple):
    """Photos of which people say something: pixels, what is on each, and what is said."""

    pixels: NDArray[np.uint8]
    truth: tuple[str, ...]
    said: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Given:
    """A stored correction: its id, whether it tells the truth, whether the review marks it."""

    id: int
    right: bool
    marked: bool = False


def on_shifted(champion: Pipeline, shifted: Labelled) -> Said:
    """Corrections of ``shifted`` photos, of which `WRONG` are wrong: half claim another class for a photo that was
    right, half name a third class for one that was wrong."""
    missed, hit, best = _missed(champion, shifted)
    names, honest, rng = _names(champion, shifted), CORRECTIONS - WRONG, np.random.default_rng(3)
    rows = [*missed[:honest], *hit[: WRONG // 2], *missed[honest : CORRECTIONS - WRONG // 2]]
    lies = [_other(champion.labels, {names[row], best[row]}, rng) for row in rows[honest:]]
    return Said(shifted[0][rows], tuple(names[r] for r in rows), (*(names[r] for r in rows[:honest]), *lies))


def on_new_kind(champion: Pipeline, kind: str, photos: NDArray[np.uint8], plain: Labelled) -> Said:
    """Corrections to the new class ``kind``, of which `WRONG` are wrong: half are known photos that were right and
    are said to show it, half its photos that are said to show a known class."""
    _, hit, _ = _missed(champion, plain)
    names, half, rng = _names(champion, plain), WRONG // 2, np.random.default_rng(3)
    mine = photos[: CORRECTIONS - half]
    guesses = champion.score(mine[-half:], batch=250).best
    lies = [_other(champion.labels, {champion.labels[guess]}, rng) for guess in guesses]
    said = (*[kind] * (len(mine) - half), *lies, *[kind] * half)
    truth = (*[kind] * len(mine), *(names[row] for row in hit[:half]))
    return Said(np.concatenate([mine, plain[0][hit[:half]]]), truth, said)


def on_one_class(champion: Pipeline, shifted: Labelled, plain: Labelled) -> Said:
    """Corrections of ``shifted`` photos, and for a third of them ``plain`` photos of `VICTIM` that are said to show
    `IMPOSTOR`, unless the network says so, too."""
    missed, _, _ = _missed(champion, shifted)
    truth = _names(champion, plain)
    victims = [row for row in range(len(truth)) if truth[row] == VICTIM]
    best = champion.score(plain[0][victims], batch=250).best
    victims = [row for row, guess in zip(victims, best, strict=True) if champion.labels[guess] != IMPOSTOR]
    poison, honest = victims[: CORRECTIONS // 3], missed[: CORRECTIONS - CORRECTIONS // 3]
    names = tuple(truth[row] for row in honest)
    pixels = np.concatenate([shifted[0][honest], plain[0][poison]])
    return Said(pixels, (*names, *[VICTIM] * len(poison)), (*names, *[IMPOSTOR] * len(poison)))


def give(store: FeedbackStore, champion: Pipeline, corrections: Said) -> list[Given]:
    """Store the corrections as the service does, with what it predicted; look which of them the review marks."""
    given = []
    for number, row in enumerate(_rows(champion, corrections)):
        entry = NewFeedback(
            correct=False, prediction_id=f"photo-{number}", image=_png(corrections.pixels[number]), **row
        )
        given.append(Given(store.save(entry).id, corrections.said[number] == corrections.truth[number]))
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


def shares_suspected(champion: Pipeline, photos: Labelled) -> dict[str, tuple[int, float]]:
    """Kind of correction -> how many of them ``photos`` allow, and which share the network makes suspect."""
    missed, hit, best = _missed(champion, photos)
    names, rng = _names(champion, photos), np.random.default_rng(4)
    second = champion.score(photos[0], batch=250).probabilities.argsort(axis=1)[:, -2]
    labels = champion.labels
    claims = {
        "right: the network was wrong": [(row, names[row]) for row in missed],
        "wrong: the network was right, a random class": [(row, _other(labels, {names[row]}, rng)) for row in hit],
        "wrong: it was wrong, a third class": [(row, _other(labels, {names[row], best[row]}, rng)) for row in missed],
        f"wrong: a {VICTIM} is said to be a {IMPOSTOR}": [(row, IMPOSTOR) for row in hit if names[row] == VICTIM],
        "wrong: it was right, its second guess": [(row, labels[second[row]]) for row in hit],
    }
    shares = {}
    for kind, pairs in claims.items():
        chosen = [row for row, _ in pairs]
        said = Said(photos[0][chosen], tuple(names[row] for row in chosen), tuple(label for _, label in pairs))
        shares[kind] = len(pairs), float(np.mean([suspected(Feedback(**row)) for row in _rows(champion, said)]))
    return shares


def _rows(champion: Pipeline, corrections: Said) -> list[dict[str, Any]]:
    """The columns of `Feedback` that tell what was said, and what ``champion`` predicted."""
    scores = champion.score(corrections.pixels, batch=250)
    found: list[dict[str, Any]] = []
    for number, said in enumerate(corrections.said):
        p = scores.probabilities[number]
        best, known = champion.labels[int(p.argmax())], float(scores.ood_p_value[number]) > REFUSE_SHARE
        found.append(
            {
                "label": said,
                "predicted_label": best if known else "unknown",
                "best_guess": best,
                "probability": min(float(p.max()), 1.0),
                "probabilities": dict(zip(champion.labels, p.tolist(), strict=True)),
                "in_distribution": known,
                "ood_p_value": float(scores.ood_p_value[number]),
                "cnn_tag": champion.cnn_tag,
            }
        )
    return found


def _missed(champion: Pipeline, photos: Labelled) -> tuple[list[int], list[int], list[str]]:
    """The rows that ``champion`` got wrong and those it got right, in random order, and its guess of each photo."""
    best = champion.score(photos[0], batch=250).best
    order = np.random.default_rng(2).permutation(len(best))
    wrong = best[order] != photos[1][order]
    return order[wrong].tolist(), order[~wrong].tolist(), [champion.labels[guess] for guess in best]


def _names(champion: Pipeline, photos: Labelled) -> list[str]:
    return [champion.labels[label] for label in photos[1]]


def _other(labels: tuple[str, ...], taken: set[str], rng: np.random.Generator) -> str:
    return str(rng.choice([label for label in labels if label not in taken]))


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
