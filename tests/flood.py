"""A crowd of callers over plain sockets: costs the machine little, so that the server is what is tested."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """To request number ``request``: status (0: the connection was cut), headers, JSON body, seconds it took."""

    request: int
    status: int
    headers: dict[str, str]
    body: Any
    seconds: float


def form(photo: bytes) -> bytes:
    """A whole ``POST /classify`` with ``photo``."""
    body = b'--b\r\nContent-Disposition: form-data; name="image"; filename="p"\r\n\r\n' + photo + b"\r\n--b--\r\n"
    head = "POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def flood(port: int, requests: Iterable[bytes], callers: int) -> list[Answer]:
    """Send all ``requests``, each of the ``callers`` one after the other; the answers as they came."""
    numbered, answers = iter(enumerate(requests)), []
    loop = asyncio.get_running_loop()

    async def caller() -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        for number, request in numbered:
            start = loop.time()
            try:
                connection = connection or await asyncio.open_connection("127.0.0.1", port)
                connection[1].write(request)
                status, headers, body = await _read(connection[0])
            except (OSError, asyncio.IncompleteReadError):
                status, headers, body = 0, {}, None
            answers.append(Answer(number, status, headers, body, loop.time() - start))
            if connection and (not status or headers.get("connection") == "close"):
                connection[1].close()
                connection = None
        if connection:
            connection[1].close()

    await asyncio.gather(*(caller() for _ in range(callers)))
    return answers


async def _read(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], Any]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}
    body = await reader.readexactly(int(headers["content-length"]))
    return int(first.split(" ")[1]), headers, json.loads(body)
