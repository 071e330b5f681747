"""One self-contained HTML page of an `Analysis`: no script, no font, nothing from the network; light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from training.analysis import Analysis, Group, Pair
from training.analysis_figures import colour, picture, scatter, sign, stacked_bar, strips
from training.analysis_findings import findings
from training.analysis_map import NEIGHBOURS
from training.analysis_statistics import STATISTICS, Spread
from training.analysis_style import STYLE
from training.dataset import SPLITS

_SECTIONS = {
    "findings": "Findings",
    "counts": "Counts",
    "classes": "Classes",
    "statistics": "Colour and brightness",
    "map": "Map",
    "duplicates": "Duplicates",
    "suspects": "Doubtful labels",
    "dropped": "Left out",
}


def page(analysis: Analysis) -> str:
    """``analysis`` as a whole HTML document."""
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title in _SECTIONS.items())
    bodies = (
        _findings(analysis),
        _counts(analysis),
        _classes(analysis),
        _statistics(analysis),
        _map(analysis),
        _duplicates(analysis),
        _suspects(analysis),
        _dropped(analysis),
    )
    sections = "".join(
        f'<section id="{name}"><h2>{title}</h2>{body}</section>'
        for (name, title), body in zip(_SECTIONS.items(), bodies, strict=True)
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>The dataset</title>'
        f"<style>{STYLE}{_picked(len(analysis.classes))}</style></head><body><h1>The dataset</h1>"
        f'<p class="quiet">{_total(analysis.groups):,} photos of {len(analysis.classes)} classes · digest '
        f"<code>{escape(analysis.digest)}</code> · samples drawn with seed {analysis.seed}</p>"
        f"<nav>{links}</nav><main>{sections}</main></body></html>"
    )


def _findings(analysis: Analysis) -> str:
    return "<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in findings(analysis)) + "</ul>"


def _counts(analysis: Analysis) -> str:
    most = max(sum(group.splits.values()) for group in analysis.groups)
    rows = [
        [
            f'<a href="#{_anchor(analysis, group.label)}">{escape(group.label)}</a>',
            escape(group.source),
            *(f"{group.splits[split]:,}" for split in SPLITS),
            f"<strong>{sum(group.splits.values()):,}</strong>",
            stacked_bar(group.splits, most),
        ]
        for group in analysis.groups
    ]
    rows += [
        [escape(label), "–", *["0"] * (len(SPLITS) + 1), '<span class="bad">no photos</span>']
        for label, splits in analysis.classes.items()
        if not any(splits.values())
    ]
    sources = [
        [
            escape(name),
            *(f"{source.splits[split]:,}" for split in SPLITS),
            f"<strong>{sum(source.splits.values()):,}</strong>",
            _range(source.width),
            _range(source.height),
        ]
        for name, source in analysis.sources.items()
    ]
    key = "".join(f'<i class="s{i}"></i>{split}' for i, split in enumerate(SPLITS))
    marks = ", ".join(f"{escape(mark)} {count:,}" for mark, count in analysis.marks.items())
    return (
        _table(["source", *SPLITS, "photos", "width", "height"], sources, left=1)
        + (f"<p>Quality marks on photos that stayed: {marks}.</p>" if marks else "")
        + f'<p class="key">{key}</p>'
        + _table(["class", "source", *SPLITS, "photos", "photos per split"], rows, left=2)
    )


def _classes(analysis: Analysis) -> str:
    index = "".join(f'<a href="#{_anchor(analysis, c)}">{escape(c)}</a>' for c in analysis.classes)
    cards = "".join(_card(analysis, label) for label in analysis.classes)
    return (
        "<p>The framed picture is the mean of all photos of the class: what shows in it (a blue upper half, a bright "
        "ground) is what a network may learn instead of the thing. Point at a photo for its id.</p>"
        f'<div class="index">{index}</div><div class="cards">{cards}</div>'
    )


def _card(analysis: Analysis, label: str) -> str:
    groups = [group for group in analysis.groups if group.label == label]
    rows = []
    for group in groups:
        photos = "".join(picture(analysis.pictures.get(name), name) for name in group.samples)
        originals = ", ".join(f"{escape(name)} {count:,}" for name, count in group.originals.items())
        rows.append(f'<div class="quiet">{escape(group.source)}: {originals}</div><div class="photos">{photos}</div>')
    mean, facts = "", f"{_total(groups):,} photos"
    if label in analysis.mean_pictures:
        mean = f'<div class="mean">{picture(analysis.mean_pictures[label], f"mean of {label}")}</div>'
    if label in analysis.statistics.variation:
        facts += f" · variation {analysis.statistics.variation[label]:.2f}"
    return (
        f'<article class="card" id="{_anchor(analysis, label)}"><h3>{escape(label)}</h3>'
        f'<div class="quiet">{facts}</div><div class="sides">{mean}<div>{"".join(rows)}</div></div></article>'
    )


def _statistics(analysis: Analysis) -> str:
    figures = "".join(
        f"<figure><figcaption><strong>{name}</strong> {_extremes(analysis.groups, name)}</figcaption>"
        f"{strips(name, analysis.groups, analysis.sources)}</figure>"
        for name in STATISTICS[:5]
    )
    compared = [
        [
            c.statistic,
            _spread(c.captured),
            _spread(c.others),
            f"{c.d:+.2f}",
            c.size,
            _standout(c.standout, c.standout_d),
        ]
        for c in analysis.statistics.contrasts
    ]
    rows = [
        [escape(group.label), escape(group.source), _swatch(group), *(_spread(group.statistics[s]) for s in STATISTICS)]
        for group in analysis.groups
    ]
    table = _table(["class", "source", "mean colour", *STATISTICS], rows, left=2)
    head = ["statistic", "captured", "others", "Cohen's d", "effect", "class that stands out most among the others"]
    return (
        f"<p><strong>{escape(analysis.statistics.captured)}</strong></p>"
        + (_table(head, compared, left=1) if compared else "")
        + '<p class="quiet">A dot is the mean of a class; the box and the line are mean and standard deviation of all '
        "photos of the source. Brightness, contrast, saturation and sharpness of a 32×32 photo run from 0 to 1, warmth "
        "(red less blue) from -1 to 1.</p>"
        f'<div class="figures">{figures}</div><details><summary>Mean ± standard deviation by class and source</summary>'
        f"{table}</details>"
    )


def _map(analysis: Analysis) -> str:
    found = analysis.map
    if found is None:
        return "<p>Too few different photos for a map.</p>"
    space = (
        "in the embedding of the served network: close together is what it finds alike"
        if found.space == "network"
        else "by their pixels: close together is what has like colours in like places, no network was asked"
    )
    labels = list(analysis.classes)
    picks = "".join(
        f'<label><input type="radio" name="class" id="k{i}"><span style="color:{colour(i)}">{sign(i)}</span> '
        f"{escape(label)}</label>"
        for i, label in enumerate(labels)
    )
    mixed = _table(
        ["hard to tell apart", "", "neighbours of the other class"],
        [[escape(pair.a), escape(pair.b), f"{pair.share:.1%}"] for pair in found.mixed],
        left=2,
    )
    return (
        f"<p>{len(found.points):,} photos {space}. {escape(found.method)}. Of the {NEIGHBOURS} nearest neighbours of a "
        f"photo {found.same_class:.0%} have its class; by lot it would be {found.chance:.0%}. Choose a class to see it "
        'alone.</p><div class="pick"><label><input type="radio" name="class" checked>all</label>'
        f"{picks}</div>{scatter(found.points, labels)}{mixed}"
    )


def _duplicates(analysis: Analysis) -> str:
    found = analysis.duplicates
    total = sum(found.counts.values())
    if not total:
        return "<p>No two photos are the same or nearly so.</p>"
    kinds = ", ".join(f"{escape(kind)} {count:,}" for kind, count in found.counts.items())
    shown = f" The worst {len(found.shown)} of {total:,} are shown." if total > len(found.shown) else ""
    pairs = "".join(_pair(analysis, pair) for pair in found.shown)
    return (
        f"<p>Pairs: {kinds}. {found.across_splits:,} straddle two splits, {found.conflicts:,} disagree on the class."
        f'{shown}</p><div class="pairs">{pairs}</div>'
    )


def _pair(analysis: Analysis, pair: Pair) -> str:
    own, other = (analysis.pictures.get(place.id) for place in (pair.a, pair.b))
    if pair.distance == 0:  # the one that stayed shows what the other was
        own, other = own or other, other or own
    warnings = [
        text for text, applies in (("across splits", pair.straddles), ("two classes", pair.conflicts)) if applies
    ]
    places = "<br>".join(
        f"{escape(place.id)}: {escape(place.label or '?')}, {escape(place.split or 'left out')}"
        for place in (pair.a, pair.b)
    )
    return (
        f'<div class="pair"><div class="photos">{picture(own, pair.a.id)}{picture(other, pair.b.id)}</div>'
        f"{escape(pair.kind)}, distance {pair.distance:.3g} "
        f'<strong class="bad">{", ".join(warnings)}</strong><br>{places}</div>'
    )


def _suspects(analysis: Analysis) -> str:
    found = analysis.suspects
    if found is None:
        return (
            "<p>A network is needed to doubt labels: train one (<code>python -m training train</code>), then prepare "
            "again.</p>"
        )
    if not found.count:
        return "<p>The network doubts no label.</p>"
    cards = "".join(
        f'<div class="pair"><div class="photos">{picture(analysis.pictures.get(s.id), s.id)}</div>'
        f"given <strong>{escape(s.given)}</strong><br>rather <strong>{escape(s.suggested)}</strong><br>"
        f"confidence {s.confidence:.1%}<br>{escape(s.id)}</div>"
        for s in found.shown
    )
    return (
        f"<p>{found.count:,} labels look wrong to the network; the {len(found.shown)} most doubtful are shown. Look "
        "before you believe it: rare views of a class are doubted too.</p>"
        f'<div class="pairs">{cards}</div>'
    )


def _dropped(analysis: Analysis) -> str:
    found = analysis.dropped
    if not found.counts:
        return "<p>Every photo that was found is in the dataset.</p>"
    counts = [[escape(reason), f"{count:,}"] for reason, count in found.counts.items()]
    photos = [[escape(p.id), escape(p.source), escape(p.label), escape(p.reason)] for p in found.photos]
    return (
        _table(["reason", "photos"], counts, left=1)
        + f"<details><summary>{len(photos):,} of {sum(found.counts.values()):,} photos by name</summary>"
        + _table(["id", "source", "class", "reason"], photos, left=4)
        + "</details>"
    )


def _picked(classes: int) -> str:
    """The map's style rules: with a class chosen, the others fade."""
    return "".join(f".pick:has(#k{i}:checked)~.map path:not(.k{i}){{fill-opacity:.04}}" for i in range(classes))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, left: int) -> str:
    """A table of cells that are HTML already, the first ``left`` columns aligned to the left."""
    sides = ['class="l"' if i < left else "" for i in range(len(head))]
    top = "".join(f"<th {side}>{escape(name)}</th>" for side, name in zip(sides, head, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td {side}>{cell}</td>" for side, cell in zip(sides, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _anchor(analysis: Analysis, label: str) -> str:
    return f"class-{list(analysis.classes).index(label)}"


def _total(groups: Iterable[Group]) -> int:
    return sum(sum(group.splits.values()) for group in groups)


def _range(bounds: tuple[int, int]) -> str:
    return f"{bounds[0]:,}" if bounds[0] == bounds[1] else f"{bounds[0]:,}–{bounds[1]:,}"


def _spread(spread: Spread) -> str:
    return f"{spread.mean:.3f} ± {spread.sd:.3f}"


def _standout(name: str | None, d: float) -> str:
    return f"{escape(name)} ({d:+.2f})" if name else "–"


def _swatch(group: Group) -> str:
    red, green, blue = (round(255 * group.statistics[name].mean) for name in ("red", "green", "blue"))
    return f'<span class="swatch" style="background:rgb({red} {green} {blue})"></span>'


def _extremes(groups: Sequence[Group], statistic: str) -> str:
    ranked = sorted(groups, key=lambda group: group.statistics[statistic].mean)
    return f"least {escape(ranked[0].label)}, most {escape(ranked[-1].label)}" if len(ranked) > 1 else ""
