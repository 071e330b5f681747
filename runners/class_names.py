"""What a class may be called."""

from __future__ import annotations

import re

UNKNOWN = "unknown"
"""What the service answers when the gate refuses: no class may be called so."""
SOMETHING_ELSE = "something else"
"""What a correction says that only knows that it is none of the classes: no class may be called so."""

_NAME = re.compile(r"[^\W_](?:[\w -]{0,62}[\w-])?")


def name_fault(name: str) -> str | None:
    """What keeps ``name`` from being a class's name, None where nothing does."""
    if name.casefold() == UNKNOWN:
        return f"{name} is what the service answers for photos of no class; choose another name"
    if name.casefold() == SOMETHING_ELSE:
        return f"{name} is what people say of photos of no class; choose another name"
    if not _NAME.fullmatch(name):
        return f"{name[:80]!r} is no class name: up to 64 letters, digits, _ and -, a letter or digit first"
    return None
