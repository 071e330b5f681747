"""One write for all who wait: a transaction costs the disk as much for one row as for fifty."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from runners.prediction import ApiError

Item = TypeVar("Item")
Result = TypeVar("Result")


class GroupCommit(Generic[Item, Result]):
    """Calls ``write`` with what several threads want written; it returns one result per item, in order.

    The thread whose turn it is writes for all that wait by then, at most ``most`` at a time. A store that cannot be
    used (`ApiError`) fails for all of them; any other failure may be the fault of one item, so each is tried alone.
    """

    def __init__(self, write: Callable[[list[Item]], list[Result]], most: int = 100) -> None:
        self._write, self._most = write, most
        self._waiting: deque[tuple[Item, Future[Result]]] = deque()
        self._turn = threading.Lock()

    def __call__(self, item: Item) -> Result:
        """The result of ``item``, when it has been written; raises what ``write`` raises."""
        mine: Future[Result] = Future()
        self._waiting.append((item, mine))
        with self._turn:
            while not mine.done():
                self._settle([self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))])
        return mine.result()

    def _settle(self, batch: list[tuple[Item, Future[Result]]]) -> None:
        try:
            results = self._write([item for item, _ in batch])
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, ApiError):
                for one in batch:
                    self._settle([one])
                return
            for _, future in batch:
                future.set_exception(error)
        except BaseException as error:  # this thread is told to stop: the others have to know that nothing was written
            for _, future in batch:
                future.set_exception(error)
            raise
        else:
            for (_, future), result in zip(batch, results, strict=True):
                future.set_result(result)
