"""``python -m monitoring purge``: delete feedback and kept photos for good, by prediction, by age or all of it."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import true

from monitoring.feedback import Chosen, FeedbackStore, Removed
from runners.prediction import ApiError
from settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prediction-id", metavar="ID", help="delete the feedback on this prediction and its photo")
    parser.add_argument(
        "--older-than-days",
        type=int,
        metavar="N",
        help="delete feedback, photos and spooled rows of N days ago or earlier (the default)",
    )
    parser.add_argument("--all", action="store_true", help="delete all feedback, photos and spooled rows; needs --yes")
    parser.add_argument("--yes", action="store_true", help="confirm --all")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Exit code: 0 done, 2 bad input, 3 the feedback store cannot be used; errors are one line on stderr."""
    try:
        before = _before(args, settings)
        chosen = _chosen(args.prediction_id, before)
        store = FeedbackStore.open(settings)
        if args.prediction_id is not None and _is_nothing(store.remove(chosen, dry_run=True)):
            raise ValueError(f"Nothing is stored of the prediction {args.prediction_id!r}.")
        kept = None if store.is_empty() and not args.all else store.photo_marks(besides=chosen)
        report = purge(store, chosen, dry_run=args.dry_run, empty_is_right=args.all)
        spool = settings.var / "spool"
        report["spool_files"] = 0 if args.prediction_id is not None else _empty(spool, before, args.dry_run)
        report["drift_reports"] = 0 if kept is None else _clean_reports(settings, kept, args.dry_run)
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
    store: FeedbackStore, chosen: Chosen, *, dry_run: bool = False, empty_is_right: bool = False
) -> dict[str, int]:
    """Delete the ``chosen`` rows, their photos, and files that no row has; then clear the rows' bytes.

    Returns the numbers of ``answers``, ``kept`` predictions, ``photos`` and ``orphans`` (photos
    without a row, unfinished files). A database without any row may be the wrong one: orphans then stay unless
    ``empty_is_right``.
    """
    sweeps = empty_is_right or not store.is_empty()
    removed = store.remove(chosen, dry_run=dry_run)
    orphans = store.sweep(dry_run=dry_run) if sweeps else 0
    if not dry_run:
        store.database.scrub()
    return asdict(removed) | {"orphans": orphans}


def _before(args: argparse.Namespace, settings: Settings) -> datetime | None:
    """What is older than this goes; None where age does not matter. Raises ValueError for words that do not fit."""
    if sum((args.prediction_id is not None, args.older_than_days is not None, args.all)) > 1:
        raise ValueError("Choose one of --prediction-id, --older-than-days and --all.")
    if args.all and not (args.yes or args.dry_run):
        raise ValueError("--all deletes all feedback and photos; add --yes to confirm.")
    if args.all or args.prediction_id is not None:
        return None
    days = settings.retention_days if args.older_than_days is None else args.older_than_days
    if not 1 <= days <= 36_500:
        raise ValueError("--older-than-days must be 1 to 36,500.")
    return datetime.now(UTC) - timedelta(days=days)


def _chosen(prediction_id: str | None, before: datetime | None) -> Chosen:
    if prediction_id is not None:
        return lambda table: table.prediction_id == prediction_id
    if before is not None:
        return lambda table: table.created_at < before
    return lambda _: true()


def _is_nothing(removed: Removed) -> bool:
    return not (removed.answers or removed.kept)


def _empty(folder: Path, before: datetime | None, dry_run: bool) -> int:
    """Delete the files in ``folder`` last written ``before`` then; returns their number."""
    files = [path for path in folder.rglob("*") if path.is_file() or path.is_symlink()]
    if before is not None:
        files = [path for path in files if path.lstat().st_mtime < before.timestamp()]
    if not dry_run:
        for path in files:
            path.unlink(missing_ok=True)
    return len(files)


def _clean_reports(settings: Settings, kept: set[str], dry_run: bool) -> int:
    """Take photos whose marks are not among ``kept`` out of the drift reports in MLflow; the number of such reports.

    Raises:
        OSError: MLflow does not let us.
    """
    from monitoring import tracking
    from monitoring.report import without_photos

    cleaned = 0
    try:
        for run_id, path, html in tracking.reports(settings):
            rest = without_photos(html, kept)
            if rest != html:
                cleaned += 1
                if not dry_run:
                    tracking.replace_report(settings, run_id, path, rest)
    except Exception as error:  # whatever MLflow, its database or the network raise
        raise OSError(f"photos may be left in drift reports, which the next purge cleans: {error}") from error
    return cleaned


def _sentence(report: dict[str, int], dry_run: bool) -> str:
    parts = [
        f"{report['answers']} answers",
        f"{report['kept']} kept predictions",
        f"{report['photos']} photos",
        f"{report['orphans']} orphan files",
        f"{report['spool_files']} spooled files",
        f"photos in {report['drift_reports']} drift reports",
    ]
    return f"{'Would delete' if dry_run else 'Deleted'} {', '.join(parts)}."
