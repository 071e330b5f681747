"""The evaluation report: one HTML file that works offline."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from training.evaluate import Evaluation, summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;margin:1rem 0}th,td{padding:.25rem .75rem;text-align:right;border-bottom:1px solid #ddd}
th:first-child,td:first-child{text-align:left}img{max-width:100%;height:auto}pre{white-space:pre-wrap}
"""


def figures(evaluation: Evaluation, history: list[dict[str, float]], labels: tuple[str, ...]) -> dict[str, Figure]:
    """The plots by file name."""
    return {
        "convergence.png": _convergence(history),
        "confusion.png": _confusion(evaluation, labels),
        "reliability.png": _reliability(evaluation),
    }


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    return buffer.getvalue()


def render(title: str, evaluation: Evaluation, ood: dict[str, Any], plots: dict[str, bytes]) -> str:
    """The page."""
    pictures = "".join(
        f"<h2>{name.removesuffix('.png').capitalize()}</h2>"
        f'<img alt="{name.removesuffix(".png")}" src="data:image/png;base64,{base64.b64encode(data).decode()}">'
        for name, data in plots.items()
    )
    classes = _table(
        ["class", "precision", "recall", "F1", "photos"],
        [
            [n, f"{c.precision:.1%}", f"{c.recall:.1%}", f"{c.f1:.1%}", f"{c.support:,}"]
            for n, c in evaluation.classes.items()
        ],
    )
    unknown = _table(
        ["unknown", "score", "AUROC", "FPR95"],
        [
            [name, score, f"{value['auroc']:.1%}", f"{value['fpr95']:.1%}"]
            for name, scores in ood.items()
            for score, value in scores.items()
        ],
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style>"
        f"<h1>{html.escape(title)}</h1><pre>{html.escape(summary(evaluation, ood))}</pre>{pictures}"
        f"<h2>Classes</h2>{classes}<h2>Unknown photos</h2>"
        "<p>AUROC: chance that an unknown photo scores higher than a known one. FPR95: share of known photos refused "
        f"where 95 % of the unknown are.</p>{unknown}</html>"
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    cells = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return "<table><tr>" + "".join(f"<th>{html.escape(h)}</th>" for h in head) + f"</tr>{cells}</table>"


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _convergence(history: list[dict[str, float]]) -> Figure:
    figure = _figure(9, 3)
    epochs = [line["epoch"] for line in history]
    for axis, (title, names) in zip(
        figure.subplots(1, 3),
        {"loss": ("loss", "val_loss"), "accuracy": ("accuracy", "val_accuracy"), "rate": ("rate",)}.items(),
        strict=True,
    ):
        for name in names:
            axis.plot(epochs, [line[name] for line in history], marker="o", label=name.replace("val_", "validation "))
        axis.set(title=title, xlabel="epoch")
        if len(names) > 1:
            axis.legend()
    return figure


def _confusion(evaluation: Evaluation, labels: tuple[str, ...]) -> Figure:
    counts = np.array(evaluation.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = _figure(7, 6)
    axis = figure.subplots()
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.set_xticks(range(len(labels)), labels, rotation=60, ha="right")
    axis.set_yticks(range(len(labels)), labels)
    axis.set(xlabel="answer", ylabel="truth")
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axis.text(column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize=8)
    return figure


def _reliability(evaluation: Evaluation) -> Figure:
    figure = _figure(4.5, 4)
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="grey", linestyle="--", label="perfect")
    confidence, right, _ = zip(*evaluation.reliability, strict=True)
    axis.plot(confidence, right, marker="o", label="15 bins of equal mass")
    axis.set(xlabel="mean probability", ylabel="share right")
    axis.legend()
    return figure
