"""Many photos at once: photos, tar shards or parquet in, one parquet dataset and one whylogs profile out.

The work is cut into parts (`runners.score_sources.Part`). Each leaves its rows, its errors and its profile in
`OUT/unfinished`, whole or not at all; a second run goes on with those that are missing, and the last step puts all
of them together. So workers here and on Ray do the same thing, and memory holds one part's sketches and a few
hundred photos, however many there are.

Like `service.py` this is a command that composes the rooms: the one module of `runners/` that sees `monitoring/`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from runners.blas import one_blas_thread
from runners.images import read_photo
from runners.pipeline import Pipeline, Scores
from runners.prediction import ApiError
from runners.progress import progress_bar
from runners.score_sources import Part, ScoreError, parts, photos
from runners.store import load_pipeline, served
from settings import Settings

Engine = Literal["local", "ray"]
BATCH = 256
"""Photos that are decoded and scored together."""
PROFILED = 4
"""Batches that are profiled together: whylogs takes 0.05 ms a photo for one, 0.025 for four."""
PREDICTIONS, ERRORS, PROFILE, UNFINISHED = "predictions.parquet", "errors.jsonl", "profile.bin", "unfinished"


@dataclass(frozen=True, slots=True)
class Done:
    """What one part came to."""

    photos: int
    failed: int


@dataclass(slots=True)
class _Batch:
    """Decoded photos: names, uint8 (32, 32, 3) pixels and (width, height); and those that could not be, with why."""

    names: list[str] = field(default_factory=list)
    pixels: list[NDArray[np.uint8]] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    errors: list[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names) + len(self.errors)


def run(url: str, out: Path, settings: Settings, engine: Engine = "local", workers: int | None = None) -> int:
    """Score ``url`` into the folder ``out``: `predictions.parquet` (a folder of files), `profile.bin`, `errors.jsonl`.

    ``workers`` of Ray: how many, of one core each; as many as the cluster has cores where it is None.

    Raises:
        ScoreError: nothing to score, nothing readable, ``out`` holds something else, or Ray cannot do it.
        runners.store.StoreError, runners.artifacts.ArtifactError: the model cannot be loaded.
    """
    if (out / PREDICTIONS).exists():
        raise ScoreError(f"{out / PREDICTIONS} is there already; choose another folder")
    count, digest = _survey(url)
    work = out / UNFINISHED
    _claim(work, {"photos": digest, "model": served(settings).cnn_tag, "refuse_share": settings.refuse_share})
    done = {number: state for number in range(count) if (state := _finished(work, number))}
    waiting = ((number, part) for number, part in enumerate(parts(url)) if number not in done)
    with progress_bar() as show:
        seen, failed = sum(d.photos for d in done.values()), sum(d.failed for d in done.values())
        finished = len(done)
        show("scoring", finished, count, f"{seen:,} photos", "parts")
        for state in _scored(waiting, work, settings, engine, workers):
            seen, failed, finished = seen + state.photos, failed + state.failed, finished + 1
            show("scoring", finished, count, f"{seen:,} photos", "parts")
    _finish(out, work, count)
    if seen == failed:
        raise ScoreError(f"{url}: none of {seen:,} photos could be read; see {out / ERRORS}")
    print(f"{out / PREDICTIONS}: {seen - failed:,} photos; {failed:,} could not be read, see {ERRORS}")
    return 0


def score_part(part: Part, number: int, work: Path, pipeline: Pipeline, settings: Settings, streams: int = 1) -> Done:
    """Score ``part`` and leave what it came to in ``work``, under its ``number``; ``streams`` batches at a time."""
    import pyarrow.parquet as pq

    from monitoring.profiles import ProfileBuilder
    from monitoring.rows import Table, rows

    builder, writer = ProfileBuilder(), None
    tables: list[Table] = []
    seen = failed = 0
    draft, failures = work / f"{number:06}.draft", work / f"{number:06}.jsonl"

    def profile() -> None:
        builder.track({name: np.concatenate([table[name] for table in tables]) for name in tables[0]})
        tables.clear()

    def record(batch: _Batch, scores: Scores) -> None:
        nonlocal writer
        sizes = np.asarray(batch.sizes, np.int64)
        table = rows(np.stack(batch.pixels), sizes, scores, pipeline.labels, settings.refuse_share)
        tables.append(table)
        if len(tables) == PROFILED:
            profile()
        columns = _columns(batch.names, table["label"], scores, pipeline.labels)
        writer = writer or pq.ParquetWriter(draft, columns.schema)
        writer.write_table(columns)

    def take() -> Future[None]:
        """Wait for the batch that has been scored for the longest time and hand it on."""
        batch, scores = scoring.popleft()
        return recorder.submit(record, batch, scores.result())

    # One thread decodes what comes next, ``streams`` drive the network, and one records what was scored, in its order.
    scoring: deque[tuple[_Batch, Future[Scores]]] = deque()
    with (
        ThreadPoolExecutor(1) as decoder,
        ThreadPoolExecutor(streams) as network,
        ThreadPoolExecutor(1) as recorder,
        failures.open("w") as errors,
    ):
        recorded: Future[None] | None = None
        for batch in _ahead(_decoded(part, settings), decoder):
            seen, failed = seen + len(batch), failed + len(batch.errors)
            errors.writelines(json.dumps({"path": name, "error": error}) + "\n" for name, error in batch.errors)
            if batch.names:
                scoring.append((batch, network.submit(pipeline.score, np.stack(batch.pixels))))
            if len(scoring) > streams:
                if recorded:
                    recorded.result()
                recorded = take()
        while scoring:
            if recorded:
                recorded.result()
            recorded = take()
        if recorded:
            recorded.result()
    if writer:
        writer.close()
        if tables:
            profile()
        os.replace(draft, work / f"{number:06}.parquet")
        about = {"cnn": pipeline.cnn_tag, "forest": pipeline.forest_tag, "refuse_share": str(settings.refuse_share)}
        _write(work / f"{number:06}.profile", builder.build(**about).to_bytes())
    done = Done(seen, failed)
    _write(work / f"{number:06}.done", json.dumps(asdict(done)).encode())
    return done


def _scored(
    waiting: Iterator[tuple[int, Part]], work: Path, settings: Settings, engine: Engine, workers: int | None
) -> Iterator[Done]:
    if engine == "ray":
        from runners.score_ray import score_parts

        yield from score_parts(waiting, work, settings, workers)
        return
    streams = os.cpu_count() or 1
    one_blas_thread()
    pipeline = load_pipeline(settings, streams)
    for number, part in waiting:
        yield score_part(part, number, work, pipeline, settings, streams)


def _decoded(part: Part, settings: Settings) -> Iterator[_Batch]:
    batch = _Batch()
    try:
        for name, data in photos(part):
            try:
                if isinstance(data, str):
                    raise OSError(data)
                photo = read_photo(data, max_bytes=settings.max_upload_bytes, max_pixels=settings.max_pixels)
            except (ApiError, OSError) as error:
                batch.errors.append((name, str(error)))
            else:
                batch.names.append(name)
                batch.pixels.append(photo.pixels)
                batch.sizes.append((photo.width, photo.height))
            if len(batch) == BATCH:
                yield batch
                batch = _Batch()
    except ScoreError as error:  # the rest of a damaged shard
        batch.errors.append((part.paths[0], str(error)))
    if len(batch):
        yield batch


def _ahead(batches: Iterator[_Batch], thread: ThreadPoolExecutor) -> Iterator[_Batch]:
    """``batches``, with the next one made in ``thread`` while one is looked at."""
    coming = thread.submit(next, batches, None)
    while batch := coming.result():
        coming = thread.submit(next, batches, None)
        yield batch


def _columns(names: list[str], labels: NDArray[Any], scores: Scores, classes: tuple[str, ...]) -> Any:
    import pyarrow as pa

    flat = pa.array(scores.probabilities.astype(np.float32).ravel())
    return pa.table(
        {
            "path": names,
            "label": pa.array(labels.tolist(), pa.string()),
            "best_guess": [classes[i] for i in scores.best],
            "probability": scores.confidence,
            "ood_score": scores.ood_score,
            "ood_p_value": scores.ood_p_value,
            "probabilities": pa.FixedSizeListArray.from_arrays(flat, len(classes)),
        }
    )


def _survey(url: str) -> tuple[int, str]:
    """How many parts there are, and a digest of what is in them."""
    count, names = 0, hashlib.sha256(url.encode())
    for part in parts(url):
        count += 1
        names.update("\0".join((part.kind, *part.paths, "")).encode())
    return count, names.hexdigest()


def _claim(work: Path, job: dict[str, Any]) -> None:
    """Make ``work`` the folder of ``job``, or go on in it."""
    mark = work / "job.json"
    if mark.is_file() and json.loads(mark.read_text()) != job:
        raise ScoreError(
            f"{work} is of other photos, another model or another level; delete it or choose another folder"
        )
    work.mkdir(parents=True, exist_ok=True)
    _write(mark, json.dumps(job).encode())


def _finished(work: Path, number: int) -> Done | None:
    mark = work / f"{number:06}.done"
    return Done(**json.loads(mark.read_text())) if mark.is_file() else None


def _finish(out: Path, work: Path, count: int) -> None:
    """Put the parts together, one at a time."""
    from monitoring.profiles import from_bytes, merge

    merged = None
    predictions = work / "predictions"
    predictions.mkdir(exist_ok=True)
    with (work / "all.jsonl").open("wb") as errors:
        for number in range(count):
            errors.write((work / f"{number:06}.jsonl").read_bytes())
            if (profile := work / f"{number:06}.profile").is_file():
                part = from_bytes(profile.read_bytes())
                merged = merge([merged, part]) if merged else part
            if (file := work / f"{number:06}.parquet").is_file():
                os.replace(file, predictions / file.name)
    os.replace(work / "all.jsonl", out / ERRORS)
    if merged:
        _write(out / PROFILE, merged.to_bytes())
        os.replace(predictions, out / PREDICTIONS)
    shutil.rmtree(work)


def _write(path: Path, data: bytes) -> None:
    draft = path.with_name(f"{path.name}.draft")
    draft.write_bytes(data)
    os.replace(draft, path)
