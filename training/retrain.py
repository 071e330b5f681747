"""A challenger from the champion and the accepted corrections, and the decision which of the two is served."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from runners.artifacts import KERAS_FILE
from runners.pipeline import Pipeline
from training.config import TrainConfig
from training.corrections import Corrections, RetrainError
from training.dataset import Dataset
from training.export import outputs
from training.fit import l2
from training.network import HEAD, trained_form
from training.precision import resolved
from training.sources import Labelled

if TYPE_CHECKING:
    import keras

__all__ = [
    "Comparison",
    "RetrainError",
    "Verdict",
    "blend",
    "compare",
    "judge",
    "start_from",
    "table",
    "temper",
    "with_corrections",
]

MOST_REPEATS, MOST_SHARE = 20, 0.05
"""Corrections are repeated in an epoch up to this often, or until they make up this share of it."""
FINE_TUNING_MOMENTUM = 0.99
"""Of the batch statistics: a few batches of a small sample must not replace what the whole dataset gave."""
HEAD_PHOTOS, RIDGE = 2_000, 0.01
"""A new class's weights start from so many other photos, under this share of the embedding's variance as penalty."""
BLEND = 0.5
"""How far the challenger's weights go from the champion's towards the fine-tuned ones."""
MOST_TAKEN = 0.001
"""Share of the held-out photos of known classes, rightly named otherwise, that a new class may take for its own."""
LEAST_OF_NEW = 0.5
"""Share of its held-out photos that a new class must be recognised on: one that nobody can rely on does not enter."""
CLASS_LEVEL = 0.025
"""One-sided level, shared by all classes (Bonferroni), at which a class counts as worse."""
CLASS_MARGIN = 0.02
"""Share of a class's photos that a challenger may lose: each fine-tuning moves borders between classes a little."""


class Comparison(BaseModel):
    """Champion and challenger on the same photos: shares right, and the paired difference with its 95 % interval."""

    model_config = ConfigDict(frozen=True)

    name: str
    photos: int
    champion: float
    challenger: float
    difference: float
    interval: tuple[float, float]
    p_worse: float = Field(description="one-sided exact sign test (McNemar 1947) that the challenger is no worse")


class Verdict(BaseModel):
    """Whether the challenger is promoted, and why."""

    model_config = ConfigDict(frozen=True)

    promoted: bool
    reason: str
    corrections: int
    comparisons: list[Comparison]
    by_class: list[Comparison] = Field(description="the fixed sets together, class by class")
    new_classes: list[str] = []
    waiting: dict[str, int] = Field({}, description="proposed classes with too few photos yet -> photos")


def with_corrections(base: Labelled, extra: Labelled, base_images: int | None, seed: int) -> Labelled:
    """Training data of the challenger: ``base`` (or a sample of ``base_images`` of it) and the repeated corrections."""
    pixels, labels = base
    if base_images is not None and base_images < len(pixels):
        rows = np.random.default_rng(seed).choice(len(pixels), base_images, replace=False)
        pixels, labels = pixels[rows], labels[rows]
    repeats = int(np.clip(MOST_SHARE * len(pixels) / len(extra[0]), 1, MOST_REPEATS))
    return np.concatenate([pixels, *[extra[0]] * repeats]), np.concatenate([labels, *[extra[1]] * repeats])


def start_from(
    folder: Path,
    champion: Pipeline,
    labels: tuple[str, ...],
    data: Labelled,
    config: TrainConfig,
    momentum: float = FINE_TUNING_MOMENTUM,
) -> keras.Model:
    """The champion's network, to be fine-tuned: the same weights in the form in which ``config`` trains.

    ``folder``: the champion's. ``labels``: the classes of the challenger; one that the champion lacks starts from
    ``data``, which has photos of it. ``momentum``: of the batch statistics.
    """
    import keras

    model = keras.saving.load_model(folder / KERAS_FILE, compile=False)
    head = None
    if labels != champion.labels:
        head = extended_head(model.get_layer(HEAD).get_weights()[0], champion, labels, data, config.seed)
    precision = resolved(config.precision)
    return trained_form(model, weight_decay=l2(config), precision=precision, momentum=momentum, head=head)


def extended_head(
    kernel: NDArray[np.float32], champion: Pipeline, labels: tuple[str, ...], data: Labelled, seed: int
) -> NDArray[np.float32]:
    """The last layer for the classes ``labels``, (d, classes): the champion's column for each that it knows.

    A new column is fitted by ridge regression on the embeddings: its logit shall be as high on photos of the class as
    the highest logit is elsewhere, and as low elsewhere as the others are.

    Raises:
        RetrainError: a new class without a photo.
    """
    pixels, numbers = data
    rng = np.random.default_rng(seed)
    columns = {label: kernel[:, number] for number, label in enumerate(champion.labels)}
    for number, label in enumerate(labels):
        if label in columns:
            continue
        mine = np.flatnonzero(numbers == number)
        if not len(mine):
            raise RetrainError(f"no photo of the class {label} to start from")
        others = rng.permutation(np.flatnonzero(numbers != number))[:HEAD_PHOTOS]
        logits, elsewhere = outputs(champion.network, pixels[others])
        once = np.unique(pixels[mine], axis=0)[:HEAD_PHOTOS]  # repeated corrections tell nothing new
        _, here = outputs(champion.network, once)
        x = np.concatenate([here, elsewhere]).astype(np.float64)
        wanted = np.r_[np.full(len(here), logits.max(axis=1).mean()), np.full(len(elsewhere), logits.mean())]
        weight = np.r_[np.full(len(here), 0.5 / len(here)), np.full(len(elsewhere), 0.5 / len(elsewhere))]
        gram = (x * weight[:, None]).T @ x
        penalty = RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
        columns[label] = np.linalg.solve(gram + penalty, x.T @ (weight * wanted)).astype(np.float32)
    return np.stack([columns[label] for label in labels], axis=1)


def blend(model: keras.Model, before: Sequence[NDArray[np.float32]]) -> None:
    """Move the fine-tuned weights of ``model`` back towards those ``before`` the fit, batch statistics too: on the way
    most of the gain comes first, the loss elsewhere last (Wortsman et al. 2022, section 3: WiSE-FT)."""
    after = model.get_weights()
    model.set_weights([(1 - BLEND) * old + BLEND * new for old, new in zip(before, after, strict=True)])


def temper(model: keras.Model, known: int, held_out: Labelled) -> None:
    """Shrink the columns of the classes from number ``known`` on until each takes at most `MOST_TAKEN` of the photos
    ``held_out``, all of known classes.

    Its few photos are repeated in the fit, far beyond their share of the traffic, so that it is named too often.
    """
    pixels, truth = held_out
    logits = np.asarray(model.predict(pixels, batch_size=500, verbose=0)[0], np.float32)
    (kernel,) = model.get_layer(HEAD).get_weights()
    kernel[:, known:] *= shrinkage(logits, truth, known)
    model.get_layer(HEAD).set_weights([kernel])


def shrinkage(logits: NDArray[np.float32], truth: NDArray[np.int64], known: int) -> NDArray[np.float32]:
    """The factor 0..1 of each class from ``known`` on, for `temper`; ``logits`` (n, classes), ``truth`` (n,)."""
    best = logits[:, :known].max(axis=1)
    right = (logits[:, :known].argmax(axis=1) == truth) & (best > 0)
    factors = []
    for column in logits[right, known:].T:
        taken_from = np.sort(best[right] / np.maximum(column, 1e-6))  # a photo is taken by a factor above this
        allowed = int(MOST_TAKEN * len(truth))
        factors.append(min(1.0, float(taken_from[allowed])) if allowed < len(taken_from) else 1.0)
    return np.array(factors, np.float32)


def judge(champion: Pipeline, challenger: Pipeline, data: Dataset, found: Corrections) -> Verdict:
    """Promote only if no fixed set gets worse beyond its interval, no class of them by more than `CLASS_MARGIN` beyond
    chance, and the corrections get better.

    Fixed sets: the held-out splits and the test set, their photos of classes that both networks know. The decision only
    guards against harm: nothing is tuned on them. Of the corrections to known classes neither part may get worse; of
    each new class the challenger must recognise the held-out photos.
    """
    labels = data.labels
    shared = [number for number, label in enumerate(labels) if label in champion.labels]
    fixed_data = [_only(part, shared) for part in (data.held_out()[0], data["test"])]
    right = [_right(champion, challenger, part, labels) for part in fixed_data]
    names = ("held-out photos", "test photos")
    fixed = [_comparison(name, *pair) for name, pair in zip(names, right, strict=True)]
    truth = np.concatenate([part[1] for part in fixed_data])
    old, new = (np.concatenate(sides) for sides in zip(*right, strict=True))
    by_class = [_comparison(labels[c], old[truth == c], new[truth == c]) for c in shared if (truth == c).any()]
    learned = [
        compare(name, champion, challenger, part, labels)
        for name, part in (
            ("corrections trained on", _only(found.trained, shared)),
            ("corrections held out", _only(found.held_out, shared)),
        )
        if len(part[1])
    ]
    fresh = [
        compare(f"new class {name}", champion, challenger, part, labels)
        for name in found.new_classes
        if name not in champion.labels and len((part := _only(found.held_out, [labels.index(name)]))[1])
    ]
    worse = [c.name for c in fixed if c.interval[1] < 0] + [c.name for c in learned if c.difference < 0]
    worse += [
        f"class {c.name}" for c in by_class if c.p_worse < CLASS_LEVEL / len(by_class) and -c.difference > CLASS_MARGIN
    ]
    worse += [c.name for c in fresh if c.challenger < LEAST_OF_NEW]
    if worse:
        reason = f"not promoted: worse on {', '.join(worse)}"
    elif all(c.difference == 0 for c in (*learned, *fresh)):
        reason = "not promoted: the corrections did not get better"
    else:
        reason = "promoted: the corrections got better and no fixed set got worse beyond its interval"
    return Verdict(
        promoted=reason.startswith("promoted"),
        reason=reason,
        corrections=len(found.trained[0]) + len(found.held_out[0]),
        comparisons=[*fixed, *learned, *fresh],
        by_class=by_class,
        new_classes=list(found.new_classes),
        waiting=found.waiting,
    )


def compare(name: str, champion: Pipeline, challenger: Pipeline, data: Labelled, labels: tuple[str, ...]) -> Comparison:
    """Both on ``data``, whose classes ``labels`` names; the interval of the paired difference is normal, mean ± 1.96
    standard errors."""
    return _comparison(name, *_right(champion, challenger, data, labels))


def table(comparisons: Iterable[Comparison]) -> str:
    """One line for each comparison, and a heading: for people."""
    lines = [f"{'':<28}{'photos':>8}{'champion':>10}{'challenger':>12}{'difference, points':>30}"]
    for c in comparisons:
        low, high = (100 * end for end in c.interval)
        change = f"{100 * c.difference:+.2f} ({low:+.2f} to {high:+.2f})"
        lines.append(f"{c.name:<28}{c.photos:>8,}{c.champion:>10.2%}{c.challenger:>12.2%}{change:>30}")
    return "\n".join(lines)


def _right(
    champion: Pipeline, challenger: Pipeline, data: Labelled, labels: tuple[str, ...]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which photos each names rightly, by name: the two may have other classes."""
    truth = np.array(labels)[data[1]]
    if not len(truth):
        return np.empty(0, bool), np.empty(0, bool)
    old, new = (np.array(p.labels)[p.score(data[0], batch=250).best] == truth for p in (champion, challenger))
    return old, new


def _comparison(name: str, old: NDArray[np.bool_], new: NDArray[np.bool_]) -> Comparison:
    from scipy.stats import binom

    change = new.astype(float) - old.astype(float)
    margin = 1.96 * float(change.std()) / np.sqrt(max(len(change), 1)) if len(change) else 0.0
    middle = float(change.mean()) if len(change) else 0.0
    lost, won = int((old & ~new).sum()), int((new & ~old).sum())
    return Comparison(
        name=name,
        photos=len(old),
        champion=float(old.mean()) if len(old) else 0.0,
        challenger=float(new.mean()) if len(new) else 0.0,
        difference=middle,
        interval=(middle - margin, middle + margin),
        p_worse=float(binom.sf(lost - 1, lost + won, 0.5)) if lost + won else 1.0,
    )


def _only(data: Labelled, classes: list[int]) -> Labelled:
    chosen = np.isin(data[1], classes)
    return data[0][chosen], data[1][chosen]
