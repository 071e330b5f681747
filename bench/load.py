"""Requests as fast as a server takes them: `wrk` with multipart bodies of JPEG photos."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict

SCRIPT = Path(__file__).with_name("multipart.lua")
SIZE = (320, 240)


class Load(BaseModel):
    """What `wrk` saw in ``seconds``: ``answers`` of any status, ``refused`` of them with one above 399, requests that
    were ``lost`` with their connection, and percentiles of the time to an answer."""

    model_config = ConfigDict(frozen=True)

    seconds: float
    answers: int
    refused: int
    lost: int
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Good answers per second."""
        return (self.answers - self.refused) / self.seconds

    @property
    def errors(self) -> int:
        return self.refused + self.lost


def photos(folder: Path, count: int) -> list[Path]:
    """``count`` different smooth JPEG photos of `SIZE`, about 12 kB each, the same in every run."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        paths.append(folder / f"{number}.jpg")
        paths[-1].write_bytes(buffer.getvalue())
    return paths


def load(url: str, field: str, files: Sequence[Path], connections: int, seconds: int, together: int = 1) -> Load:
    """Post ``files``, ``together`` in a request, over so many connections at once."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "-s", str(SCRIPT), url, "--"]
    done = subprocess.run(
        [*command, field, str(together), *map(str, files)], capture_output=True, text=True, check=True, timeout=120
    )
    return Load.model_validate(json.loads(done.stdout.splitlines()[-1]))
