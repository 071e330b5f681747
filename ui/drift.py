"""Drift as a heat map of columns by windows, and one cell of it as bars: plain functions from JSON to HTML."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from ui.answer import plain_html
from ui.texts import Texts

SHADES = 5
"""Shades of the map, from 0 for the reference's own to `SHADES` for a change beyond doubt."""


def map_html(windows: Sequence[Mapping[str, Any]], texts: Texts) -> str:
    """A table: a row per column of the profile, a cell per window, darker the less likely the change is chance.

    ``windows`` are those of `OwnerApi.drift`, oldest first. What drifted also has a sign, for who sees no shades.
    """
    if not windows:
        return plain_html(texts.no_windows)
    first = True
    rows = []
    for name in [column["name"] for column in windows[-1]["columns"]]:
        cells = []
        for number, window in enumerate(windows):
            column = next((column for column in window["columns"] if column["name"] == name), None)
            if column is None:
                cells.append("<td></td>")
                continue
            spoken = texts.drift_cell.format(
                column=texts.column(name), time=_time(window["end"]), verdict=_verdict(window, column, texts)
            )
            sign = "!" if column["drifted"] else "·" if column["adjusted_p_value"] is None else ""
            cells.append(
                f'<td><button type="button" class="shade-{_shade(column)}" data-window="{number}" '
                f'data-column="{escape(name)}" aria-pressed="false" tabindex="{0 if first else -1}" '
                f'aria-label="{escape(spoken)}" title="{escape(spoken)}">{sign}</button></td>'
            )
            first = False
        rows.append(f'<tr><th scope="row">{escape(texts.column(name))}</th>{"".join(cells)}</tr>')
    heads = "".join(
        f'<th scope="col">{_time(window["end"], "%d %b")}<br>{_time(window["end"], "%H:%M")}<br>'
        f"{escape(texts.counted(texts.photos_n, window['window_rows']))}</th>"
        for window in windows
    )
    legend = "".join(f'<i class="shade-{shade}"></i>' for shade in range(SHADES + 1))
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(texts.drift)}"><table>'
        f'<thead><tr><th scope="col">{escape(texts.drift_column)}</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        f'<p class="legend">{escape(texts.drift_chance)} <span aria-hidden="true">{legend}</span> '
        f"{escape(texts.drift_certain)}</p>"
    )


def detail_html(windows: Sequence[Mapping[str, Any]], window: int, name: str, texts: Texts) -> str:
    """The reference against window number ``window`` in the column ``name``: two bars for each of its values."""
    if not 0 <= window < len(windows):
        return ""
    chosen = windows[window]
    column = next((column for column in chosen["columns"] if column["name"] == name), None)
    if column is None:
        return ""
    top = max((max(bar["reference"], bar["window"]) for bar in column["bars"]), default=0.0) or 1.0
    named: Callable[[str], str] = texts.listed if name == "label" else str
    rows = "".join(
        f'<tr><th scope="row">{escape(named(bar["label"]))}</th>'
        + "".join(
            f'<td><span class="bar" aria-hidden="true">'
            f'<i class="{kind}" style="width:{100 * bar[kind] / top:.1f}%"></i></span>'
            f'<span class="share">{escape(texts.exact(bar[kind]))}</span></td>'
            for kind in ("reference", "window")
        )
        + "</tr>"
        for bar in column["bars"]
    )
    title = texts.drift_detail.format(column=texts.column(name), time=_time(chosen["end"]))
    return (
        f"<h3>{escape(title)}</h3><p>{escape(column['description'])}. {escape(_verdict(chosen, column, texts))}</p>"
        f'<table class="against"><thead><tr><th scope="col">{escape(texts.value)}</th>'
        f'<th scope="col">{escape(texts.reference)}</th><th scope="col">{escape(texts.this_window)}</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _shade(column: Mapping[str, Any]) -> int:
    """0 for no evidence; a shade for each factor of ten of the adjusted p-value."""
    p = column["adjusted_p_value"]
    return 0 if p is None else min(SHADES, max(0, int(-math.log10(max(p, 1e-300)) + 0.5)))


def _verdict(window: Mapping[str, Any], column: Mapping[str, Any], texts: Texts) -> str:
    if column["adjusted_p_value"] is None:
        return texts.too_few if window["verdict"] == "cannot judge" else texts.not_tested
    sentence = texts.drifted if column["drifted"] else texts.not_drifted
    return sentence.format(p=f"{column['adjusted_p_value']:.2g}")


def _time(iso: str, form: str = "%d %b %H:%M") -> str:
    return datetime.fromisoformat(iso).strftime(form)
