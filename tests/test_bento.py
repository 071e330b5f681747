"""The Bento is the same wherever it is built, and serves from anywhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from scripts.bento import content_digest
from settings import ROOT
from tests.live import environment, png, server

NOT_COPIED = (".*", "var", "tests", "docs", "__pycache__")  # some of which other tests write meanwhile
Built = tuple[Path, dict[str, str]]


def build(place: Path) -> Built:
    """A Bento of the code as it stands, built in a copy below ``place``: BENTOML_HOME and what was printed."""
    code, var = place / "code", place / "var"
    shutil.copytree(ROOT, code, ignore=shutil.ignore_patterns(*NOT_COPIED), copy_function=shutil.copyfile)
    others = code / "var" / "environment"
    others.mkdir(parents=True)
    for name in ("http_attributes.py", "service.py"):
        (others / name).write_text("# of somebody else's package\n")
    env = environment(var, PWD=str(code))
    subprocess.run([sys.executable, "-m", "runners", "starters"], cwd=code, env=env, check=True, capture_output=True)
    done = subprocess.run([sys.executable, "scripts/bento.py"], cwd=code, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return var / "bentoml", dict(line.split(": ", 1) for line in done.stdout.splitlines())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("first"))


def folder(home: Path, tag: str) -> Path:
    return home / "bentos" / tag.replace(":", "/")


def test_two_folders_build_the_same(built: Built, tmp_path: Path) -> None:
    home, printed = built
    other_home, other = build(tmp_path)
    assert printed == other
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", printed["content"])
    assert printed["bento"] == f"cifar:{printed['content'].removeprefix('sha256:')[:16]}"
    bento = folder(home, printed["bento"])
    assert (bento / "bento.yaml").read_text() != (folder(other_home, other["bento"]) / "bento.yaml").read_text()  # when
    digest = content_digest(bento, {})
    changed = shutil.copytree(bento, tmp_path / "changed")
    assert content_digest(changed, {}) == digest
    with (changed / "src" / "service.py").open("a") as file:
        file.write("#")
    assert content_digest(changed, {}) != digest


def test_it_carries_code_both_models_and_the_reference_profile_but_no_tests(built: Built) -> None:
    home, printed = built
    source = folder(home, printed["bento"]) / "src"
    carried = {path.relative_to(source).parts[0] for path in source.rglob("*") if path.is_file()}
    assert {"service.py", "settings.py", "runners", "monitoring", "ui", "requirements-serving.lock"} <= carried
    assert not carried & {"tests", "training", "bench", "scripts", "var"}
    described = (folder(home, printed["bento"]) / "bento.yaml").read_text()
    for name in ("cifar_cnn", "ood_forest"):
        (model,) = (path for path in (home / "models" / name).iterdir() if path.is_dir())
        assert f"tag: {name}:{model.name}" in described
        assert name == "ood_forest" or (model / "reference.bin").is_file()


def test_it_serves_from_an_empty_folder(built: Built, tmp_path: Path) -> None:
    home, printed = built
    photo = png(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))
    named = {"CIFAR_IMAGE_STORE": str(tmp_path / "photos")}  # which the parent process looks at first
    own = {"BENTOML_HOME": str(home), "CIFAR_VAR": "", "PWD": str(tmp_path), **named}
    with server(tmp_path, target=printed["bento"], cwd=tmp_path, **own) as (client, *_):
        answer = client.post("/classify", files={"image": ("p.png", photo)}).json()
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert client.post("/feedback", json={"prediction_id": answer["prediction_id"], "correct": True}).is_success
        check_page(client)
    assert (tmp_path / "var" / "feedback.db").is_file()
    assert len(list((tmp_path / "photos").rglob("*.png"))) == 1
    assert not os.path.lexists(folder(home, printed["bento"]) / "src" / "var")


def check_page(client: httpx.Client) -> None:
    """The page is served with all that is ours on it, and with Gradio's own script."""
    page = client.get("/ui/")
    assert page.status_code == 200
    (script,) = re.findall(r'src="\./(assets/index-[\w-]+\.js)"', page.text)
    assert client.get(f"/ui/{script}").headers["content-type"].startswith("application/javascript")
    configured = "\n".join(words(client.get("/ui/config").json()))
    for path in [*(ROOT / "ui").glob("*.js"), ROOT / "ui" / "page.css"]:
        assert path.read_text().strip() in configured, path.name


def words(tree: object) -> Iterator[str]:
    """Every text in what JSON can hold."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict | list):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from words(part)
