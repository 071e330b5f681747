"""``python -m monitoring purge``: delete feedback for good, by prediction, by age or all of it."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import ColumnElement, true

from monitoring.feedback import Feedback, FeedbackStore
from runners.prediction import ApiError
from settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prediction-id", metavar="ID", help="delete the feedback on this prediction")
    parser.add_argument(
        "--older-than-days",
        type=int,
        metavar="N",
        help="delete feedback first given N days ago or earlier (the default)",
    )
    parser.add_argument("--all", action="store_true", help="delete all feedback, photos and spooled rows; needs --yes")
    parser.add_argument("--yes", action="store_true", help="confirm --all")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Exit code: 0 done, 2 bad input, 3 the feedback store cannot be used; errors are one line on stderr."""
    try:
        condition = _condition(args, settings)
        store = FeedbackStore.open(settings)
        if args.prediction_id is not None and not store.remove(condition, dry_run=True).answers:
            raise ValueError(f"There is no feedback on the prediction {args.prediction_id!r}.")
        report = purge(store, condition, dry_run=args.dry_run, empty_is_right=args.all)
        report["spool_files"] = _empty(settings.var / "spool", args.dry_run) if args.all else 0
    except ValueError as error:
        print(f"purge: {error}", file=sys.stderr)
        return 2
    except (ApiError, OSError) as error:
        print(f"purge: {error}", file=sys.stderr)
        return 3
    if args.json:
        print(json.dumps({"dry_run": args.dry_run, **report}))
    else:
        print(_sentence(report, args.dry_run))
    return 0


def purge(
    store: FeedbackStore, condition: ColumnElement[bool], *, dry_run: bool = False, empty_is_right: bool = False
) -> dict[str, int]:
    """Delete the rows that meet ``condition``, their photos, and files that no row has; then clear the rows' bytes.

    Returns the numbers of ``answers``, ``photos`` and ``orphans`` (photos without a row, unfinished files). A database
    without any answer may be the wrong one: orphans then stay unless ``empty_is_right``.
    """
    sweeps = empty_is_right or any(store.counts().values())
    removed = store.remove(condition, dry_run=dry_run)
    orphans = store.sweep(dry_run=dry_run) if sweeps else 0
    if not dry_run:
        store.database.scrub()
    return {"answers": removed.answers, "photos": removed.photos, "orphans": orphans}


def _condition(args: argparse.Namespace, settings: Settings) -> ColumnElement[bool]:
    if sum((args.prediction_id is not None, args.older_than_days is not None, args.all)) > 1:
        raise ValueError("Choose one of --prediction-id, --older-than-days and --all.")
    if args.all:
        if not (args.yes or args.dry_run):
            raise ValueError("--all deletes all feedback and photos; add --yes to confirm.")
        return true()
    if args.prediction_id is not None:
        return Feedback.prediction_id == str(args.prediction_id)
    days = settings.retention_days if args.older_than_days is None else args.older_than_days
    if not 1 <= days <= 36_500:
        raise ValueError("--older-than-days must be 1 to 36,500.")
    return Feedback.created_at < datetime.now(UTC) - timedelta(days=days)


def _empty(folder: Path, dry_run: bool) -> int:
    files = [path for path in folder.rglob("*") if path.is_file() or path.is_symlink()]
    if not dry_run:
        for path in files:
            path.unlink(missing_ok=True)
    return len(files)


def _sentence(report: dict[str, int], dry_run: bool) -> str:
    parts = [
        f"{report['answers']} answers",
        f"{report['photos']} photos",
        f"{report['orphans']} orphan files",
        f"{report['spool_files']} spooled files",
    ]
    return f"{'Would delete' if dry_run else 'Deleted'} {', '.join(parts)}."
