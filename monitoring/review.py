"""``python -m monitoring review``: show the corrections that await review, accept or reject them."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

from monitoring.feedback import Feedback, FeedbackStore, State
from monitoring.review_marks import Marks, mark
from runners.prediction import ApiError
from settings import Settings

_ALL = 2**31 - 1
"""More rows than an id column numbers."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--accept", type=int, nargs="+", metavar="ID", help="let these corrections train")
    parser.add_argument("--accept-all", action="store_true", help="accept every pending correction without marks")
    parser.add_argument("--include-marked", action="store_true", help="with --accept-all: the marked ones too")
    parser.add_argument("--reject", type=int, nargs="+", metavar="ID", help="keep these corrections out of training")
    parser.add_argument(
        "--label", metavar="NAME", help="with --accept of one ID: the right class, where the person erred"
    )
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="most corrections to list (default 20)")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Exit code: 0 done, 2 bad input, 3 the feedback store cannot be used; errors are one line on stderr."""
    try:
        _check(args)
        store = FeedbackStore.open(settings)
        if args.accept:
            report = {"accepted": _set_state(store, args.accept, "accepted", args.label)}
        elif args.reject:
            report = {"rejected": _set_state(store, args.reject, "rejected")}
        elif args.accept_all:
            report = _accept_all(store, args.include_marked)
        else:
            return _list(store, args.limit, args.json)
    except ValueError as error:
        print(f"review: {error}", file=sys.stderr)
        return 2
    except ApiError as error:
        print(f"review: {error.message}", file=sys.stderr)
        return 2 if error.status == 422 else 3
    print(json.dumps(report) if args.json else _sentence(report))
    return 0


def _check(args: argparse.Namespace) -> None:
    if sum((bool(args.accept), bool(args.reject), args.accept_all)) > 1:
        raise ValueError("Choose one of --accept, --accept-all and --reject.")
    if args.label is not None and len(args.accept or []) != 1:
        raise ValueError("--label needs --accept with exactly one ID.")
    if args.include_marked and not args.accept_all:
        raise ValueError("--include-marked goes with --accept-all.")
    if not 1 <= args.limit <= _ALL:
        raise ValueError(f"--limit must be 1 to {_ALL:,}.")
    if any(not 1 <= number <= _ALL for number in [*(args.accept or []), *(args.reject or [])]):
        raise ValueError("An ID is a positive number from the list of pending corrections.")


def _set_state(store: FeedbackStore, ids: list[int], state: State, label: str | None = None) -> int:
    unknown = sorted(set(ids) - store.corrections_among(ids))
    if unknown:
        raise ValueError(f"No correction has the ID {', '.join(map(str, unknown))}; nothing was changed.")
    return store.set_state(ids, state, label)


def _accept_all(store: FeedbackStore, include_marked: bool) -> dict[str, int]:
    rows = store.pending(limit=_ALL)
    marked = {number for number, marks in mark(store, rows).items() if marks.names}
    chosen = [row.id for row in rows if include_marked or row.id not in marked]
    return {
        "accepted": store.set_state(chosen, "accepted"),
        "marked": len(marked),
        "skipped": len(rows) - len(chosen),
    }


def _sentence(report: dict[str, int]) -> str:
    if "rejected" in report:
        return f"Rejected {report['rejected']}."
    sentence = f"Accepted {report['accepted']}."
    if report.get("marked"):
        fate = "skipped: look at them, or pass --include-marked" if report["skipped"] else "accepted with the others"
        sentence += f" {report['marked']} carry marks and were {fate}."
    return sentence


def _list(store: FeedbackStore, limit: int, as_json: bool) -> int:
    rows = store.pending(limit)
    marks = mark(store, rows)
    total = store.counts()["pending"]
    if as_json:
        items = [_as_json(store, row, marks[row.id]) for row in rows]
        print(json.dumps({"pending": total, "items": items}, indent=2))
        return 0
    if not rows:
        print("No corrections await review.")
        return 0
    table = [("ID", "GIVEN (UTC)", "PREDICTED", "PERSON SAYS", "MARKS", "PHOTO")]
    for row in rows:
        table.append(
            (
                str(row.id),
                f"{row.updated_at:%Y-%m-%d %H:%M}",
                f"{row.predicted_label} ({row.best_guess} {row.probability:.2f})",
                str(row.label),
                _marks_text(marks[row.id]) or "-",
                "not kept" if row.image_sha256 is None else store.images.place(row.image_sha256),
            )
        )
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for number, cells in enumerate(table):
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
        note = rows[number - 1].note if number else ""
        if note:
            print(f"{'':{widths[0]}}  note: {_printable(note)}")
    print(f"{len(rows)} of {total} pending. Accept or reject with --accept ID... or --reject ID...")
    return 0


def _marks_text(marks: Marks) -> str:
    words = {
        "duplicate of": marks.duplicate_of,
        "near-duplicate of": marks.near_duplicate_of,
        "conflicts with": marks.conflict_with,
    }
    texts = [f"{name} {', '.join(map(str, ids[:3]))}{', …' * (len(ids) > 3)}" for name, ids in words.items() if ids]
    texts += ["suspected mislabel"] * marks.suspected_mislabel + ["photo unreadable"] * marks.photo_unreadable
    return "; ".join(texts)


def _printable(text: str) -> str:
    """``text`` on one line, without characters that would move a terminal's cursor or colours."""
    return "".join(char if char.isprintable() else " " for char in text)


def _as_json(store: FeedbackStore, row: Feedback, marks: Marks) -> dict[str, Any]:
    return {
        "id": row.id,
        "prediction_id": row.prediction_id,
        "given": row.updated_at.isoformat(),
        "label": row.label,
        "note": row.note,
        "predicted_label": row.predicted_label,
        "best_guess": row.best_guess,
        "probability": row.probability,
        "in_distribution": row.in_distribution,
        "ood_p_value": row.ood_p_value,
        "model": row.cnn_tag,
        "photo": None if row.image_sha256 is None else store.images.place(row.image_sha256),
        "marks": marks.names,
        **asdict(marks),
    }
