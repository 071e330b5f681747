"""What the figures of an `Analysis` say, in sentences."""

from __future__ import annotations

from collections.abc import Collection

from training.analysis import Analysis
from training.dataset import SPLITS


def findings(analysis: Analysis) -> list[str]:
    """What a person should know of the dataset before training on it, most of it with what to do."""
    found = [_balance(analysis), *_missing(analysis), analysis.statistics.captured, _variation(analysis)]
    return [sentence for sentence in [*found, _neighbours(analysis), *_quality(analysis)] if sentence]


def _balance(analysis: Analysis) -> str:
    train = {label: splits["train"] for label, splits in analysis.classes.items() if splits["train"]}
    if len(train) < 2:
        return ""
    small, big = min(train, key=lambda c: train[c]), max(train, key=lambda c: train[c])
    ratio = train[big] / train[small]
    if ratio < 1.5:
        return f"The classes are balanced: {train[small]:,} to {train[big]:,} training photos each."
    return (
        f"The classes are not balanced: {big} has {train[big]:,} training photos and {small} {train[small]:,}, "
        f"{ratio:.0f} to 1; without balancing a network will rarely answer {small}."
    )


def _missing(analysis: Analysis) -> list[str]:
    sentences = []
    for split in SPLITS:
        without = [label for label, splits in analysis.classes.items() if not splits[split]]
        if without:
            sentences.append(f"No {split} photos of {_some(without)}: add photos, or nothing is known of them there.")
    few = {label: splits["test"] for label, splits in analysis.classes.items() if 0 < splits["test"] < 30}
    if few:
        least = min(few, key=lambda c: few[c])
        sentences.append(
            f"Fewer than 30 test photos: {_some(few)}; one of the {few[least]} of {least} more or less right moves its "
            f"accuracy by {1 / few[least]:.0%}."
        )
    return sentences


def _some(labels: Collection[str]) -> str:
    names, more = list(labels)[:6], len(labels) - 6
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


def _variation(analysis: Analysis) -> str:
    variation = analysis.statistics.variation
    if len(variation) < 2:
        return ""
    alike, varied = min(variation, key=lambda c: variation[c]), max(variation, key=lambda c: variation[c])
    return (
        f"The photos of {varied} vary most and those of {alike} least (mean standard deviation of a pixel "
        f"{variation[varied]:.2f} and {variation[alike]:.2f}): see in the mean picture of {alike} what they share."
    )


def _neighbours(analysis: Analysis) -> str:
    if analysis.map is None or not analysis.map.mixed:
        return ""
    worst = analysis.map.mixed[0]
    where = "To the served network" if analysis.map.space == "network" else "By their pixels"
    return (
        f"{where}, {worst.a} and {worst.b} are the hardest to tell apart; {analysis.map.same_class:.0%} of a photo's "
        f"nearest neighbours share its class, where {analysis.map.chance:.0%} would by lot."
    )


def _quality(analysis: Analysis) -> list[str]:
    sentences = []
    if straddling := analysis.duplicates.across_splits:
        sentences.append(f"{straddling:,} pairs of duplicates straddle two splits: results are too good by them.")
    elif pairs := sum(analysis.duplicates.counts.values()):
        sentences.append(f"{pairs:,} pairs of duplicates were found; none of them straddles two splits any more.")
    if conflicts := analysis.duplicates.conflicts:
        sentences.append(
            f"{conflicts:,} pairs of duplicates disagree on the class: a label is wrong, or they only look alike."
        )
    if analysis.suspects and analysis.suspects.count:
        sentences.append(f"{analysis.suspects.count:,} labels look wrong to the network: look at them.")
    if left_out := sum(analysis.dropped.counts.values()):
        top, count = next(iter(analysis.dropped.counts.items()))
        sentences.append(f"{left_out:,} photos were left out, most often for this reason: {top} ({count:,}).")
    return sentences
