"""What is to be scored: photos in folders, tar shards or parquet files, here or behind any fsspec address."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic")
TARS = (".tar", ".tar.gz", ".tgz")
PHOTOS_IN_A_PART = 4096
LARGEST_PHOTO = 100_000_000
"""Bytes; more is never read of one photo. A longer one comes cut, and above every limit on size."""
_ROWS = 256


class ScoreError(Exception):
    """What cannot be scored; the message says where it looked and what to do."""


@dataclass(frozen=True, slots=True)
class Part:
    """What is scored in one go and, when it was interrupted, again: up to 4,096 photos, or one shard of any size.

    ``paths`` are names within the file system of ``url``, the place that was asked for.
    """

    kind: Literal["photos", "tar", "parquet"]
    url: str
    paths: tuple[str, ...]


def parts(url: str) -> Iterator[Part]:
    """The parts of ``url``: a photo, a shard, or a folder with any of them below it, in a fixed order. Nothing hidden.

    Raises:
        ScoreError: there is no such place, or nothing to score in it.
    """
    files, root = _open(url)
    found = False
    photos: list[str] = []
    try:
        for path in _walk(files, root):
            name = path.lower()
            if name.endswith(SUFFIXES):
                photos.append(path)
                if len(photos) == PHOTOS_IN_A_PART:
                    yield Part("photos", url, tuple(photos))
                    photos = []
            elif name.endswith((*TARS, ".parquet")):
                yield Part("parquet" if name.endswith(".parquet") else "tar", url, (path,))
            else:
                continue
            found = True
    except OSError as error:
        raise ScoreError(f"{url}: not readable ({error})") from None
    if photos:
        yield Part("photos", url, tuple(photos))
    if not found:
        raise ScoreError(f"{url}: no photos ({', '.join(SUFFIXES)}), tar or parquet files found")


def photos(part: Part) -> Iterator[tuple[str, bytes | str]]:
    """Name and bytes of every photo of ``part``; in place of the bytes, why they could not be read.

    Raises:
        ScoreError: the shard is no tar or parquet file, or a damaged one.
    """
    files, _ = _open(part.url)
    if part.kind == "photos":
        for path in part.paths:
            try:
                with files.open(path, "rb") as file:
                    data: bytes | str = file.read(LARGEST_PHOTO + 1)
            except OSError as error:
                data = str(error)
            yield path, data
    elif part.kind == "tar":
        yield from _tar(files, part.paths[0])
    else:
        yield from _parquet(files, part.paths[0])


def _tar(files: Any, path: str) -> Iterator[tuple[str, bytes | str]]:
    try:
        with files.open(path, "rb") as file, tarfile.open(fileobj=file, mode="r|*") as tar:
            archive: Any = tar
            for member in tar:
                if member.issparse():
                    yield f"{path}/{member.name}", "a sparse file"
                elif member.isreg() and member.name.lower().endswith(SUFFIXES):
                    # By the archive's own stream: `extractfile` takes three times as long for small photos.
                    archive.fileobj.seek(member.offset_data)
                    data = archive.fileobj.read(min(member.size, LARGEST_PHOTO + 1))
                    if len(data) < min(member.size, LARGEST_PHOTO + 1):
                        raise tarfile.ReadError("unexpected end of data")
                    yield f"{path}/{member.name}", data
                archive.members.clear()  # else it remembers every header, and memory grows with the shard
            if archive.fileobj.tell() <= archive.offset:  # nothing was read after the last file
                raise tarfile.ReadError("no end mark: cut short between two files")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ScoreError(f"{path}: a damaged tar file ({error})") from None


def _parquet(files: Any, path: str) -> Iterator[tuple[str, bytes | str]]:
    """Images are bytes, or structs with a field `bytes`, in the first column that has them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with files.open(path, "rb") as file, pq.ParquetFile(file) as table:
            column = _image_column(path, table.schema_arrow)
            row = 0
            for batch in table.iter_batches(_ROWS, columns=[column]):
                images = batch.column(0).field("bytes") if pa.types.is_struct(batch.column(0).type) else batch.column(0)
                for image in images:
                    yield f"{path}#{row}", image.as_py() or b""
                    row += 1
    except (pa.ArrowException, OSError) as error:
        raise ScoreError(f"{path}: a damaged parquet file ({error})") from None


def _image_column(path: str, schema: Any) -> str:
    import pyarrow as pa

    def binary(kind: Any) -> bool:
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    for field in schema:
        struct = pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0
        if binary(field.type) or (struct and binary(field.type.field("bytes").type)):
            return str(field.name)
    raise ScoreError(f"{path}: no column of images (bytes, or a struct with the field bytes) among {schema.names}")


def _open(url: str) -> tuple[Any, str]:
    """The file system of ``url`` and the path within it."""
    import fsspec

    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ScoreError(f"{url}: {error}") from None


def _walk(files: Any, root: str) -> Iterator[str]:
    """Every file at or below ``root`` that is not hidden; names of one folder at a time are held."""
    if files.isfile(root):
        yield root
        return
    for place, folders, names in files.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield f"{place.rstrip('/')}/{name}"
