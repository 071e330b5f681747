"""How often one client may call: a token bucket per address."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable

BURST_SECONDS = 10.0
"""A client that was silent may send this many seconds' worth of requests at once."""
MAX_CLIENTS = 10_000
"""Addresses remembered; the one that was silent longest is forgotten first. About 3 MB."""


class RateLimiter:
    """At most ``per_second`` requests of each client on average; 0 is no limit. For one event loop."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = per_second, clock
        self._burst = max(1.0, per_second * BURST_SECONDS)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client -> requests left, at what time

    def wait(self, address: str | None) -> int | None:
        """Count a request of ``address``: None when it may pass, else the whole seconds after which the next may."""
        if not self._rate:
            return None
        client, now = _client(address), self._clock()
        left, since = self._buckets.pop(client, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._rate)
        passes = left >= 1.0
        self._buckets[client] = (left - passes, now)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return None if passes else math.ceil((1.0 - left) / self._rate)


def _client(address: str | None) -> str:
    """Who counts as one: an IPv4 address; the /64 network of an IPv6 address, since a single host has all of it."""
    if address is None or ":" not in address:
        return address or ""
    try:
        network = ipaddress.ip_network((address.partition("%")[0], 64), strict=False)
    except ValueError:
        return address
    return str(network)
