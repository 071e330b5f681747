"""Whether the service works: `/livez`, `/readyz`, and the watch over the feedback store, which mends what it can."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from monitoring.feedback import FeedbackStore
from monitoring.image_store import MIN_FREE_BYTES
from runners.prediction import ApiError

log = logging.getLogger("cifar")

PERIOD_SECONDS = 5.0


async def _always() -> bool:
    return True


class Health:
    """Looks after the feedback store every ``period`` seconds, on a thread of its own between `start` and `close`.

    ``feedback_ok`` is what it found last. ``network_ready`` asks the runners. A store that came back without its
    schema, as an empty database does, gets it.
    """

    def __init__(
        self,
        store: FeedbackStore,
        network_ready: Callable[[], Awaitable[bool]] = _always,
        period: float = PERIOD_SECONDS,
    ) -> None:
        self.feedback_ok = True
        self._store, self._network_ready, self._period = store, network_ready, period
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="health", daemon=True)

    def start(self) -> None:
        """Create or upgrade the store's schema and begin to watch. A store that cannot be used is only logged."""
        self._mend()
        self.look()
        self._thread.start()

    def close(self) -> None:
        self._closing.set()

    def look(self) -> None:
        """Look now."""
        ok = self._works()
        if ok != self.feedback_ok:
            log.warning("feedback can be stored again" if ok else "feedback cannot be stored")
        self.feedback_ok = ok

    async def report(self) -> tuple[int, dict[str, Any]]:
        """Status and body of ``/readyz``: 503 when no photo can be answered; what else is amiss is told in the body."""
        ready = await self._network_ready()
        body = {
            "ready": ready,
            "network": "ok" if ready else "unavailable",
            "feedback": "ok" if self.feedback_ok else "unavailable",
        }
        return (200 if ready else 503), body

    def _watch(self) -> None:
        while not self._closing.wait(self._period):
            if not self.feedback_ok:
                self._mend()
            self.look()

    def _works(self) -> bool:
        try:
            url = self._store.database.engine.url
            if url.get_backend_name() == "sqlite":
                folder = Path(str(url.database)).parent
                if not folder.is_dir() or shutil.disk_usage(folder).free < MIN_FREE_BYTES:
                    return False
            return self._store.healthy()
        except Exception:  # whatever a driver or a disk may raise: the watch goes on
            return False

    def _mend(self) -> None:
        try:
            self._store.prepare()
        except (ApiError, OSError) as error:
            log.warning("feedback store: %s", error)
        except Exception as error:  # as above; told with its type, since it may be a fault of ours
            log.warning("feedback store: %s: %s", type(error).__name__, error)
