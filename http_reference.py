"""`python -m http_reference`: write the reference in docs/api.md anew, from the OpenAPI schema of the service."""

from __future__ import annotations

import sys
from typing import Any, cast

from generated import filled
from http_api import EVERYWHERE, add_probes, add_routes, new_app
from http_health import Health
from settings import ROOT, Settings

PATH = ROOT / "docs" / "api.md"
PART = "openapi"
ERROR = "ErrorBody"


def schema() -> dict[str, Any]:
    """The OpenAPI schema of the service, without starting one."""
    app = new_app(Settings(page=False))
    add_routes(app, _nothing, Settings(page=False))
    add_probes(app, cast(Health, None))
    return app.openapi()


def reference(openapi: dict[str, Any]) -> str:
    """Markdown: a table of the calls, and one of all bodies and their fields; every field has its description."""
    calls = [
        _row(f"`{method.upper()} {path}`", call["description"].rstrip("."), _takes(call), _answers(call))
        for path, methods in openapi["paths"].items()
        for method, call in methods.items()
    ]
    everywhere = ", ".join(map(str, EVERYWHERE))
    parts = [
        "\n".join([_row("call", "what it does", "takes", "answers"), _row(*["---"] * 4), *calls]),
        f"Beside these any call may answer {everywhere}. Every error is an `{ERROR}`.",
    ]
    fields = [_row("body", "field", "type", "meaning"), _row(*["---"] * 4)]
    for name, body in openapi["components"]["schemas"].items():
        fields.append(_row(f"`{name}`", "", "", body["description"]))
        for field, kind in body["properties"].items():
            left_out = "" if field in body["required"] else ", may be left out"
            fields.append(_row("", f"`{field}`", _type(kind) + left_out, kind["description"]))
    parts.append("\n".join(fields))
    return "\n\n".join(parts)


def main() -> int:
    PATH.write_text(filled(PATH, PART, reference(schema())))
    return 0


def _nothing() -> Any:
    raise NotImplementedError("this application only describes itself")


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _takes(call: dict[str, Any]) -> str:
    found = [
        f"`{p['name']}` in the {p['in']} ({_type(p['schema'])}"
        + (f"; {p['description']})" if "description" in p else ")")
        for p in call.get("parameters", ())
    ]
    for media, body in call.get("requestBody", {}).get("content", {}).items():
        kind = body["schema"]
        if media == "application/json":
            found.append(f"JSON {_type(kind)}")
        else:
            fields = ", ".join(f"`{name}` ({_type(field)})" for name, field in kind["properties"].items())
            found.append(f"{media}: {fields}")
    return "; ".join(found) or "–"


def _answers(call: dict[str, Any]) -> str:
    answers = []
    for status, response in call["responses"].items():
        [(media, body)] = response["content"].items()
        kind = _type(body.get("schema", {}))
        if kind == f"`{ERROR}`":
            answers += [status] if int(status) not in EVERYWHERE else []
        else:
            answers.append(f"{status} {kind if media == 'application/json' else media}")
    return ", ".join(answers)


def _type(kind: dict[str, Any]) -> str:
    """The type of a JSON schema in words."""
    if "$ref" in kind:
        return f"`{kind['$ref'].rpartition('/')[2]}`"
    if "anyOf" in kind:
        return " or ".join(_type(choice) for choice in kind["anyOf"])
    if kind.get("type") == "array":
        items = _type(kind["items"])
        return "files" if items == "file" else f"list of {items}"
    if kind.get("type") == "object":
        return f"object of {_type(kind['additionalProperties'])}"
    if kind.get("format") == "binary":
        return "file"
    if "maxLength" in kind:
        return f"string, at most {kind['maxLength']} characters"
    if "minimum" in kind:
        return f"{kind['type']}, {kind['minimum']:g} " + (f"to {kind['maximum']:g}" if "maximum" in kind else "or more")
    return str(kind.get("type", "anything"))


if __name__ == "__main__":
    sys.exit(main())
