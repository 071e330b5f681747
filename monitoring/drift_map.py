"""Drift column by column and window by window: each window of the served model against its reference."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

from monitoring import drift, profiles, tracking
from settings import Settings

MOST_WINDOWS = 12
_CACHED = 100


class DriftMap:
    """Compares the latest windows. A window never changes, so each is judged once. For one thread at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._judged: OrderedDict[tuple[str, str, str], drift.DriftResult] = OrderedDict()

    def latest(self, cnn_tag: str, reference_file: Path) -> list[dict[str, Any]]:
        """The last `MOST_WINDOWS` windows of ``cnn_tag``, oldest first: ``end`` (ISO, UTC) and a `DriftResult` as JSON.

        Empty where there is no traffic yet, or no reference. Raises MlflowException or OSError where MLflow cannot be
        reached, ValueError for a damaged profile.
        """
        if not reference_file.is_file():
            return []
        windows = tracking.windows(self._settings, cnn_tag, last=MOST_WINDOWS)
        keys = {(cnn_tag, window.run_id, window.path): window for window in windows}
        new = [key for key in keys if key not in self._judged]
        if new:
            reference = profiles.from_bytes(reference_file.read_bytes())
            data = tracking.read_windows(self._settings, [keys[key] for key in new])
            for key, found in zip(new, data, strict=True):
                window = profiles.from_bytes(found)
                self._judged[key] = drift.check(
                    reference, window, alpha=self._settings.false_alarm_rate, min_rows=self._settings.min_rows
                )
        for key in keys:
            self._judged.move_to_end(key)
        while len(self._judged) > _CACHED:
            self._judged.popitem(last=False)
        return [
            {**self._judged[key].model_dump(mode="json"), "end": window.end.isoformat(timespec="seconds")}
            for key, window in keys.items()
        ]
