"""One self-contained HTML page of a drift decision: no script, no font, nothing from the network."""

from __future__ import annotations

from html import escape

from monitoring.drift import ColumnDrift, DriftResult

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
.key span { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .3em 0 1em; }
"""
_WIDTH, _HEIGHT = 240.0, 70.0


def render(result: DriftResult, model: str) -> str:
    """``result`` for the model tag ``model`` as a whole HTML document."""
    css = {"drift": "drift", "no drift": "no"}.get(result.verdict, "")
    sections = "".join(_section(kind, title, result) for kind, title in _SECTIONS.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_TITLES[result.verdict]}</title><style>{_STYLE}</style></head><body>"
        f'<h1 class="{css}">{_TITLES[result.verdict]}</h1><p>{escape(result.reason)}</p>'
        f"<p><strong>What to do next.</strong> {_next_step(result)}</p>{_facts(result, model)}"
        '<p class="key"><span style="background:var(--ref)"></span>reference'
        '<span style="background:var(--now)"></span>this traffic</p>'
        f"{sections}</body></html>"
    )


def _next_step(result: DriftResult) -> str:
    if result.verdict == "drift":
        return _PREDICTION if result.prediction_drift else _INPUT_ONLY
    return _NEXT[result.verdict]


def _facts(result: DriftResult, model: str) -> str:
    facts = [
        f"Model {escape(model)}; {result.window_rows:,} rows against {result.reference_rows:,} of the reference.",
        f"On unchanged traffic at most {result.alpha:.3g} of such checks raise an alarm, over all columns together.",
    ]
    if result.start and result.end:
        facts.append(f"Traffic from {escape(result.start[:16])} to {escape(result.end[:16])} UTC.")
    if result.estimated_accuracy is not None and result.reference_accuracy is not None:
        facts.append(
            f"Accuracy estimated without labels: {result.estimated_accuracy:.1%} "
            f"(reference {result.reference_accuracy:.1%}); trustworthy only while the photos resemble the reference."
        )
    return "<ul>" + "".join(f"<li>{fact}</li>" for fact in facts) + "</ul>"


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
        numbers.append(f"effect {column.effect:+.2f}")
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
