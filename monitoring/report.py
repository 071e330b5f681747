"""One self-contained HTML page of a drift decision: no script, no font, nothing from the network."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape

from monitoring import tail
from monitoring.concept import ClassAccuracy
from monitoring.drift import ColumnDrift, DriftResult

MOST_SAMPLES = 24
_THUMBNAIL = 96

_TITLES = {
    "drift": "The traffic has changed",
    "no drift": "No drift",
    "cannot judge": "Too few rows to judge",
}
_SECTIONS = {
    "input": "The photos",
    "prediction": "The answers",
    "context": "For context, never an alarm",
}
_INPUT_ONLY = (
    "The photos changed, the answers did not: look at recent photos and the camera or page that sends them. "
    "Nothing needs to be retrained yet."
)
_PREDICTION = (
    "The answers changed. Look at the feedback first: if accuracy fell, review the corrections "
    "(<code>python -m monitoring review</code>) and retrain (<code>python -m training retrain</code>). "
    "If accuracy held, the mix of photos changed and the model still copes."
)
_CONCEPT = (
    "People find fewer answers right than before. Review the corrections (<code>python -m monitoring review</code>), "
    "then retrain with them (<code>python -m training retrain</code>); a challenger is served only if it is better."
)
_NEXT = {
    "no drift": "Nothing to do.",
    "cannot judge": (
        "Wait for more traffic, or judge a longer time (<code>--hours</code>). "
        "Without a reference, register the model again."
    ),
}
_STYLE = """
:root { color-scheme: light dark; --ref: #8a94a6; --now: #2f6fed; --bad: #c62828; --good: #2e7d32; --line: #8884; }
@media (prefers-color-scheme: dark) { :root { --ref: #7c879b; --now: #7aa7ff; --bad: #ff7b72; --good: #7ee787; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h1.drift { color: var(--bad); } h1.no { color: var(--good); }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem; }
figure { margin: 0; padding: .8rem; border: 1px solid var(--line); border-radius: .5rem; }
figure.drifted { border: 2px solid var(--bad); }
figcaption { font-size: .85rem; } svg { width: 100%; height: auto; display: block; margin: .5rem 0; }
.ref { fill: var(--ref); } .now { fill: var(--now); } .key { font-size: .9rem; }
.wide { overflow-x: auto; }
table { white-space: nowrap; border-collapse: collapse; }
td, th { padding: .2rem 1rem .2rem 0; text-align: right; }
td:first-child, th:first-child { text-align: left; } tr.drifted { color: var(--bad); font-weight: 600; }
.kinds { display: flex; flex-wrap: wrap; gap: .5rem; padding: 0; list-style: none; }
.kinds li { border: 1px solid var(--line); border-radius: .5rem; padding: .3rem .8rem; }
.kinds .yes { border-color: var(--bad); color: var(--bad); font-weight: 600; }
.photos { display: flex; flex-wrap: wrap; gap: .8rem; } .photos figure { width: 6.5rem; text-align: center; }
.photos img { width: 96px; height: 96px; object-fit: contain; }
.key span { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .3em 0 1em; }
"""
_WIDTH, _HEIGHT = 240.0, 70.0
_FIGURE = re.compile(  # of a photo, also as older pages have it: those bear no mark
    r'<figure class="(?:drifted)?"(?: data-mark="([0-9a-f]+)")?><img alt="" src="data:[^"]*">.*?</figure>', re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Sample:
    """A photo of the judged time: ``jpeg`` bytes as `thumbnail` makes them, what was answered, and what people said.

    ``mark``, hexadecimal, tells `without_photos` which one it is.
    """

    mark: str
    jpeg: bytes
    answer: str
    truth: str
    correct: bool


def thumbnail(png: bytes) -> bytes:
    """A kept photo as a JPEG of at most 96 pixels a side."""
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.thumbnail((_THUMBNAIL, _THUMBNAIL))
        image.convert("RGB").save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def without_photos(html: str, kept: Collection[str]) -> str:
    """The page ``html`` that `render` made, without the photos whose marks are not among ``kept``."""
    return _FIGURE.sub(lambda found: found[0] if found[1] in kept else "", html)


def render(result: DriftResult, model: str, samples: Sequence[Sample] = ()) -> str:
    """``result`` for the model tag ``model`` as a whole HTML document, with photos where there are ``samples``."""
    css = {"drift": "drift", "no drift": "no"}.get(result.verdict, "")
    sections = "".join(_section(kind, title, result) for kind, title in _SECTIONS.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_TITLES[result.verdict]}</title><style>{_STYLE}</style></head><body>"
        f'<h1 class="{css}">{_TITLES[result.verdict]}</h1><p>{escape(result.reason)}</p>'
        f"{_kinds(result)}<p><strong>What to do next.</strong> {_next_step(result)}</p>{_facts(result, model)}"
        f"{_answers(result.feedback)}{_photos(samples)}"
        '<p class="key"><span style="background:var(--ref)"></span>reference'
        '<span style="background:var(--now)"></span>this traffic</p>'
        f"{sections}</body></html>"
    )


def _kinds(result: DriftResult) -> str:
    if result.verdict == "cannot judge":
        return ""
    judged = any(c.adjusted_p_value is not None for c in result.feedback)
    kinds = (
        ("Input", "the photos", result.input_drift, True),
        ("Prediction", "the answers", result.prediction_drift, True),
        ("Concept", "whether answers are right", result.concept_drift, judged),
    )
    items = "".join(
        f'<li class="{"yes" if drifted else ""}">{name} drift ({what}): '
        f"{'yes' if drifted else 'no' if known else 'too little feedback to tell'}</li>"
        for name, what, drifted, known in kinds
    )
    return f'<ul class="kinds">{items}</ul>'


def _next_step(result: DriftResult) -> str:
    if result.concept_drift:
        return _CONCEPT
    if result.verdict == "drift":
        return _PREDICTION if result.prediction_drift else _INPUT_ONLY
    return _NEXT[result.verdict]


def _facts(result: DriftResult, model: str) -> str:
    facts = [
        f"Model {escape(model)}; {result.window_rows:,} rows against {result.reference_rows:,} of the reference.",
        f"On unchanged traffic at most {result.alpha:.3g} of such checks raise an alarm, over all columns together.",
    ]
    if result.start and result.end:
        facts.append(f"Traffic from {_time(result.start)} to {_time(result.end)} UTC.")
    if result.since:
        earlier = ", the first window that was looked at, or before" if result.since == result.start else ""
        facts.append(f"<strong>Since when:</strong> most likely {_time(result.since)} UTC{earlier}.")
    if result.verdict == "drift":
        facts.append(
            f"<strong>How sure:</strong> the smallest adjusted p-value is {result.smallest_p:.2g}; each figure below "
            "gives its own, and the size of the change with its 95 % interval."
        )
    if result.estimated_accuracy is not None and result.reference_accuracy is not None:
        facts.append(
            f"Accuracy estimated without labels: {result.estimated_accuracy:.1%} "
            f"(reference {result.reference_accuracy:.1%}); trustworthy only while the photos resemble the reference."
        )
    return "<ul>" + "".join(f"<li>{fact}</li>" for fact in facts) + "</ul>"


def _time(text: str) -> str:
    return escape(text[:16].replace("T", " "))


def _answers(feedback: Sequence[ClassAccuracy]) -> str:
    if not feedback:
        return ""
    rows = "".join(
        f'<tr class="{"drifted" if c.drifted else ""}"><td>{escape(c.name)}</td><td>{c.answers:,}</td>'
        f"<td>{c.accuracy:.1%} ({c.interval[0]:.1%} to {c.interval[1]:.1%})</td>"
        f"<td>{'–' if c.reference is None else f'{c.reference:.1%}'}</td>"
        f"<td>{'not tested' if c.adjusted_p_value is None else f'{c.adjusted_p_value:.2g}'}</td></tr>"
        for c in feedback
    )
    return (
        "<h2>The feedback</h2><p>Share of answers that people found right, by the class answered, with 95 % intervals. "
        'Who gives feedback chooses to, so this may be below the true accuracy.</p><div class="wide"><table>'
        "<tr><th>answer</th><th>feedback</th><th>right</th><th>reference</th><th>adjusted p</th></tr>"
        f"{rows}</table></div>"
    )


def _photos(samples: Sequence[Sample]) -> str:
    if not samples:
        return ""
    figures = "".join(
        f'<figure class="{"" if s.correct else "drifted"}" data-mark="{s.mark}"><img alt="" '
        f'src="data:image/jpeg;base64,{base64.b64encode(s.jpeg).decode()}"><figcaption>{escape(s.answer)}'
        f"{'' if s.correct else f', is {escape(s.truth)}'}</figcaption></figure>"
        for s in samples
    )
    return f'<h2>Photos of this time</h2><p>Those with feedback, as far as kept.</p><div class="photos">{figures}</div>'


def _section(kind: str, title: str, result: DriftResult) -> str:
    columns = [c for c in result.columns if c.kind == kind]
    columns.sort(key=lambda c: 2.0 if c.adjusted_p_value is None else c.adjusted_p_value)
    if not columns:
        return ""
    return f'<h2>{title}</h2><div class="grid">{"".join(_figure(c) for c in columns)}</div>'


def _figure(column: ColumnDrift) -> str:
    numbers = [escape(column.test)]
    if column.adjusted_p_value is not None:
        numbers.append(f"adjusted p = {column.adjusted_p_value:.2g}")
    if column.effect is not None:
        what = (
            "moved by"
            if column.test in ("Kolmogorov-Smirnov", tail.NAME) or column.kind == "context"
            else "share changed"
        )
        unit = " sd" if what == "moved by" else ""
        low, high = column.interval or (column.effect, column.effect)
        numbers.append(f"{what} {column.effect:+.2f}{unit} ({low:+.2f} to {high:+.2f})")
    mark = " · <strong>changed</strong>" if column.drifted else ""
    return (
        f'<figure class="{"drifted" if column.drifted else ""}"><strong>{escape(column.name)}</strong>{mark}'
        f"{_bars(column)}<figcaption>{escape(column.description)}<br>{' · '.join(numbers)}</figcaption></figure>"
    )


def _bars(column: ColumnDrift) -> str:
    if not column.bars:
        return "<p>no values</p>"
    top = max(max(bar.reference, bar.window) for bar in column.bars) or 1.0
    slot = _WIDTH / len(column.bars)
    parts = []
    for i, bar in enumerate(column.bars):
        title = f"{bar.label}: {bar.reference:.1%} of the reference, {bar.window:.1%} of this traffic"
        rects = "".join(
            f'<rect class="{css}" x="{i * slot + offset * slot:.1f}" y="{_HEIGHT * (1 - share / top):.1f}" '
            f'width="{0.4 * slot:.1f}" height="{_HEIGHT * share / top:.1f}"/>'
            for css, share, offset in (("ref", bar.reference, 0.08), ("now", bar.window, 0.5))
        )
        parts.append(f"<g><title>{escape(title)}</title>{rects}</g>")
    label = f"Shares of {column.name} in the reference and in this traffic"
    return (
        f'<svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )
