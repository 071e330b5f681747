"""A double of the owner's calls that keeps everything in memory."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from http_guard import is_owner
from settings import Settings
from tests.ui.conftest import png
from ui.api import ApiProblem

FOLDER = "captured/mug/20261124T101502123456"
COLUMNS = {"brightness": "mean luma", "label": "the class answered", "width": "pixels across"}


def correction(number: int, label: str, **changed: Any) -> dict[str, Any]:
    color = (40 * number % 256, 90, 160)
    return {
        "id": number,
        "label": label,
        "note": "",
        "best_guess": "cat",
        "probability": 0.97,
        "in_distribution": True,
        "model": "cifar_cnn:a",
        "given": "2026-11-24T10:15+00:00",
        "marks": [],
        "duplicate_of": (),
        "near_duplicate_of": (),
        "conflict_with": (),
        "thumbnail": "data:image/png;base64," + base64.b64encode(png(color, (64, 48))).decode(),
        **changed,
    }


def corrections() -> list[dict[str, Any]]:
    return [
        correction(1, "dog", marks=["duplicate_of", "conflict_with"], duplicate_of=(2,), conflict_with=(2,)),
        correction(2, "bird", marks=["near_duplicate_of", "suspected_mislabel"], near_duplicate_of=(1, 3, 4, 5)),
        correction(3, "cat", in_distribution=False, probability=0.4, note="<b>mine</b>"),
        correction(4, "bicycle", model="cifar_cnn:b", thumbnail=None),
    ]


def window(end: str, drifted: bool, judged: bool = True) -> dict[str, Any]:
    """A window as `DriftResult` writes it, in three columns."""
    columns = [
        {
            "name": name,
            "description": description,
            "adjusted_p_value": (1e-9 if drifted and name == "label" else 0.8) if judged and name != "width" else None,
            "drifted": drifted and name == "label",
            "bars": [
                {"label": "cat", "reference": 0.75, "window": 0.25},
                {"label": "dog", "reference": 0.25, "window": 0.75},
            ],
        }
        for name, description in COLUMNS.items()
    ]
    verdict = "cannot judge" if not judged else "drift" if drifted else "no drift"
    return {"end": end, "verdict": verdict, "window_rows": 100, "columns": columns}


class FakeOwner:
    """`ui.api.OwnerApi` in memory; by default every visitor is the owner. ``fails`` makes every call fail; the
    corrections are on their way while ``held``."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.reset()

    def reset(self) -> None:
        self.waiting = corrections()
        self.reviews: list[tuple[int, str, str | None]] = []
        self.bursts: list[tuple[str, list[bytes]]] = []
        self.folders = {FOLDER: 20}
        self.deleted: list[str | None] = []
        self.fails = False
        self.held = False
        self.asked = 0
        self.requests = 12
        self.windows = [window(f"2026-11-24T1{hour}:00:00+00:00", hour == 1, hour != 2) for hour in range(3)]

    def _check(self) -> None:
        if self.fails:
            raise ApiProblem("feedback_unavailable", "The store is away.", 503)

    def is_owner(self, authorization: str) -> bool:
        return is_owner(authorization, self.settings)

    async def capture(self, label: str, images: list[bytes]) -> dict[str, Any]:
        if label == "unknown":
            raise ApiProblem("bad_label", "unknown is what the service answers for photos of no class.", 422)
        self.bursts.append((label, images))
        return {"folder": FOLDER, "photos": len(images), "line": f"  {label}: captured/{label}"}

    async def corrections(self, chosen: dict[str, Any]) -> dict[str, Any]:
        self._check()
        self.asked += 1
        while self.held:
            await asyncio.sleep(0.01)
        taken = [
            item
            for item in self.waiting
            if chosen["label"] in (None, item["label"])
            and chosen["model"] in (None, item["model"])
            and not (chosen["refused"] and item["in_distribution"])
            and not (chosen["unsure"] and item["probability"] >= 0.6)
            and not (chosen["disagree"] and item["best_guess"] == item["label"])
        ]
        return {
            "pending": len(self.waiting),
            "matching": len(taken),
            "labels": sorted({item["label"] for item in self.waiting}),
            "models": sorted({item["model"] for item in self.waiting}),
            "items": taken,
        }

    async def review(self, correction: int, state: str, label: str | None = None) -> None:
        self._check()
        self.reviews.append((correction, state, label))
        if state == "pending":
            self.waiting = sorted(
                [*self.waiting, *(item for item in corrections() if item["id"] == correction)], key=lambda i: i["id"]
            )
        else:
            self.waiting = [item for item in self.waiting if item["id"] != correction]

    async def traffic(self) -> dict[str, Any]:
        self._check()
        self.requests += 1
        return {
            "requests": self.requests,
            "photos": 1234,
            "minute": 5,
            "refusal_share": 0.079,
            "confidence": 0.889,
            "estimated_accuracy": 0.922,
            "labels": {"cat": 0.6, "unknown": 0.4},
            "histogram": [0.0] * 9 + [1.0],
            "feedback": {"answers": 52, "value": 0.673, "low": 0.538, "high": 0.785},
            "counts": {"confirmed": 35, "pending": len(self.waiting), "accepted": 0, "rejected": 0},
            "mlflow": None,
        }

    async def drift(self) -> list[dict[str, Any]]:
        self._check()
        return self.windows

    async def history(self) -> dict[str, Any]:
        self._check()
        about = {"created": "2026-11-24T10:15+00:00", "rolled_back": False}
        compared = {"name": "test photos", "photos": 10_000, "difference": -0.0123, "interval": [-0.02, -0.004]}
        return {
            "models": [
                {"tag": "cifar_cnn:b", "champion": True, "origin": "cifar_cnn:a", "accuracy": None, **about},
                {"tag": "cifar_cnn:a", "champion": False, "origin": None, "accuracy": 0.9187, **about},
            ],
            "challengers": [
                {
                    "run": "retrain-1",
                    "judged": "2026-11-24T10:15+00:00",
                    "promoted": False,
                    "reason": "not promoted: worse on test photos",
                    "comparisons": [compared],
                }
            ],
        }

    async def report(self) -> str:
        self._check()
        return "<!doctype html><title>Report</title><h1>No drift</h1>"

    async def holdings(self) -> dict[str, Any]:
        self._check()
        return {
            "classes": {
                "cat": {"dataset": 6000, "captured": 0, "corrections": 3},
                "mug": {"dataset": 0, "captured": sum(self.folders.values()), "corrections": 0},
            },
            "bursts": [{"folder": folder, "label": "mug", "photos": n} for folder, n in self.folders.items()],
            "feedback": {"confirmed": 35, "pending": 4, "accepted": 3, "rejected": 0},
        }

    async def delete_burst(self, folder: str) -> int:
        self._check()
        return self.folders.pop(folder)

    async def delete_feedback(self, name: str | None) -> dict[str, int]:
        self._check()
        self.deleted.append(name)
        return {"answers": 1, "photos": 1}
