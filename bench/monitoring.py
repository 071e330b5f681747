"""`python -m bench.monitoring`: what profiling costs a row, and the drift check over a million rows.

1,000 windows of 1,000 rows lie in an MLflow store of their own, as the recorder leaves them. The check lists, reads and
merges them and judges, in a process of its own so that its memory is its own too.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from monitoring import drift, profiles, tracking
from monitoring.__main__ import collect_garbage_rarely
from monitoring.recorder import Recorder
from monitoring.rows import Table, rows
from monitoring.since import Timeline
from runners.blas import one_blas_thread
from runners.pipeline import Scores
from settings import Settings, configure_environment

WINDOWS, ROWS, DIFFERENT = 1_000, 1_000, 20
CNN, FOREST = "cifar_cnn:bench", "ood_forest:bench"
CLASSES, DIMENSIONS = 27, 192
WANTED_SECONDS, WANTED_MB, WANTED_MS, WANTED_KB = 10.0, 500.0, 0.1, 10_000.0
Batch = tuple[np.ndarray, np.ndarray, Scores]


def main() -> int:
    if sys.argv[1:2] == ["--check"]:
        return _check(Path(sys.argv[2]))
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(var=Path(folder), mlflow_uri=None, monitoring=True)
        configure_environment(settings)
        one_blas_thread()  # as in the server
        cost = _row_cost(settings)
        sizes = _store(settings)
        done = subprocess.run(
            [sys.executable, "-m", "bench.monitoring", "--check", folder], check=True, capture_output=True, text=True
        )
    found = json.loads(done.stdout)
    print(f"profiling: {cost:.3f} ms of CPU a row, in batches of 8 from one thread")
    print(
        f"{WINDOWS} windows of {ROWS} rows: {np.mean(sizes) / 1e3:.0f} kB each; merged {found['merged'] / 1e3:.0f} kB"
    )
    took = f"{found['seconds']:.1f} s (importing {found['imports']:.1f} s more)"
    print(f"check: {took}, {found['cpu']:.1f} s of CPU in all, {found['mb']:.0f} MB at most\n")
    for name, value, unit, wanted in (
        ("profile_cpu_per_row", cost, "ms", WANTED_MS),
        ("check_million_rows_seconds", found["seconds"] + found["imports"], "s", WANTED_SECONDS),
        ("check_million_rows_memory", found["mb"], "MB", WANTED_MB),
        ("profile_size_million_rows", found["merged"] / 1e3, "kB", WANTED_KB),
    ):
        met = "met" if value <= wanted else "missed"
        print(f"target {name}: measured {value:.3g} {unit}, wanted <= {wanted:g} {unit}, {met}")
    return 0


def made_up(n: int, seed: int) -> Batch:
    """Photos and scores of the served model's size."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    normal = rng.normal(size=(n, DIMENSIONS + 2)).astype(np.float32)
    p = 1 - rng.random(n, dtype=np.float32)
    probabilities = rng.dirichlet(np.full(CLASSES, 0.2), n).astype(np.float32)
    return pixels, np.full((n, 2), 32), Scores(probabilities, normal[:, 2:], normal[:, 0], normal[:, 1], p)


def _table(seed: int) -> Table:
    return rows(*made_up(ROWS, seed), [f"class {i}" for i in range(CLASSES)], 0.05)


def _row_cost(settings: Settings) -> float:
    """CPU milliseconds of the whole process for a row that is recorded at load, imports and MLflow not counted."""
    recorder = Recorder(settings, CNN, FOREST, [f"class {i}" for i in range(CLASSES)])
    recorder._imported.set()  # what the sender does at its start; the imports fall into the first, slowest turn
    recorder._writer.start()  # the writer alone: what the sender costs depends on the store, once a window
    pixels, sizes, scores = made_up(8_000, 0)
    parts = [(pixels[i : i + 8], sizes[i : i + 8], scores[i : i + 8]) for i in range(0, len(pixels), 8)]
    spent = []
    for _ in range(3):
        expected, start = recorder.rows_recorded + len(pixels), time.process_time()
        for part in parts:
            recorder.record(*part)
        while recorder.rows_recorded < expected:
            time.sleep(0.01)
        spent.append((time.process_time() - start) / len(pixels) * 1e3)
    recorder.close(60)
    for file in (settings.var / "spool").iterdir():
        file.unlink()
    return min(spent)


def _store(settings: Settings) -> list[int]:
    """Bytes of each window that was stored."""
    tracking.ensure_store(settings)
    run_id = tracking.model_run(settings, CNN, FOREST, "bench")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    made = [profiles.profile(_table(seed), start=start.isoformat(), end=start.isoformat()) for seed in range(DIFFERENT)]
    folder = settings.mlflow_artifacts / tracking.MONITORING / run_id / "artifacts"
    sizes = []
    for number in range(WINDOWS):
        end, data = start + timedelta(minutes=5 * number), made[number % DIFFERENT].to_bytes()
        path = folder / "windows" / f"{end:%Y-%m-%d}" / tracking.window_name(end, "bench")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)  # where MLflow would have put it; its own call takes 0.1 s
        sizes.append(len(data))
    return sizes


def _check(var: Path) -> int:
    collect_garbage_rarely()  # as `python -m monitoring`
    start = time.perf_counter()
    settings = Settings(var=var, mlflow_uri=None)
    configure_environment(settings)
    reference = profiles.profile(_table(99))
    tracking.windows(settings, CNN, last=1)
    middle = time.perf_counter()
    chosen = tracking.windows(settings, CNN)
    timeline = Timeline(reference)
    read = (profiles.from_bytes(data) for data in tracking.read_windows(settings, chosen))
    window = profiles.merge(timeline.watch(read))
    result = drift.check(reference, window)
    timeline.since(column.name for column in result.columns)
    end = time.perf_counter()
    if len(chosen) != WINDOWS or result.window_rows != WINDOWS * ROWS:
        raise SystemExit(f"{len(chosen)} windows with {result.window_rows} rows were found")
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    merged = len(window.to_bytes())
    times = {"imports": middle - start, "seconds": end - middle, "cpu": time.process_time()}
    print(json.dumps({**times, "mb": megabytes, "merged": merged}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
