"""The served models one after the other, and the challengers that were judged: who was promoted, and why or why not."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runners.artifacts import CNN


def models(served_tag: str) -> list[dict[str, Any]]:
    """Every network in the BentoML store, the latest first.

    ``tag``, ``created`` (ISO, UTC), ``champion`` (it is served), ``origin``: the network that it was retrained from or
    that it took back, else None; ``rolled_back``; ``accuracy`` on the test set where it was evaluated, 0..1.
    """
    found = sorted(_stored(), key=lambda model: model.info.creation_time, reverse=True)
    abouts: list[dict[str, Any]] = [dict(model.info.metadata) for model in found]
    return [
        {
            "tag": str(model.tag),
            "created": model.info.creation_time.astimezone(UTC).isoformat(timespec="minutes"),
            "champion": str(model.tag) == served_tag,
            "origin": about.get("rollback_of") or about.get("retrained_from"),
            "rolled_back": "rollback_of" in about,
            "accuracy": (about.get("metrics") or {}).get("test_accuracy"),
        }
        for model, about in zip(found, abouts, strict=True)
    ]


def challengers(runs: Path) -> list[dict[str, Any]]:
    """The verdicts of `training retrain` below ``runs``, the latest first; those that cannot be read are passed over.

    ``run``, ``judged`` (ISO, UTC), and the fields of `training.retrain.Verdict`: ``promoted``, ``reason``,
    ``corrections``, ``comparisons`` (name, photos, champion, challenger, difference, interval).
    """
    found = []
    for file in runs.glob("*/verdict.json"):
        try:
            verdict = json.loads(file.read_text())
            at = datetime.fromtimestamp(file.stat().st_mtime, UTC)
            found.append({"run": file.parent.name, "judged": at.isoformat(timespec="seconds"), **verdict})
        except (OSError, ValueError, TypeError):
            continue
    return sorted(found, key=lambda one: str(one["judged"]), reverse=True)


def _stored() -> list[Any]:
    import bentoml

    return list(bentoml.models.list(CNN))
