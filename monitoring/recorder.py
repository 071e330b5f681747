"""Takes every scored photo off the request path and turns the stream into windows that reach MLflow, none lost.

A caller only appends to a queue. One thread, the writer, owns the open window: it appends the rows to a journal within
`GATHER_S` seconds, so that a killed process loses no older ones, adds them to the whylogs profile and closes that into
a file of the spool folder (see `monitoring.spool`), which takes milliseconds and needs no network. A second thread, the
sender, moves these files into MLflow in order and deletes each when it has arrived. So a slow or dead MLflow never
holds up the queue, and a window survives both that and a restart: the next start sends what it finds. Sending twice
stores once (see `tracking.log_window`), so replicas that share a spool folder send without a lock. A window of which
nothing could be put on disk goes to the sender in memory.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring import spool, tracking
from monitoring.profiles import Profile, ProfileBuilder, from_bytes
from monitoring.rows import Table, rows
from runners.pipeline import Scores
from settings import Settings

log = logging.getLogger(__name__)

Batch = tuple[NDArray[np.uint8], NDArray[np.integer[Any]], Scores]

QUEUE_ROWS = 20_000
"""About 80 MB of photos and embeddings. The writer takes 7,000 rows/s, so only its imports (seconds) need room."""
PATIENCE_S = 1.0
"""How long `Recorder.record` waits for room in a full queue before it drops rows and counts them. Once: as long as the
writer takes nothing more, as on a disk that hangs, its callers would stand still for nothing."""
GATHER_ROWS, GATHER_S = 500, 1.0
"""The writer waits for that many rows, at most that long: whylogs takes 13 ms for a row alone, 0.04 in hundreds."""
_SLOWEST_RETRY_S = 300.0
MOST_IN_MEMORY = 100
"""Windows that wait for MLflow in memory, where there is no disk: 0.1 MB each."""


@dataclass
class _OpenWindow:
    """``rows`` of one window: ``tables`` await the profile in ``builder``; all are in ``journal`` (None: no disk)."""

    about: dict[str, str]
    journal: spool.Journal | None
    builder: ProfileBuilder | None = None
    tables: list[Table] = field(default_factory=list)
    rows: int = 0
    opened_at: float = field(default_factory=time.monotonic)


class Recorder:
    """Profiles live traffic. `record` may be called from any thread; `start` once; `close` on the way out.

    ``rows_recorded`` rows were profiled, ``rows_dropped`` lost (normally 0), ``windows_flushed`` windows are safe on
    disk, ``windows_sent`` went to MLflow; ``last_error`` is the latest failure as a sentence, None when all is well.
    """

    def __init__(
        self,
        settings: Settings,
        cnn_tag: str,
        forest_tag: str,
        labels: Sequence[str],
        *,
        queue_rows: int = QUEUE_ROWS,
        patience_s: float = PATIENCE_S,
        retry_s: float = 15.0,
    ) -> None:
        self._settings, self._cnn_tag, self._forest_tag, self._labels = settings, cnn_tag, forest_tag, tuple(labels)
        self._queue_rows, self._patience_s, self._retry_s = queue_rows, patience_s, retry_s
        self._patience = patience_s
        self._replica = f"{socket.gethostname()}-{os.getpid()}"
        self._spool = settings.var / "spool"
        self._queue: deque[Batch] = deque()
        self._queued, self._wanted = 0, 1
        self._changed = threading.Condition()
        self._closing = False
        self._work = threading.Event()
        self._stop_sending = False
        self._run_ids: dict[str, str] = {}
        self._writer = threading.Thread(target=self._write, name="profile-writer", daemon=True)
        self._sender = threading.Thread(target=self._send, name="profile-sender", daemon=True)
        self._window: _OpenWindow | None = None
        self._in_memory: deque[Profile] = deque()
        self._imported = threading.Event()
        self._retry_flush_at: float | None = None
        self.rows_recorded = self.rows_dropped = self.windows_flushed = self.windows_sent = 0
        self.last_error: str | None = None

    def start(self) -> None:
        """Start both threads. The sender imports whylogs and MLflow and makes its store, which takes seconds: rows are
        kept meanwhile."""
        self._writer.start()
        self._sender.start()

    def record(self, pixels: NDArray[np.uint8], sizes: NDArray[np.integer[Any]], scores: Scores) -> None:
        """Queue n scored photos; arguments as for `monitoring.rows.rows`. Returns at once unless the queue is full."""
        n = len(pixels)
        with self._changed:
            room = self._changed.wait_for(
                lambda: self._closing or self._queued == 0 or self._queued + n <= self._queue_rows, self._patience
            )
            if self._closing or not room:
                self._patience = 0.0
                self.rows_dropped += n
                self.last_error = f"{self.rows_dropped} rows dropped: the queue is {'closed' if room else 'full'}."
                return
            self._queue.append((pixels, sizes, scores))
            self._queued += n
            if self._queued >= self._wanted:  # waking the writer for every photo costs more than the photo's row
                self._changed.notify_all()

    def close(self, timeout: float = 10.0) -> None:
        """Profile what is queued, put the open window on disk, and send as much as ``timeout`` seconds allow."""
        deadline = time.monotonic() + timeout
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._writer.ident is not None:
            self._writer.join(max(0.0, deadline - time.monotonic()))
        self._stop_sending = True
        self._work.set()
        if self._sender.ident is not None:
            self._sender.join(max(0.0, deadline - time.monotonic()))

    @property
    def ended(self) -> bool:
        """Whether it was closed and its threads have ended: no count changes any more."""
        return self._closing and not (self._writer.is_alive() or self._sender.is_alive())

    # The writer thread

    def _write(self) -> None:
        while True:
            batches, closing = self._next_batches()
            if batches:
                self._keep(batches)
            if self._window is not None and (closing or self._imported.is_set()):
                self._profile(self._window)
            try:
                self._flush_if_due(closing)
            except Exception as error:  # the window stays open and is tried again: a thread that dies loses all
                self._retry_flush_at = time.monotonic() + self._retry_s
                self._failed("The window could not be put on disk", error)
            if closing and not batches:
                if self._window is not None and self._window.journal is None:
                    with self._changed:
                        self.rows_dropped += self._window.rows
                return

    def _next_batches(self) -> tuple[list[Batch], bool]:
        """Wait for rows, for the end of the window or for `close`; take as many rows as the window still holds."""
        with self._changed:
            self._wanted = 1
            self._changed.wait_for(lambda: self._queue or self._closing, timeout=self._seconds_left())
            batches: list[Batch] = []
            room = self._settings.window_rows - (self._window.rows if self._window else 0)
            enough = min(GATHER_ROWS, room, self._queue_rows)
            if self._queue:
                left = self._seconds_left()
                patience = GATHER_S if left is None else min(GATHER_S, left)
                self._wanted = enough
                self._changed.wait_for(lambda: self._queued >= enough or self._closing, timeout=patience)
            while self._queue and (room > 0 or not batches):
                batches.append(self._queue.popleft())
                room -= len(batches[-1][0])
            self._queued -= sum(len(pixels) for pixels, _, _ in batches)
            if batches:
                self._patience = self._patience_s
            self._changed.notify_all()
            return batches, self._closing

    def _keep(self, batches: list[Batch]) -> None:
        """Make rows of the photos and put them into the open window and its journal."""
        try:
            table = rows(*_joined(batches), self._labels, self._settings.refuse_share)
        except Exception as error:  # monitoring must never take the service down
            if len(batches) > 1:  # one batch is bad: the others need not suffer
                for batch in batches:
                    self._keep([batch])
            else:
                self._lost(len(batches[0][0]), error)
            return
        window = self._window = self._window or self._open()
        window.tables.append(table)
        window.rows += len(table["label"])
        try:
            if window.journal is not None:
                window.journal.append(table)
        except OSError as error:  # the rows are still in memory, and a later window may have room again
            self._failed("Rows could not be put on disk", error)

    def _open(self) -> _OpenWindow:
        about = {
            "cnn": self._cnn_tag,
            "forest": self._forest_tag,
            "replica": self._replica,
            "refuse_share": str(self._settings.refuse_share),
            "start": datetime.now(UTC).isoformat(),
        }
        try:
            return _OpenWindow(about, spool.Journal(self._spool, about))
        except OSError as error:  # as above
            self._failed("Rows could not be put on disk", error)
            return _OpenWindow(about, None)

    def _profile(self, window: _OpenWindow) -> None:
        try:
            window.builder = window.builder or ProfileBuilder()
            while window.tables:
                window.builder.track(window.tables[0])
                self.rows_recorded += len(window.tables.pop(0)["label"])
        except Exception as error:  # as above
            count = len(window.tables.pop(0)["label"]) if window.tables else 0
            window.rows -= count
            self._lost(count, error)

    def _lost(self, count: int, error: Exception) -> None:
        with self._changed:  # callers count their own drops under the same lock
            self.rows_dropped += count
        self._failed("Rows could not be profiled", error)

    def _seconds_left(self) -> float | None:
        if self._window is None:
            return None
        if self._window.tables:  # not profiled yet: look again soon
            return GATHER_S
        due = self._retry_flush_at or self._window.opened_at + self._settings.window_seconds
        return max(0.0, due - time.monotonic())

    def _flush_if_due(self, closing: bool) -> None:
        window = self._window
        if window is None or window.tables:
            return
        if window.builder is None:  # no profile could be made of any row
            self._window = None
            return
        full = window.rows >= self._settings.window_rows and self._retry_flush_at is None
        if not (closing or full or self._seconds_left() == 0.0):
            return
        profile = window.builder.build(**window.about, end=datetime.now(UTC).isoformat())
        try:
            spool.finish(spool.journal_path(self._spool, window.about), profile)
            self.windows_flushed += 1
        except OSError as error:
            if window.journal is not None or len(self._in_memory) >= MOST_IN_MEMORY:
                raise
            self._failed("The window could not be put on disk and waits in memory", error)
            self._in_memory.append(profile)
        if window.journal is not None:
            window.journal.close()
        self._window = self._retry_flush_at = None
        self._work.set()

    # The sender thread

    def _send(self) -> None:
        failing, prepared, wait = False, False, self._retry_s
        try:
            ProfileBuilder().track({})  # imports what the writer waits for
            spool.recover(self._spool)
        except Exception as error:  # the files stay for the next start
            self._failed("Rows of an earlier run could not be read", error)
        self._imported.set()
        while True:
            self._work.clear()  # before reading the flag, which `close` sets before the event
            last_round = self._stop_sending
            try:
                if not prepared:  # not with the first window: a server that is stopped soon has no seconds for it then
                    tracking.ensure_store(self._settings)
                    prepared = True
                self._send_spool()
                self._send_memory()
                if failing:
                    self.last_error = None
                failing, wait = False, self._retry_s
            except Exception as error:  # whatever MLflow, SQLAlchemy or the network raise: the files stay
                failing, wait = True, min(2 * wait, _SLOWEST_RETRY_S)
                self._run_ids.clear()  # somebody may have deleted a run
                place = "in memory" if self._in_memory else "on disk"
                self._failed(f"Windows wait {place}, MLflow did not take them", error)
            if last_round:
                with self._changed:
                    self.rows_dropped += sum(profile.rows for profile in self._in_memory)
                return
            self._work.wait(wait)

    def _send_spool(self) -> None:
        for file in sorted(self._spool.glob("*.bin")):
            try:
                profile = from_bytes(file.read_bytes())
            except FileNotFoundError:
                continue  # another replica was faster
            except ValueError as error:
                file.rename(file.with_suffix(".damaged"))
                self._failed(f"{file.name} is set aside", error)
                continue
            self._send_window(profile)
            file.unlink(missing_ok=True)
            self.windows_sent += 1

    def _send_memory(self) -> None:
        while self._in_memory:
            self._send_window(self._in_memory[0])
            self._in_memory.popleft()
            self.windows_sent += 1

    def _send_window(self, profile: Profile) -> None:
        about = profile.metadata
        run_id = self._run_ids.get(about["cnn"])
        if run_id is None:
            run_id = tracking.model_run(self._settings, about["cnn"], about["forest"], about["replica"])
            self._run_ids[about["cnn"]] = run_id
        end = datetime.fromisoformat(about["end"])
        tracking.log_window(self._settings, run_id, profile, end=end, replica=about["replica"])

    def _failed(self, what: str, error: Exception) -> None:
        reason = re.sub(r"\s+", " ", str(error))[:200] or type(error).__name__
        self.last_error = f"{what}: {reason}"
        log.warning("%s", self.last_error)


def _joined(batches: list[Batch]) -> Batch:
    pixels, sizes, scores = zip(*batches, strict=True)
    fields = (np.concatenate([getattr(part, name) for part in scores]) for name in Scores.__slots__)
    return np.concatenate(pixels), np.concatenate(sizes), Scores(*fields)
