"""The lab's result as one HTML page that works offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from runners.ood_scores import FORMULAS

PAGE = "ood.html"
GROUPS = {"near": "near", "far": "far", "generated": "generated"}
KINDS = {
    "gate": "The gate",
    "single": "Single scores",
    "candidate": "Feature sets of the gate",
    "forest": "Isolation forests on other features",
}
STYLE = """
:root{color-scheme:light dark;--line:#8885;--bar:#2f6fed;--other:#e5a000;--soft:#8882}
body{font:16px/1.5 system-ui,sans-serif;max-width:75rem;margin:0 auto 3rem;padding:0 1rem;background:Canvas;
color:CanvasText}
h2{margin:2.2rem 0 .4rem}p{max-width:48rem}.quiet{opacity:.75;font-size:.9rem}.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem;margin:.6rem 0}
th,td{padding:.2rem .55rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{vertical-align:bottom;font-weight:600;white-space:normal}th:first-child,td:first-child{text-align:left}
td:first-child{white-space:normal;min-width:11rem}small{opacity:.7}
.kind td{font-weight:600;padding-top:.9rem}.best{font-weight:700;text-decoration:underline}.gate{background:var(--soft)}
.met{color:#15803d;font-weight:600}.missed{color:#c62828;font-weight:600}
@media(prefers-color-scheme:dark){.met{color:#4ade80}.missed{color:#ff7b72}}
svg{width:100%;max-width:48rem;height:auto;display:block}svg text{font-size:12px;fill:CanvasText}
.sheets{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,22rem),1fr));gap:0 1.5rem}
"""
METRICS = {
    "auroc": (
        "AUROC",
        "The chance that an unknown photo scores higher than a known one. Higher is better; 50 % is blind.",
    ),
    "fpr95": ("FPR95", "Share of known photos refused where 95 % of the unknown ones are caught. Lower is better."),
    "aupr_unknown": ("AUPR, unknown is positive", "Average precision at finding the unknown photos. Higher is better."),
    "aupr_known": ("AUPR, known is positive", "Average precision at finding the known photos. Higher is better."),
}


def page(title: str, result: Mapping[str, Any]) -> str:
    """``result`` of `training.ood_lab.report` as a whole HTML document."""
    tables = "".join(
        f"<h2>{name}</h2><p>{text}</p>{_scores(result, metric)}" for metric, (name, text) in METRICS.items()
    )
    body = (
        f"<h1>Knowing the unknown: {escape(title)}</h1>{_summary(result)}<h2>Targets</h2>{_targets(result)}"
        f"<h2>Refused</h2>{_refused(result)}<h2>The gate's score</h2>{_histograms(result)}{tables}"
        f"{_protocol(result)}<h2>How the features were chosen</h2>{_choice(result)}<h2>Photos</h2>{_sets(result)}"
        f"<h2>Scores and their sources</h2>{_sources(result)}"
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}: unknown photos</title><style>{STYLE}</style></head><body>{body}</body></html>\n"
    )


def _summary(result: Mapping[str, Any]) -> str:
    made_of = ", ".join(FORMULAS[name].title for name in result["features"])
    known = ", ".join(f"{count:,} of {escape(source)}" for source, count in result["known"].items())
    return (
        f"<p>The gate is an isolation forest on <strong>{escape(made_of)}</strong>, fitted on held-out photos. Known "
        f"photos are the test split ({known}; {result['classes']} classes). Half of the unknown classes and generators "
        "chose the features; every number below, but for the last tables, is of the other half. Ranges in small print "
        "hold 95 % of bootstrap samples of the photos.</p>"
    )


def _targets(result: Mapping[str, Any]) -> str:
    if not result["targets"]:
        return "<p>There are no near and no far photos at hand to judge by.</p>"
    rows = [
        [
            f"mean AUROC, {escape(t['name'])}",
            _percent(t["measured"]),
            f"&ge; {_percent(t['wanted'])} <small>(best single score: {escape(t['best'])})</small>",
            '<span class="met">met</span>' if t["met"] else '<span class="missed">missed</span>',
        ]
        for t in result["targets"]
    ]
    return _table(["target", "gate", "wanted", ""], rows)


def _refused(result: Mapping[str, Any]) -> str:
    rows = [
        [escape(r["name"]), f"{r['photos']:,}", _percent(r["refused"]), _range(r["interval"])]
        for r in result["refused"]
    ]
    share = _percent(result["refuse_share"])
    return (
        f"<p>Share of photos that the gate refuses where {share} of good photos may be refused. For known photos it "
        "should be that share, for unknown ones as much as can be.</p>"
        + _table(["photos", "number", "refused", "95 % interval"], rows)
    )


def _histograms(result: Mapping[str, Any]) -> str:
    shares = result["histogram"]["shares"]
    known = shares["known"]
    drawings = "".join(
        f"<figure style='margin:.5rem 0'><figcaption>{escape(name)}</figcaption>{_bars(known, values)}</figure>"
        for name, values in shares.items()
        if name != "known"
    )
    return (
        "<p>Ordinary photos are on the left, unusual ones on the right. Blue: the known test photos. Amber: the "
        f"unknown ones.</p><div class=sheets>{drawings}</div>"
    )


def _bars(known: Sequence[float], unknown: Sequence[float]) -> str:
    top, width, height = max(*known, *unknown, 1e-9), 400 / len(known), 90

    def bars(values: Sequence[float], colour: str) -> str:
        return "".join(
            f'<rect x="{i * width:.1f}" y="{height * (1 - v / top):.1f}" width="{width - 1:.1f}" '
            f'height="{height * v / top:.1f}" fill="var({colour})" fill-opacity=".6"/>'
            for i, v in enumerate(values)
            if v > 0
        )

    lines = f'<line x1="0" x2="400" y1="{height}" y2="{height}" stroke="currentColor" stroke-opacity=".4"/>'
    return (
        f'<svg viewBox="0 0 400 {height + 2}" role="img">{bars(known, "--bar")}{bars(unknown, "--other")}{lines}</svg>'
    )


def _scores(result: Mapping[str, Any], metric: str) -> str:
    order = {group: place for place, group in enumerate(GROUPS)}
    reported = sorted((s for s in result["sets"] if s["half"] == "reporting"), key=lambda s: order[s["group"]])
    sets = [s["name"] for s in reported]
    rows, means = result["scores"], list(result["scores"][0]["means"])
    better = min if metric == "fpr95" else max
    best = {
        (kind, n): better(row[kind][n][metric] for row in rows)
        for kind, names in (("means", means), ("sets", sets))
        for n in names
    }

    def cell(row: Mapping[str, Any], kind: str, name: str) -> str:
        value = row[kind][name][metric]
        mark = ' class="best"' if value == best[kind, name] else ""
        small = f"<br><small>{_range(row[kind][name][f'{metric}_interval'])}</small>" if kind == "means" else ""
        return f"<td><span{mark}>{100 * value:.1f}</span>{small}</td>"

    head = "".join(f"<th>{escape(n)}</th>" for n in ("%", *(f"mean: {m}" for m in means), *sets))
    body = ""
    for kind, name in KINDS.items():
        body += f'<tr class="kind"><td colspan="{1 + len(means) + len(sets)}">{name}</td></tr>'
        for row in rows:
            if row["kind"] == kind:
                cells = "".join(cell(row, "means", n) for n in means) + "".join(cell(row, "sets", n) for n in sets)
                body += f'<tr class="{kind}"><td>{escape(row["title"])}</td>{cells}</tr>'
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _protocol(result: Mapping[str, Any]) -> str:
    rows = [row for row in result["scores"] if "protocol" in row]
    if not rows:
        return ""
    names = list(rows[0]["protocol"])
    table = _table(
        ["AUROC", *names], [[escape(r["title"]), *(_percent(r["protocol"][n]) for n in names)] for r in rows]
    )
    return (
        "<h2>CIFAR-10 against the rest, as OpenOOD v1.5 has it</h2><p>The ten classes are all that the network knows; "
        "all 100 classes of CIFAR-100, and Tiny ImageNet where it is at hand, are near; the other sets are far. Both "
        "halves of each set count, so the choice among the feature sets has seen half of them. OpenOOD's far sets also "
        f"have SVHN and Places.</p>{table}"
    )


def _choice(result: Mapping[str, Any]) -> str:
    if not result["choice"]:
        return "<p>No near and no far photos were at hand, so the gate has the default features.</p>"
    means = list(next(iter(result["choice"].values())))
    rows = [[escape(title), *(_percent(v[n]) for n in means)] for title, v in result["choice"].items()]
    return (
        "<p>Mean AUROC of the calibration photos against the other half of the unknown ones. Of the feature sets "
        "within 0.5 points of the best single score on near and on far, generated ones counted or not, the one with "
        "the highest mean is taken; where there is none, the one that falls short the least.</p>"
        + _table(["score", *means], rows)
    )


def _sets(result: Mapping[str, Any]) -> str:
    rows = [
        [
            escape(s["name"]),
            s["group"],
            s["half"],
            f"{s['photos']:,}",
            f'<span style="white-space:normal;display:block;text-align:left">{escape(", ".join(s["classes"]))}</span>',
        ]
        for s in result["sets"]
    ]
    return _table(["set", "group", "for", "photos", "classes"], rows)


def _sources(result: Mapping[str, Any]) -> str:
    return _table(["score", "source"], [[escape(r["title"]), escape(r["source"])] for r in result["scores"]])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{"".join(f"<th>{h}</th>" for h in head)}</tr>{cells}</table></div>'


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _range(interval: Sequence[float]) -> str:
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"
