"""A training run on disk: one folder per (configuration, data), each step writing its own part, whole or not at all."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from training.config import TrainConfig


class RunError(Exception):
    """A step that cannot start; the message says which one must come first."""


@dataclass(frozen=True, slots=True)
class Run:
    """Where a run keeps its parts: `fit/`, `cnn/`, `forest/`, `ood.json`, `evaluation.json`, `report.html`."""

    folder: Path

    @property
    def fit(self) -> Path:
        return self.folder / "fit"

    @property
    def cnn(self) -> Path:
        return self.folder / "cnn"

    @property
    def forest(self) -> Path:
        return self.folder / "forest"

    @property
    def ood(self) -> Path:
        return self.folder / "ood.json"

    @property
    def evaluation(self) -> Path:
        return self.folder / "evaluation.json"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    def require(self, part: Path, step: str) -> Path:
        """``part``, or `RunError` naming the step that makes it."""
        if not part.exists():
            raise RunError(f"{part}: not there yet; run `python -m training {step}` first")
        return part


def open_run(runs: Path, config: TrainConfig, data_digest: str) -> Run:
    """The run of this configuration on this data: the same arguments find the same folder again."""
    key = hashlib.sha256(f"{config.model_dump_json()}{data_digest}".encode()).hexdigest()[:10]
    return Run(runs / f"{config.name}-{key}")


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A scratch folder that becomes ``folder`` when the block ends well, and vanishes when it does not."""
    scratch = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    scratch.rename(folder)
