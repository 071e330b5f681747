"""The plots of the evaluation report, and the sentence under each that says how to read it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from monitoring.intervals import wilson
from training.evaluate import Calibration, Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

READING = {
    "convergence": "A run that learns falls in loss and rises in accuracy until both lie flat. Validation far below "
    "training would mean that photos are learned by heart; here training is measured on shifted and mirrored photos "
    "with softened labels, while it goes on, so it may lie below validation. Where a configuration begins with smaller "
    "photos, the first epochs are validated on a size they have not seen: there validation is low and jumps.",
    "sources": "The dot is the share right, the line its 95 % interval (Wilson): two sources whose intervals overlap "
    "a lot cannot be told apart. Few photos make a long line.",
    "classes": "Precision falls when other things are called by this name, recall when photos of this class get "
    "another name; F1 is their harmonic mean. The line is the 95 % interval of the recall.",
    "confusion_counts": "A row is the truth, a column the answer: what is right lies on the diagonal, and a dark field "
    "beside it is a mistake made often. The numbers are photos; empty fields are zero.",
    "confusion_shares": "The same in percent of each row, so that classes with few photos can be compared with large "
    "ones; the diagonal is the recall. Shares below half a percent are left empty.",
    "reliability": "Each dot holds a fifteenth of the test photos. On the line, of the photos with probability 80 %, "
    "80 % are right; above it the network is too modest, below it too sure. The bars are 95 % intervals.",
    "robustness": "How fast a line falls says how much a kind of damage matters. Grey is the undamaged sample. "
    "A network that knows its limits also loses confidence and refuses more (the other two panels).",
}
BLUE, ORANGE, GREY = "#1f5fbf", "#d9730d", "#777777"


def figures(evaluation: Evaluation) -> dict[str, Figure]:
    """The plots by name, in the order of `READING`; no convergence where no epochs are known."""
    drawn = {
        "convergence": convergence(evaluation.history) if evaluation.history else None,
        "sources": sources(evaluation),
        "classes": classes(evaluation),
        "confusion_counts": confusion_matrix(evaluation, shares=False),
        "confusion_shares": confusion_matrix(evaluation, shares=True),
        "reliability": reliability_diagram(evaluation),
        "robustness": robustness_curves(evaluation),
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, bbox_inches="tight")
    return buffer.getvalue()


def convergence(history: list[dict[str, float]]) -> Figure:
    figure = _figure(11, 3.3)
    epochs = [line["epoch"] for line in history]
    panels = {
        "loss": {"training": "loss", "validation": "val_loss"},
        "accuracy": {"training": "accuracy", "validation": "val_accuracy"},
        "learning rate": {"rate": "rate"},
    }
    for axis, (title, curves) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for (name, key), colour in zip(curves.items(), (ORANGE, BLUE), strict=False):
            axis.plot(epochs, [line[key] for line in history], marker="o", markersize=3, color=colour, label=name)
        axis.set(title=title, xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        _tidy(axis)
        if len(curves) > 1:
            axis.legend(frameon=False)
    return figure


def sources(evaluation: Evaluation) -> Figure:
    rows = {"all": (evaluation.accuracy, evaluation.accuracy_interval)}
    for name, source in evaluation.sources.items():
        rows[name] = (source.accuracy, source.accuracy_interval)
        if source.classes < len(evaluation.classes):
            rows[f"{name}, its {source.classes} classes"] = (source.accuracy_within, source.accuracy_within_interval)
    figure = _figure(9, 0.9 + 0.36 * len(rows))
    axis = figure.subplots()
    for place, (share, interval) in enumerate(rows.values()):
        axis.plot(interval, (place, place), color=BLUE, linewidth=2)
        axis.plot(share, place, "o", color=BLUE)
        axis.annotate(f"{share:.1%}", (share, place), (0, 7), textcoords="offset points", ha="center", fontsize=9)
    axis.set_yticks(range(len(rows)), list(rows))
    axis.set_ylim(len(rows) - 0.4, -0.8)
    _tidy(axis, percent="x")
    return figure


def classes(evaluation: Evaluation) -> Figure:
    figure = _figure(9, 1 + 0.27 * len(evaluation.classes))
    axis = figure.subplots()
    found = sorted(evaluation.classes.items(), key=lambda item: item[1].f1)
    for place, (_, result) in enumerate(found):
        axis.plot(result.recall_interval, (place, place), color="#b8cdee", linewidth=3, zorder=1)
    places = range(len(found))
    axis.scatter([r.recall for _, r in found], places, color=BLUE, marker="o", label="recall", zorder=2)
    axis.scatter([r.precision for _, r in found], places, color=ORANGE, marker="D", s=22, label="precision", zorder=2)
    axis.scatter([r.f1 for _, r in found], places, color="black", marker="|", s=90, label="F1", zorder=3)
    axis.set_yticks(places, [name for name, _ in found])
    axis.set_ylim(-0.7, len(found) - 0.3)
    axis.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    _tidy(axis, percent="x")
    return figure


def confusion_matrix(evaluation: Evaluation, *, shares: bool) -> Figure:
    names, counts = list(evaluation.classes), np.array(evaluation.confusion)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.0 + 0.42 * len(names)
    figure = _figure(max(side, 4.5), max(side - 0.5, 4.0))
    axis = figure.subplots()
    axis.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1)  # the root, so that a few percent can be seen
    axis.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=9)
    axis.set_yticks(range(len(names)), names, fontsize=9)
    axis.set(xlabel="answer", ylabel="truth")
    axis.set_xticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axis.set_yticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axis.grid(which="minor", color="#e4e8ee", linewidth=0.6)
    axis.tick_params(which="minor", length=0)
    for (row, column), count in np.ndenumerate(counts):
        part = share[row, column]
        if count and (part >= 0.005 or not shares):
            text = f"{int(100 * part + 0.5)}" if shares else f"{count}"
            axis.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if part > 0.3 else "black")
    return figure


def reliability_diagram(evaluation: Evaluation) -> Figure:
    figure = _figure(9, 4.4)
    before, after = figure.subplots(1, 2, sharex=True, sharey=True)
    _reliability(before, evaluation.uncalibrated, "before: logits as they are", ORANGE)
    _reliability(after, evaluation.calibrated, f"after: temperature {evaluation.temperature:.3f}, as served", BLUE)
    before.set_ylabel("share right")
    return figure


def _reliability(axis: Axes, found: Calibration, title: str, colour: str) -> None:
    axis.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    for probability, right, count in found.reliability:
        axis.plot((probability, probability), wilson(round(right * count), count), color=colour, alpha=0.4, linewidth=3)
    axis.plot([r[0] for r in found.reliability], [r[1] for r in found.reliability], "o-", color=colour, linewidth=1)
    axis.set(title=title, xlabel="mean probability of the answer", xlim=(0, 1.02), ylim=(0, 1.02))
    axis.text(0.96, 0.06, f"ECE {found.ece:.2%}", ha="right", transform=axis.transAxes, fontsize=12)
    axis.set_aspect("equal")
    _tidy(axis, percent="xy")


def robustness_curves(evaluation: Evaluation) -> Figure:
    found = evaluation.robustness
    figure = _figure(12, 3.8)
    panels = {"accuracy": "share right", "confidence": "mean probability of the answer", "refused": "share refused"}
    axes = figure.subplots(1, 3)
    for axis, (field, title) in zip(axes, panels.items(), strict=True):
        axis.axhline(getattr(found.clean, field), color="#bbbbbb", linewidth=3, label="undamaged")
        for name, marker in zip(found.corruptions, "osD^vX", strict=True):
            values = [getattr(cell, field) for cell in found.corruptions[name]]
            axis.plot(range(1, len(values) + 1), values, marker=marker, markersize=5, label=name)
        axis.set(title=title, xlabel="severity", xticks=(1, 2, 3, 4, 5), ylim=(0, 1.02))
        _tidy(axis, percent="y")
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, ncols=7, loc="outside lower center")
    return figure


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _tidy(axis: Axes, percent: str = "") -> None:
    """Light grid, no frame on the right and the top; ``percent``: the axes that are shares."""
    from matplotlib.ticker import PercentFormatter

    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="#e4e8ee")
    axis.set_axisbelow(True)
    if "x" in percent:
        axis.xaxis.set_major_formatter(PercentFormatter(1.0))
    if "y" in percent:
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
