"""A burst of photos from a camera into the folder of a class."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from training.classes import name_fault
from training.readers import SourceError
from training.runs import whole

WARM_UP = 1.0
"""Seconds in which a camera finds its exposure and white balance before the first photo."""


class CaptureError(SourceError):
    """A burst that cannot be taken; the message says why."""


def class_folder(data_root: Path, name: str) -> Path:
    """Where captured photos of class ``name`` lie: `captured/<name>` in the data root.

    Raises:
        CaptureError: ``name`` is no class name.
    """
    if fault := name_fault(name):
        raise CaptureError(fault)
    return data_root / "captured" / name


def capture(folder: Path, count: int, interval: float, camera: int | str = 0) -> list[Path]:
    """Take ``count`` photos, ``interval`` seconds apart, into a new sub-folder of ``folder``: one burst, one group.

    ``camera`` is a number, 0 the first, or a video file, in which ``interval`` is time of the film. The photos are
    full-size PNG files, 000.png and so on; fewer than ``count`` where the film or the camera ends early. The
    sub-folder, named after the time (UTC), appears when the burst is done.

    Raises:
        CaptureError: there is no such camera, or it gives no picture.
    """
    import cv2
    from PIL import Image

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # our one line says what its ten would
    device = cv2.VideoCapture(camera)
    try:
        if not device.isOpened():
            what = f"camera {camera}" if isinstance(camera, int) else str(camera)
            raise CaptureError(f"{what} cannot be opened: is it connected, allowed, and not in use elsewhere?")
        burst = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        paths = []
        due = WARM_UP if isinstance(camera, int) else 0.0
        start = time.monotonic()
        with whole(burst) as scratch:
            for number in range(count):
                frame = _frame(device, due, start if isinstance(camera, int) else None)
                if frame is None:
                    break
                name = f"{number:03d}.png"
                Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)).save(scratch / name)
                paths.append(burst / name)
                due += interval
            if not paths:
                raise CaptureError(f"{camera if isinstance(camera, str) else f'camera {camera}'} gives no picture")
        return paths
    finally:
        device.release()


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
