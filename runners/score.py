"""Many photos at once, on this machine: a folder in, one parquet file of predictions out."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from runners.images import Photo, read_photo
from runners.pipeline import Pipeline
from runners.prediction import ApiError
from runners.store import load_pipeline
from settings import Settings

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}


class ScoreError(Exception):
    """Nothing to score; the message says where it looked."""


def photo_paths(path: Path) -> list[Path]:
    """The photo ``path``, or all photos below the folder ``path``, in a fixed order."""
    if path.is_file():
        return [path]
    paths = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise ScoreError(f"{path}: no photos ({', '.join(sorted(SUFFIXES))}) found")
    return paths


def run(path: Path, out: Path, settings: Settings) -> int:
    """Write ``out``/predictions.parquet and ``out``/errors.jsonl (photos that could not be read, with the reason)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = photo_paths(path)
    pipeline = load_pipeline(settings)
    out.mkdir(parents=True, exist_ok=True)
    partial, done, failed = out / "predictions.parquet.partial", 0, 0
    writer: pq.ParquetWriter | None = None
    with (out / "errors.jsonl").open("w") as errors:
        for chunk in _chunks(paths, 256):
            photos: list[tuple[Path, Photo]] = []
            for file in chunk:
                try:
                    data = file.read_bytes()
                    photo = read_photo(data, max_bytes=settings.max_upload_bytes, max_pixels=settings.max_pixels)
                    photos.append((file, photo))
                except (ApiError, OSError) as error:
                    failed += 1
                    errors.write(json.dumps({"path": str(file), "error": str(error)}) + "\n")
            if photos:
                table = pa.table(_columns(photos, pipeline, settings.refuse_share))
                writer = writer or pq.ParquetWriter(partial, table.schema)
                writer.write_table(table)
            done += len(chunk)
            print(f"scored {done:,} of {len(paths):,}, {failed:,} unreadable", file=sys.stderr)
    if writer is None:
        raise ScoreError(f"{path}: none of {len(paths):,} photos could be read; see {out / 'errors.jsonl'}")
    writer.close()
    os.replace(partial, out / "predictions.parquet")
    print(out / "predictions.parquet")
    return 0


def _chunks(paths: list[Path], size: int) -> Iterator[list[Path]]:
    rest = iter(paths)
    while chunk := list(itertools.islice(rest, size)):
        yield chunk


def _columns(photos: list[tuple[Path, Photo]], pipeline: Pipeline, refuse_share: float) -> dict[str, list[object]]:
    scores = pipeline.score(np.stack([photo.pixels for _, photo in photos]))
    best = [pipeline.labels[i] for i in scores.best]
    known = scores.ood_p_value > refuse_share
    return {
        "path": [str(file) for file, _ in photos],
        "label": [name if k else "unknown" for name, k in zip(best, known, strict=True)],
        "best_guess": best,
        "probability": scores.confidence.tolist(),
        "ood_score": scores.ood_score.tolist(),
        "ood_p_value": scores.ood_p_value.tolist(),
        "probabilities": scores.probabilities.tolist(),
    }
