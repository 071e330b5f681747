"""`python -m training prepare|train|ood|evaluate|register|retrain|rollback`: each step alone; `all`: the first five."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from settings import ROOT, BadSettingError, Settings, configure_environment, read_settings
from version import version

STEPS = ("prepare", "train", "ood", "evaluate", "register")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        settings = read_settings()
    except BadSettingError as error:
        return _fail(str(error))
    configure_environment(settings)

    from runners.artifacts import ArtifactError
    from runners.prediction import ApiError
    from runners.store import StoreError
    from training.config import ConfigError
    from training.promotion import PromotionError
    from training.retrain import RetrainError
    from training.runs import RunError
    from training.sources import SourceError

    try:
        result = _run(arguments, settings)
    except (
        ArtifactError,
        ApiError,
        ConfigError,
        PromotionError,
        RetrainError,
        RunError,
        SourceError,
        StoreError,
    ) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.strerror}: {error.filename or ''}")
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on from the last finished epoch")
    if arguments.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            if not isinstance(value, dict | list):
                print(f"{name}: {value}")
    return 0


def _run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    from runners.progress import progress_bar
    from training import steps
    from training.config import read_config

    if arguments.command == "rollback":
        return steps.rollback(settings, mlflow=not arguments.without_mlflow)
    if arguments.command == "capture":
        return steps.capture_burst(
            settings, arguments.class_name, arguments.count, arguments.interval, arguments.camera
        )
    config = read_config(arguments.config)
    with progress_bar() as progress:
        if arguments.command == "retrain":
            return steps.retrain(
                settings,
                config,
                arguments.classes,
                progress,
                anew=arguments.anew,
                base_images=arguments.base_images,
                least_photos=arguments.class_photos,
                trusted=arguments.trust,
            )
        chosen = STEPS if arguments.command == "all" else (arguments.command,)
        result: dict[str, Any] = {}
        for number, step in enumerate(chosen, 1):
            if len(chosen) > 1:
                print(f"[{number}/{len(chosen)}] {step}", file=sys.stderr, flush=True)
            if step == "prepare":
                result |= steps.prepare(settings, arguments.classes, progress)
            elif step == "train":
                result |= steps.train(settings, config, progress)
            elif step == "ood":
                result |= steps.ood(settings, config)
            elif step == "evaluate":
                result |= steps.evaluate_run(settings, config, progress)
            else:
                command = shlex.join(["python", "-m", "training", "all", "--config", _relative(arguments.config)])
                result |= steps.register_run(settings, config, command, arguments.export)
        return result


def _relative(path: Path) -> str:
    path = path.resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not positive")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--version", action="version", version=version())
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in {
        "prepare": "read the data root and write the splits",
        "train": "fit and export the network; goes on where it was interrupted",
        "ood": "fit the gate and compare scores on unknown photos",
        "evaluate": "read the test set and write the report",
        "register": "make the pair the served one",
        "all": "all of these, in order",
        "retrain": "train a challenger on accepted corrections, and promote it if it is better",
        "rollback": "serve the pair before the latest one again",
        "capture": "take a burst of photos of one class with the webcam",
    }.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--json", action="store_true", help="print one JSON object on standard output")
        if name == "capture":
            command.add_argument("--class", dest="class_name", required=True, metavar="NAME")
            command.add_argument("--count", type=_positive, default=20, help="photos of the burst")
            command.add_argument("--interval", type=float, default=0.2, help="seconds between two photos")
            command.add_argument("--camera", default="0", help="its number, or a video file")
        if name == "rollback":
            command.add_argument("--without-mlflow", action="store_true", help="also while MLflow is away")
        if name in ("rollback", "capture"):
            continue
        default = "retrain.yaml" if name == "retrain" else "quick.yaml"
        command.add_argument("--config", type=Path, default=ROOT / "training" / default, metavar="FILE")
        if name in ("prepare", "all", "retrain"):
            command.add_argument("--classes", type=Path, default=ROOT / "training" / "classes.yaml", metavar="FILE")
        if name in ("register", "all"):
            command.add_argument("--export", type=Path, metavar="DIR", help="also write the archives and their record")
        if name == "retrain":
            command.add_argument("--anew", action="store_true", help="train a fresh network, not the served one on")
            command.add_argument(
                "--class-photos", type=_positive, default=30, metavar="N", help="accepted photos that make a new class"
            )
            command.add_argument(
                "--trust",
                nargs="+",
                default=[],
                metavar="CLASS",
                help="take its corrections though the network doubts them",
            )
            command.add_argument("--base-images", type=_positive, metavar="N", help="use a sample of the base data")
    return parser


if __name__ == "__main__":
    sys.exit(main())
