"""How the page's events are bound, who may cause them, and how any of them ends in a sentence when it fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ui.answer import error_html
from ui.api import ApiProblem, OwnerApi
from ui.texts import Texts

if TYPE_CHECKING:
    import gradio as gr

# Plain requests instead of Gradio's queue: the service has a queue of its own and says when it is full, and
# Gradio's stream of queue events now and then loses one, which leaves the person waiting.
LISTEN: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}

Updates = dict["gr.components.Component | gr.Tab", Any]


async def or_error(work: Awaitable[Updates], place: gr.HTML, texts: Texts) -> Updates:
    """What ``work`` gives, or in ``place`` why it failed: whatever it is, the person hears of it."""
    try:
        return await work
    except Exception as error:
        return {place: error_html(error, texts)}


def is_owners(request: gr.Request, owner: OwnerApi) -> bool:
    """Whether ``request`` comes from the owner: asked at every event, since anybody can send one."""
    return owner.is_owner(request.headers.get("authorization") or "")


async def for_owner(
    work: Callable[[], Awaitable[Updates]], request: gr.Request, owner: OwnerApi, place: gr.HTML, texts: Texts
) -> Updates:
    """`or_error` of ``work``, which is not begun for anybody but the owner."""

    async def checked() -> Updates:
        if not is_owners(request, owner):
            raise ApiProblem("owner_only", texts.owner_only, 403)
        return await work()

    return await or_error(checked(), place, texts)
