"""`python -m monitoring drift|report|review|purge`: checks, corrections, deletion."""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from settings import Settings, configure_environment, read_settings
from version import version

if TYPE_CHECKING:
    from monitoring.drift import DriftResult
    from monitoring.feedback import FeedbackStore
    from monitoring.profiles import Profile
    from monitoring.report import Sample

NO_DRIFT, DRIFT, CANNOT_JUDGE, ERROR = 0, 1, 2, 3
"""Exit codes of `drift`; others script against them."""
DEFAULT_HOURS = 24.0


def main(argv: list[str] | None = None, settings: Settings | None = None) -> int:
    """Run one command and return its exit code; errors are one line on stderr and code 3."""
    try:
        settings = settings or read_settings()
        configure_environment(settings)
        arguments = _parser().parse_args(argv)
        command: Callable[[argparse.Namespace, Settings], int] = arguments.command
        return command(arguments, settings)
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # the border to the shell: whatever went wrong is one sentence there
        print(f"error: {' '.join(str(error).split())[:400] or type(error).__name__}", file=sys.stderr)
        return ERROR


def collect_garbage_rarely() -> None:
    """For a process of one command: imports make a million objects that stay, and going through them again and again
    takes a tenth of a drift check's time."""
    gc.set_threshold(100_000)


def judge(settings: Settings, hours: float | None, last: int | None) -> tuple[DriftResult | None, str, str]:
    """Compare the served model's traffic with its reference: the result, a sentence, the model's tag.

    The traffic is the ``last`` windows, those of the latest ``hours``, or both limits together. The result is None
    where there is no reference or no traffic at all; the sentence then says which.
    """
    from monitoring import drift, profiles, tracking
    from monitoring.since import Timeline
    from runners import store

    served = store.served(settings)
    reference = _reference(served.cnn_path / "reference.bin")
    if reference is None:
        return None, f"{served.cnn_tag} carries no reference profile; register the model again.", served.cnn_tag
    since = None if hours is None else datetime.now(UTC) - timedelta(hours=hours)
    chosen = tracking.windows(settings, served.cnn_tag, since=since, last=last)
    if not chosen:
        return None, f"No traffic of {served.cnn_tag} was recorded in that time.", served.cnn_tag
    timeline = Timeline(reference)
    read = (profiles.from_bytes(data) for data in tracking.read_windows(settings, chosen))
    window = profiles.merge(timeline.watch(read))
    feedback = _feedback(settings)
    said = feedback.answers_by_class(served.cnn_tag, _start(window)) if feedback else {}
    result = drift.check(reference, window, settings.false_alarm_rate, settings.min_rows, said)
    drifted = [column.name for column in result.columns if column.drifted]
    result = result.model_copy(update={"since": timeline.since(drifted)})
    return result, result.reason, served.cnn_tag


def samples(settings: Settings, result: DriftResult, model: str) -> list[Sample]:
    """Photos of the judged time that people gave feedback on, as far as they are kept; wrong answers first."""
    from monitoring.image_store import DamagedImageError
    from monitoring.report import MOST_SAMPLES, Sample, thumbnail

    feedback = _feedback(settings)
    if feedback is None:
        return []
    since = datetime.fromisoformat(result.start) if result.start else None
    found = []
    for row in feedback.latest_photos(model, since, MOST_SAMPLES):
        try:
            png = feedback.images.get(row.image_sha256 or "")
        except (OSError, ValueError, DamagedImageError):
            continue  # deleted or damaged: a report is no place to stumble over it
        found.append(Sample(row.photo_mark, thumbnail(png), row.predicted_label, row.truth, row.correct))
    return found


def _feedback(settings: Settings) -> FeedbackStore | None:
    """The feedback store where there is one: a check makes no database."""
    from sqlalchemy import make_url

    from monitoring.feedback import FeedbackStore

    url = make_url(settings.database)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        return None
    return FeedbackStore.open(settings)


def _start(window: Profile) -> datetime | None:
    start = window.metadata.get("start")
    return datetime.fromisoformat(start) if start else None


def _reference(path: Path) -> Profile | None:
    from monitoring.profiles import from_bytes

    return from_bytes(path.read_bytes()) if path.is_file() else None


def _drift(arguments: argparse.Namespace, settings: Settings) -> int:
    from monitoring import tracking
    from monitoring.report import render

    result, sentence, model = judge(settings, *_span(arguments))
    report = None
    if result is not None:
        run_id = tracking.model_run(settings, model)
        report = tracking.log_report(
            settings,
            run_id,
            render(result, model, samples(settings, result, model)),
            drifted=result.verdict == "drift",
            smallest_p=result.smallest_p,
            at=datetime.now(UTC),
        )
    verdict = result.verdict if result else "cannot judge"
    if result is not None and verdict == "drift" and settings.drift_webhook:
        from monitoring.webhook import post

        post(settings.drift_webhook.get_secret_value(), result, model, report)
    if arguments.json:
        body = result.model_dump(mode="json") if result else {"verdict": verdict, "reason": sentence}
        print(json.dumps({"model": model, "report": report, **body}))
    else:
        print(f"{verdict}: {sentence}")
    return {"no drift": NO_DRIFT, "drift": DRIFT}.get(verdict, CANNOT_JUDGE)


def _report(arguments: argparse.Namespace, settings: Settings) -> int:
    from monitoring.report import render

    result, sentence, model = judge(settings, *_span(arguments))
    if result is None:
        print(f"error: {sentence}", file=sys.stderr)
        return CANNOT_JUDGE
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(render(result, model, samples(settings, result, model)), encoding="utf-8")
    answer = {"model": model, "verdict": result.verdict, "reason": sentence, "report": str(arguments.out)}
    print(json.dumps(answer) if arguments.json else f"{result.verdict}: {sentence} Written to {arguments.out}.")
    return 0


def _span(arguments: argparse.Namespace) -> tuple[float | None, int | None]:
    """``--hours`` and ``--last`` as given; the latest 24 hours where neither is."""
    hours: float | None = arguments.hours
    last: int | None = arguments.last
    return (DEFAULT_HOURS, None) if hours is None and last is None else (hours, last)


def _positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        number = kind(text)
        if not 0 < number < 1e6:
            raise ValueError
        return number

    parse.__name__ = "positive number"  # argparse puts it into its message
    return parse


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")  # argparse's own code 2 means "cannot judge" here


def _parser() -> argparse.ArgumentParser:
    from monitoring import purge, review

    parser = _Parser(prog="python -m monitoring", description="What the service has seen, and what to do about it.")
    parser.add_argument("--version", action="version", version=version())
    commands = parser.add_subparsers(required=True, metavar="drift|report|review|purge")
    for name, command, text in (
        ("drift", _drift, "has the traffic changed? exit code 0 no, 1 yes, 2 cannot judge, 3 error"),
        ("report", _report, "write the comparison as one HTML page"),
    ):
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--last", type=_positive(int), metavar="N", help="the latest N windows")
        sub.add_argument("--hours", type=_positive(float), metavar="H", help="the latest H hours (default 24)")
        sub.add_argument("--json", action="store_true", help="one JSON object on stdout")
        if name == "report":
            sub.add_argument("--out", type=Path, default=Path("drift.html"), help="file to write (default drift.html)")
        sub.set_defaults(command=command)
    for name, module, text in (
        ("review", review, "accept or reject corrections before they may train"),
        ("purge", purge, "delete feedback and photos by age or by id"),
    ):
        sub = commands.add_parser(name, help=text, description=text)
        module.add_arguments(sub)
        sub.set_defaults(command=module.run)
    return parser


if __name__ == "__main__":
    collect_garbage_rarely()
    sys.exit(main())
