"""Where the service may listen, what takes its requests, and how it leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys

import click
import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from http_lifecycle import Door, EndsStreams, Entrance, chosen_address, listening_addresses, refuse_open_door
from runners.leaving import when_told_to_leave
from settings import ROOT, BadSettingError, Settings


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.7", "::", "2001:db8::1", "fe80::1%eth0"])
def test_an_address_of_others_needs_a_token_or_a_clear_word(address: str) -> None:
    with pytest.raises(BadSettingError, match="CIFAR_API_TOKENS"):
        refuse_open_door(Settings(), ["127.0.0.1", address])
    with pytest.raises(BadSettingError):
        refuse_open_door(Settings(owner_token="owner"), [address])
    refuse_open_door(Settings(api_tokens=("secret",)), [address])
    refuse_open_door(Settings(allow_anonymous=True), [address])


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1"])
def test_this_machine_needs_none(address: str) -> None:
    refuse_open_door(Settings(), [address])


@pytest.mark.parametrize(("arguments", "expected"), [(["--host", "0.0.0.0"], "0.0.0.0"), ([], None)])
def test_the_address_of_the_command_is_found(arguments: list[str], expected: str | None) -> None:
    found: list[str | None] = []
    command = click.Command(
        "serve", params=[click.Option(["--host"])], callback=lambda host: found.append(chosen_address())
    )
    command.main(arguments, standalone_mode=False)
    assert found == [expected]


def test_a_name_is_no_address() -> None:
    command = click.Command("serve", params=[click.Option(["--host"])], callback=lambda host: chosen_address())
    with pytest.raises(BadSettingError, match="no IP address"):
        command.main(["--host", "example.org"], standalone_mode=False)


def test_the_sockets_of_this_process_are_found() -> None:
    with socket.socket() as listening, socket.socket() as silent:
        listening.bind(("0.0.0.0", 0))
        silent.bind(("127.0.0.1", 0))
        listening.listen()
        assert "0.0.0.0" in listening_addresses()
    assert "0.0.0.0" not in listening_addresses()


def test_requests_go_past_bentoml_and_the_lifespan_does_not() -> None:
    """Past its middleware too, which is around the entrance until the lifespan has begun."""

    async def main() -> None:
        seen = []

        def app(name: str, within: ASGIApp | None = None) -> ASGIApp:
            async def call(scope: Scope, receive: Receive, send: Send) -> None:
                seen.append((name, scope["type"]))
                if within:
                    await within(scope, receive, send)

            return call

        server = Starlette()
        entrance = Entrance(app("bentoml"), app("ours"))
        server.middleware_stack = app("middleware", entrance)
        for kind in ("lifespan", "lifespan", "http", "websocket"):
            await server({"type": kind}, None, None)  # type: ignore[arg-type]
        begun = [("middleware", "lifespan"), ("bentoml", "lifespan")]
        assert seen == [*begun, *begun, ("ours", "http"), ("ours", "websocket")]

    asyncio.run(main())


def test_the_door_leads_to_the_application_once_there_is_one() -> None:
    async def main() -> None:
        seen, door = [], Door()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(scope["type"])

        with pytest.raises(RuntimeError, match="before it is made"):
            await door({"type": "http"}, None, None)  # type: ignore[arg-type]
        door.app = app
        await door({"type": "http"}, None, None)  # type: ignore[arg-type]
        assert seen == ["http"]

    asyncio.run(main())


def test_what_every_process_imports_is_little() -> None:
    """The server's parent imports the service too, before the worker may: seconds of its start, and memory."""
    code = "import service, sys; print(*sorted({'fastapi', 'sqlalchemy', 'numpy', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_heartbeats_end_when_the_server_leaves_and_answers_do_not() -> None:
    async def main() -> None:
        leaving = asyncio.Event()

        async def waits(scope: Scope, receive: Receive, send: Send) -> None:
            assert (await receive())["type"] == "http.disconnect"

        async def receive() -> Message:
            await asyncio.sleep(3600)
            raise AssertionError

        def call(path: str) -> asyncio.Task[None]:
            stack = EndsStreams(waits, leaving)
            return asyncio.ensure_future(stack({"type": "http", "path": path}, receive, None))  # type: ignore[arg-type]

        beats, answers = call("/ui/gradio_api/heartbeat/abc"), call("/classify")
        await asyncio.sleep(0.05)
        assert not beats.done()
        leaving.set()
        await asyncio.wait_for(beats, 10)
        assert not answers.done()
        answers.cancel()

    asyncio.run(main())


@pytest.mark.parametrize("delay", [0.0, 0.3])
def test_the_server_is_told_after_us(delay: float) -> None:
    order: list[str] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    async def main() -> None:
        loop = asyncio.get_running_loop()
        signal.signal(signal.SIGTERM, lambda *_: order.append(f"server {loop.time() - told >= delay}"))
        when_told_to_leave(lambda: order.append("we"), delay)
        told = loop.time()
        os.kill(os.getpid(), signal.SIGTERM)
        while len(order) < 2:
            await asyncio.sleep(0.01)

    try:
        asyncio.run(main())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert sorted(order) == ["server True", "we"]
