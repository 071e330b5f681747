"""A burst of photos from a camera into the folder of a class."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from monitoring.bursts import class_folder, save_burst
from training.readers import SourceError

__all__ = ["CaptureError", "capture", "class_folder"]

WARM_UP = 1.0
"""Seconds in which a camera finds its exposure and white balance before the first photo."""


class CaptureError(SourceError):
    """A burst that cannot be taken; the message says why."""


def capture(folder: Path, count: int, interval: float, camera: int | str = 0) -> list[Path]:
    """Take ``count`` photos, ``interval`` seconds apart, into a new sub-folder of ``folder``: one burst, one group.

    ``camera`` is a number, 0 the first, or a video file, in which ``interval`` is time of the film. The photos are
    full-size PNG files, 000.png and so on; fewer than ``count`` where the film or the camera ends early. The
    sub-folder, named after the time (UTC), appears when the burst is done.

    Raises:
        CaptureError: there is no such camera, or it gives no picture.
    """
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # our one line says what its ten would
    what = f"camera {camera}" if isinstance(camera, int) else camera
    device = cv2.VideoCapture(camera)
    try:
        if not device.isOpened():
            raise CaptureError(f"{what} cannot be opened: is it connected, allowed, and not in use elsewhere?")
        return save_burst(folder, _pngs(device, what, count, interval, live=isinstance(camera, int)))
    finally:
        device.release()


def _pngs(device: Any, what: str, count: int, interval: float, *, live: bool) -> Iterator[bytes]:
    """At most ``count`` photos of a film or a ``live`` camera as PNG files; raises `CaptureError` for none."""
    import cv2

    due = WARM_UP if live else 0.0
    start = time.monotonic() if live else None
    for number in range(count):
        frame = _frame(device, due, start)
        if frame is None:
            if number == 0:
                raise CaptureError(f"{what} gives no picture")
            return
        yield cv2.imencode(".png", frame)[1].tobytes()
        due += interval


def _frame(device: Any, due: float, start: float | None) -> Any:
    """The first frame at or after ``due`` seconds, BGR uint8 (h, w, 3), of a film or since ``start``; None at the end.

    Every frame before is taken too: a camera's driver queues some, and the oldest would come first.
    """
    import cv2

    while device.grab():
        now = time.monotonic() - start if start is not None else device.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if now >= due - 1e-3:
            taken, frame = device.retrieve()
            return frame if taken else None
    return None
