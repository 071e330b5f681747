"""`python -m runners starters`: put the shipped models into the store. `score`: many photos at once."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from settings import BadSettingError, configure_environment, read_settings
from version import version


def main(argv: list[str] | None = None) -> int:
    parser = _parser()
    arguments = parser.parse_args(argv)
    workers = getattr(arguments, "workers", None)
    if workers is not None and (arguments.engine != "ray" or workers < 1):
        parser.error("--workers needs --engine ray and is 1 or more")
    try:
        settings = read_settings()
    except BadSettingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    configure_environment(settings)
    from runners import score as scoring
    from runners import store
    from runners.artifacts import ArtifactError
    from runners.score_sources import ScoreError

    try:
        if arguments.command == "score":
            return scoring.run(arguments.path, arguments.out, settings, arguments.engine, workers)
        new = store.import_starters(arguments.folder or store.STARTERS)
    except (store.StoreError, ArtifactError, ScoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.strerror}: {error.filename or ''}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on where it was", file=sys.stderr)
        return 130
    print(f"imported {', '.join(new)}" if new else "the starter models are in the store")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m runners", description=__doc__)
    parser.add_argument("--version", action="version", version=version())
    commands = parser.add_subparsers(dest="command", required=True)
    starters = commands.add_parser("starters", help="import the shipped starter models unless a model is there")
    starters.add_argument("--from", dest="folder", type=Path, default=None, help="folder of the archives")
    score = commands.add_parser("score", help="classify many photos into parquet, with a profile of them")
    score.add_argument("path", help="a photo, tar or parquet file or a folder of them; a path or an fsspec address")
    score.add_argument(
        "--out", type=Path, required=True, help="folder for predictions.parquet, profile.bin, errors.jsonl"
    )
    score.add_argument("--engine", choices=("local", "ray"), default="local", help="this process, or a Ray cluster")
    score.add_argument("--workers", type=int, help="Ray only: how many, of one core each; all cores when not given")
    return parser


if __name__ == "__main__":
    sys.exit(main())
