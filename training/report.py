"""The evaluation report: one HTML file that works offline and says how to read each of its figures."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.analysis_figures import picture
from training.analysis_style import STYLE
from training.config import TrainConfig, origin
from training.evaluate import Evaluation
from training.report_examples import Example
from training.report_figures import READING, figures, png
from training.robustness import SEVERITIES
from training.runs import Run, whole

PLOTS = "plots"
_STYLE = """
:root { color-scheme: light; } nav { flex-wrap: wrap; row-gap: 0; }
@media (max-width: 50rem) { nav { position: static; } }
figure { margin: 1rem 0; } figure img { max-width: 100%; height: auto; display: block; }
.scroll { overflow-x: auto; } .scroll img { min-width: 60rem; }
figcaption, .read { color: #555; font-size: .9rem; max-width: 60rem; margin: .4rem 0 1rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .8rem; margin: 1rem 0; }
.tiles div { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .8rem; font-size: .85rem; }
.tiles b { display: block; font-size: 1.5rem; line-height: 1.2; } table { width: auto; }
.shots { display: grid; grid-template-columns: repeat(auto-fill, minmax(14.5rem, 1fr)); gap: .8rem; }
.shot { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem; font-size: .8rem; display: flex;
  gap: .6rem; }
.shot img { width: 5rem; height: 5rem; border-radius: 3px; image-rendering: pixelated; flex: none; }
.shot > div { flex: 1; min-width: 0; } .meter { display: grid; grid-template-columns: 1fr auto; line-height: 1.25; }
.meter i { grid-column: 1 / 3; height: 4px; background: #9aa3b2; border-radius: 2px; margin-bottom: .2rem;
  min-width: 1px; } .meter.right i { background: #2e8b57; } .meter.wrong i { background: var(--bad); }
.couples { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); gap: 1rem 1.6rem; }
h3 { margin: .6rem 0 .2rem; }
"""


def write_report(run: Run, config: TrainConfig, evaluation: Evaluation, pixels: NDArray[np.uint8]) -> None:
    """Write the page and, in the folder `PLOTS`, each plot; ``pixels`` are those of the test split."""
    plots = {name: png(figure) for name, figure in figures(evaluation).items()}
    with whole(run.folder / PLOTS) as folder:
        for name, data in plots.items():
            (folder / f"{name}.png").write_bytes(data)
    partial = run.report.with_suffix(".partial")
    partial.write_text(render(f"Evaluation of {run.folder.name}", origin(config), evaluation, plots, pixels))
    partial.replace(run.report)


def plots_folder(run: Run) -> Path:
    """Where `write_report` put the plots of ``run``."""
    return run.folder / PLOTS


def render(
    title: str,
    made: str,
    evaluation: Evaluation,
    plots: dict[str, bytes],
    pixels: NDArray[np.uint8],
) -> str:
    """The page. ``made``: see `origin`; ``plots``: PNG by name, see `READING`; ``pixels`` (n, 32, 32, 3): those of the
    test split.
    """
    sections = {
        "convergence": ("Convergence", _plot(plots, "convergence")),
        "sources": ("Accuracy by source", _plot(plots, "sources") + _sources(evaluation)),
        "classes": ("Classes", _plot(plots, "classes") + _classes(evaluation)),
        "confusion": ("Confusions", _plot(plots, "confusion_counts") + _plot(plots, "confusion_shares")),
        "pairs": ("Hardest pairs", _pairs(evaluation, pixels)),
        "calibration": ("Calibration", _plot(plots, "reliability") + _calibration(evaluation)),
        "right": ("Surest and right", _right(evaluation, pixels)),
        "wrong": ("Surest and wrong", _wrong(evaluation, pixels)),
        "robustness": ("Robustness", _plot(plots, "robustness") + _robustness(evaluation)),
        "unknown": ("Unknown photos", _unknown(evaluation)),
        "speed": ("Speed and size", _speed(evaluation)),
    }
    shown = {anchor: section for anchor, section in sections.items() if section[1]}
    links = "".join(f'<a href="#{anchor}">{name}</a>' for anchor, (name, _) in shown.items())
    bodies = "".join(
        f'<section id="{anchor}"><h2>{name}</h2>{body}</section>' for anchor, (name, body) in shown.items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f'<p class="quiet">{evaluation.images:,} test photos of {len(evaluation.classes)} classes. The network was '
        f"{escape(made)}. Training, temperature and gate were made on other photos. Network, temperature and gate are "
        f"those that are served.</p><nav>{links}</nav><main>{_tiles(evaluation)}{bodies}</main></body></html>"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain text, the first column to the left."""

    def line(cells: Sequence[str], tag: str) -> str:
        sides = ' class="l"', *[""] * (len(cells) - 1)
        return "".join(f"<{tag}{side}>{escape(cell)}</{tag}>" for side, cell in zip(sides, cells, strict=True))

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{line(head, "th")}</tr></thead><tbody>{body}</tbody></table></div>'


def _tiles(evaluation: Evaluation) -> str:
    low, high = evaluation.accuracy_interval
    single, *_, many = evaluation.speed.rates
    tiles = (
        (f"{evaluation.accuracy:.1%}", f"right of {evaluation.images:,} test photos ({low:.1%} to {high:.1%})"),
        (
            f"{evaluation.calibrated.ece:.1%}",
            f"calibration error (ECE); {evaluation.uncalibrated.ece:.1%} uncalibrated",
        ),
        (f"{evaluation.refused:.1%}", f"refused by the gate, set to {evaluation.refuse_share:.0%}"),
        (f"{evaluation.robustness.mean_accuracy:.1%}", "right of damaged photos"),
        (f"{single.milliseconds:.1f} ms", f"a photo; {many.images_per_second:,.0f} photos/s at {many.batch} at once"),
        (f"{evaluation.size.parameters / 1e6:.2f} M", f"parameters; {evaluation.size.gflop:.3f} GFLOP a photo"),
    )
    cells = "".join(f"<div><b>{escape(number)}</b>{escape(text)}</div>" for number, text in tiles)
    return f'<div class="tiles">{cells}</div>'


def _plot(plots: dict[str, bytes], name: str) -> str:
    if name not in plots:
        return ""
    data = base64.b64encode(plots[name]).decode()
    wide = ' class="scroll"' if name.startswith("confusion") else ""
    return (
        f'<figure><div{wide}><img alt="{name.replace("_", " ")}" src="data:image/png;base64,{data}"></div>'
        f"<figcaption>{READING[name]}</figcaption></figure>"
    )


def _sources(evaluation: Evaluation) -> str:
    def interval(bounds: tuple[float, float]) -> str:
        return f"{bounds[0]:.1%} to {bounds[1]:.1%}"

    everything = (f"{evaluation.images:,}", f"{len(evaluation.classes)}", f"{evaluation.accuracy:.2%}")
    rows = [["all", *everything, interval(evaluation.accuracy_interval), "", "", f"{evaluation.refused:.1%}"]]
    for name, s in evaluation.sources.items():
        free = (f"{s.accuracy:.2%}", interval(s.accuracy_interval))
        within = (f"{s.accuracy_within:.2%}", interval(s.accuracy_within_interval))
        rows.append([name, f"{s.images:,}", f"{s.classes}", *free, *within, f"{s.refused:.1%}"])
    head = ["source", "photos", "classes", "right", "95 % interval", "among its classes", "95 % interval", "refused"]
    return table(head, rows) + (
        '<p class="read">"Right" is with the answer free to be any class; "among its classes" with the answer '
        "restricted to the classes of that source, which is the number to compare with what others publish.</p>"
    )


def _classes(evaluation: Evaluation) -> str:
    rows = [
        [name, f"{c.precision:.1%}", f"{c.recall:.1%}", f"{c.f1:.1%}", f"{c.support:,}"]
        for name, c in evaluation.classes.items()
    ]
    numbers = table(["class", "precision", "recall", "F1", "photos"], rows)
    return f"<details><summary>The numbers</summary>{numbers}</details>"


def _calibration(evaluation: Evaluation) -> str:
    pairs = {"before": evaluation.uncalibrated, "after": evaluation.calibrated}
    rows = [[name, f"{c.ece:.2%}", f"{c.brier:.4f}", f"{c.nll:.4f}"] for name, c in pairs.items()]
    return table(["temperature", "ECE", "Brier", "NLL, nats"], rows) + (
        '<p class="read">ECE is the mean distance of the dots from the line. Brier and NLL also reward being right; '
        "for all three lower is better. The temperature divides the logits, so it changes no answer.</p>"
    )


def _pairs(evaluation: Evaluation, pixels: NDArray[np.uint8]) -> str:
    cards = []
    for pair in evaluation.hardest_pairs:
        (a, b), (there, back) = pair.classes, pair.mistakes
        shots = "".join(_shot(example, pixels) for example in pair.examples)
        cards.append(
            f"<div><h3>{escape(a)} and {escape(b)}</h3>"
            f'<p class="quiet">{escape(a)} taken for {escape(b)}: {there:,} photos; the other way: {back:,}; together '
            f'{pair.share:.1%} of the photos of both</p><div class="shots">{shots}</div></div>'
        )
    read = (
        '<p class="read">The two classes with the most mistakes between them first, each with the surest mistake of '
        "either direction. Ask of each photo whether you would have known; if not, no network can.</p>"
    )
    return (
        f'{read}<div class="couples">{"".join(cards)}</div>'
        if cards
        else "<p>No photo was taken for another class.</p>"
    )


def _right(evaluation: Evaluation, pixels: NDArray[np.uint8]) -> str:
    shots = "".join(_shot(example, pixels) for example in evaluation.surest_right)
    return (
        '<p class="read">The right answer of the highest probability in each class: what the network holds for a '
        "typical photo of it. Bars are calibrated probabilities: green the truth, red a wrong answer. A photo can be "
        f'sure and refused: the gate judges how unusual it is.</p><div class="shots">{shots}</div>'
    )


def _wrong(evaluation: Evaluation, pixels: NDArray[np.uint8]) -> str:
    if not evaluation.surest_wrong:
        return "<p>No answer was wrong.</p>"
    shots = "".join(_shot(example, pixels) for example in evaluation.surest_wrong)
    return (
        '<p class="read">The wrong answers of the highest probability. Some are wrong labels of the data, some show '
        "two things at once; what is left says what the network has learned wrongly.</p>"
        f'<div class="shots">{shots}</div>'
    )


def _shot(example: Example, pixels: NDArray[np.uint8]) -> str:
    image = picture(pixels[example.row].tobytes(), f"test photo {example.row}: {example.truth}")
    meters = "".join(
        f'<div class="meter {_side(name, example)}"><span>{escape(name)}</span><span>{share:.2%}</span>'
        f'<i style="width:{100 * share:.1f}%"></i></div>'
        for name, share in list(example.probabilities.items())[:3]
    )
    refused = "" if example.accepted else "<br>refused by the gate"
    return f'<div class="shot">{image}<div>truth: <strong>{escape(example.truth)}</strong>{refused}{meters}</div></div>'


def _side(name: str, example: Example) -> str:
    return "right" if name == example.truth else "wrong" if name == example.answer else ""


def _robustness(evaluation: Evaluation) -> str:
    found = evaluation.robustness
    rows = [
        [name, *(f"{cell.accuracy:.1%}" for cell in cells), f"{np.mean([cell.accuracy for cell in cells]):.1%}"]
        for name, cells in found.corruptions.items()
    ]
    head = ["right", *(f"severity {severity}" for severity in SEVERITIES), "mean"]
    return table(head, rows) + (
        f'<p class="read">{found.images:,} test photos, {found.clean.accuracy:.1%} right undamaged; mean over all '
        f"damage {found.mean_accuracy:.1%}. The kinds and their strengths are those of CIFAR-10-C, which has thirteen "
        "more, so the mean is no published number.</p>"
    )


def _unknown(evaluation: Evaluation) -> str:
    rows = [
        [name, score.replace("_", " "), f"{value['auroc']:.1%}", f"{value['fpr95']:.1%}"]
        for name, scores in evaluation.unknown.items()
        for score, value in scores.items()
    ]
    if not rows:
        return ""
    return table(["unknown", "score", "AUROC", "FPR95"], rows) + (
        '<p class="read">AUROC: chance that an unknown photo scores higher than a known one; 50 % is blind. FPR95: '
        "share of known photos refused where 95 % of the unknown are. The page of the step <code>ood</code> has all "
        "scores.</p>"
    )


def _speed(evaluation: Evaluation) -> str:
    rows = [
        [f"{rate.batch}", f"{rate.milliseconds:.2f}", f"{rate.images_per_second:,.0f}"]
        for rate in evaluation.speed.rates
    ]
    size = evaluation.size
    views = "the photo and its mirror image, averaged" if size.mirrored else "the photo once"
    return (
        table(["photos at once", "ms for the call", "photos/s"], rows)
        + f'<p class="read">Network and gate on {escape(evaluation.speed.machine)}, {escape(evaluation.speed.engine)}; '
        "the median call. Decoding and HTTP come on top. The network has "
        f"{size.parameters:,} parameters and takes {size.gflop:.3f} GFLOP for a photo (it sees {views}).</p>"
    )
