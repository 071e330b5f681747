"""Multipart forms: photos, and perhaps one text field beside them."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from runners.prediction import ApiError

MAX_TEXT = 16_384
"""Longest text field, bytes."""


class _InMemory(MultiPartParser):
    """Files stay in memory, which the guard bounds: a full disk refuses no photo, and no photo is left on it."""

    spool_max_size = 2**31

    def close(self) -> None:
        """Give the memory back, also that of a file that never ended and is in no form."""
        for file in self._files_to_close_on_error:
            file.close()


async def read_files(request: Request, field: str, most: int) -> list[bytes]:
    """The files of ``field``, at most ``most``; raises `ApiError` 422 for no file, too many, or another field."""
    files, _ = await _read(request, field, most, None)
    return files


async def read_form(request: Request, field: str, most: int, text: str) -> tuple[list[bytes], str]:
    """As `read_files`, and the value of the text field ``text``, which must be there once."""
    files, texts = await _read(request, field, most, text)
    return files, texts[0]


def form_schema(field: str, *, many: bool, text: str | None = None) -> dict[str, Any]:
    """What OpenAPI says of a body with the files ``field`` and the text field ``text``."""
    file: dict[str, Any] = {"type": "string", "format": "binary"}
    properties = {field: {"type": "array", "items": file} if many else file}
    if text:
        properties[text] = {"type": "string"}
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


async def _read(request: Request, field: str, most: int, text: str | None) -> tuple[list[bytes], list[str]]:
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise ApiError(422, "bad_fields", f"Send multipart/form-data with the file field {field!r}.")
    parser = _InMemory(request.headers, request.stream(), max_files=most, max_fields=4, max_part_size=MAX_TEXT)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise ApiError(422, "bad_fields", f"The form cannot be read: {error.message}") from error
    except (ApiError, ClientDisconnect):  # the guard's word, or nobody is there to answer
        raise
    except Exception as error:  # the parser may raise anything on hostile bytes
        raise ApiError(422, "bad_fields", "The form cannot be read.") from error
    try:
        files = [await value.read() for value in form.getlist(field) if isinstance(value, UploadFile)]
        texts = [value for value in form.getlist(text) if isinstance(value, str)] if text else []
        others = len(form.multi_items()) - len(files) - len(texts)
    finally:
        parser.close()
    if not files or len(texts) != bool(text) or others:
        wanted = f"Send one file field {field!r}" + (f", one text field {text!r}" if text else "")
        raise ApiError(422, "bad_fields", f"{wanted} and nothing else.")
    return files, texts
