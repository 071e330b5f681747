"""A training run on disk: one folder per (configuration, data), each step writing its own part, whole or not at all."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from runners.whole import whole
from training.config import TrainConfig

__all__ = ["Run", "RunError", "open_run", "whole"]


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
