"""What a runner of its own has loaded, by tag: the pair that is served, and the one before or after it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

KEPT = 2
"""While the champion changes, some callers ask for the old pair and some for the new one."""

T = TypeVar("T")


class Versions(Generic[T]):
    """Loads what a caller names, and keeps the `KEPT` that were asked for last. Safe to call from threads."""

    def __init__(self, load: Callable[[str], T]) -> None:
        self._load, self._loaded = load, OrderedDict[str, T]()
        self._lock, self._loading = threading.Lock(), threading.Lock()

    def get(self, tag: str) -> T:
        """What ``tag`` names, loaded unless it is there; raises whatever loading it raises.

        While one is being loaded, those that are there are given at once.
        """
        found = self._find(tag)
        if found is None:
            with self._loading:
                found = self._find(tag)
                if found is None:
                    found = self._load(tag)
                    self._keep(tag, found)
        return found

    def _find(self, tag: str) -> T | None:
        with self._lock:
            if tag in self._loaded:
                self._loaded.move_to_end(tag)
            return self._loaded.get(tag)

    def _keep(self, tag: str, value: T) -> None:
        with self._lock:
            self._loaded[tag] = value
            while len(self._loaded) > KEPT:
                self._loaded.popitem(last=False)
