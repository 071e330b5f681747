"""`make bento`: builds the Bento, names it after its content, and prints its tag, content digest and size.

The digest is SHA-256 over the names and bytes of all files of the Bento and of its models. Left out is what tells when
and under which name it was built, so the same commit with the same models gives the same digest and tag anywhere.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
TAG_DIGITS = 16


def main() -> int:
    sys.path.insert(0, str(ROOT))
    os.environ["CIFAR_RUNNERS"] = "separate"  # lists the runners too; which composition is served is a setting
    from settings import BadSettingError, configure_environment, read_settings

    try:
        configure_environment(read_settings())
    except BadSettingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    import bentoml
    from bentoml._internal.bento.bento import BentoStore

    try:
        with tempfile.TemporaryDirectory() as scratch:
            trial = _build("trial", BentoStore(scratch))
            digest = content_digest(Path(trial.path), models(Path(trial.path)))
        tag = f"{trial.tag.name}:{digest[:TAG_DIGITS]}"
        try:
            path = Path(bentoml.bentos.get(tag).path)
        except bentoml.exceptions.NotFound:
            path = Path(_build(digest[:TAG_DIGITS]).path)
    except bentoml.exceptions.BentoMLException as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    folders = [path, *models(path).values()]
    if content_digest(path, models(path)) != digest:
        print(
            f"error: {tag} in the store is not what was built; delete it with `bentoml delete {tag}`", file=sys.stderr
        )
        return 1
    size = sum(file.stat().st_size for folder in folders for file in files(folder))
    print(f"bento: {tag}\ncontent: sha256:{digest}\nsize: {size / 1e6:.1f} MB with its models")
    return 0


def content_digest(bento: Path, models: dict[str, Path]) -> str:
    """Hex SHA-256 of what is in the folder ``bento`` and in the folders of its ``models``, by tag."""
    whole = hashlib.sha256()
    for name, folder in sorted({"": bento, **models}.items()):
        for file in files(folder):
            data = file.read_bytes()
            if folder == bento and file.name == "bento.yaml":
                data = _without_occasion(data)
            whole.update(f"{name}/{file.relative_to(folder).as_posix()}\0{len(data)}\0".encode())
            whole.update(data)
    return whole.hexdigest()


def models(bento: Path) -> dict[str, Path]:
    """Tag and folder of every model that ``bento`` names, in the model store."""
    import bentoml

    described = yaml.safe_load((bento / "bento.yaml").read_text())
    tags = {model["tag"] for service in described["services"] for model in service["models"]}
    return {tag: Path(bentoml.models.get(tag).path) for tag in sorted(tags)}


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _without_occasion(data: bytes) -> bytes:
    described = yaml.safe_load(data)
    del described["creation_time"], described["version"]
    return yaml.safe_dump(described, sort_keys=True).encode()


def _build(version: str, *store: Any) -> Any:
    import bentoml

    chosen = {"_bento_store": store[0]} if store else {}
    return bentoml.bentos.build_bentofile(version=version, build_ctx=str(ROOT), **chosen)


if __name__ == "__main__":
    raise SystemExit(main())
