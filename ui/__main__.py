"""``python -m ui --url URL``: the page alone, on this machine, against a service that may be elsewhere."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from version import version

if TYPE_CHECKING:
    from fastapi import FastAPI


def parser() -> argparse.ArgumentParser:
    """The command line; the token may come from the environment, where a process list does not show it."""
    command = argparse.ArgumentParser(prog="python -m ui", description=__doc__)
    command.add_argument("--version", action="version", version=version())
    command.add_argument("--url", required=True, help="address of the service, such as http://127.0.0.1:3000")
    command.add_argument("--port", type=_port, default=7860, help="port of the page (default: %(default)s)")
    command.add_argument("--host", default="127.0.0.1", help="address the page listens on (default: %(default)s)")
    command.add_argument(
        "--token",
        default=os.environ.get("CIFAR_TOKEN"),
        help="the service's bearer token (default: the environment's CIFAR_TOKEN)",
    )
    return command


def application(url: str, token: str | None = None) -> FastAPI:
    """The page at ``/ui/``, with ``/`` leading there.

    Raises:
        ValueError: ``url`` is no http or https address.
    """
    from fastapi import FastAPI
    from fastapi.responses import RedirectResponse

    from ui.client import HttpApi
    from ui.page import mount

    api = HttpApi(url, token)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with api:
            yield

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/")
    def front_door() -> RedirectResponse:
        return RedirectResponse("/ui/")

    return mount(app, api)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; 1 and one sentence when it cannot start."""
    options = parser().parse_args(arguments)
    for name in ("GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ.setdefault(name, "False" if name.startswith("GRADIO") else "1")

    import uvicorn

    try:
        app = application(options.url, options.token)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"The page is at http://{options.host}:{options.port}/ui/ and asks {options.url}.")
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning")
    return 0


def _port(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (1 to 65535)")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
