"""A backup brings everything back; changelog, operations and architecture name what exists."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from monitoring.feedback import Feedback, FeedbackStore, NewFeedback
from settings import ROOT, Settings
from tests.deployed import DEPLOY, sample_names
from tests.postgres import server


def answer(prediction_id: str) -> NewFeedback:
    return NewFeedback(
        prediction_id=prediction_id,
        correct=False,
        label="dog",
        predicted_label="cat",
        best_guess="cat",
        probability=0.6,
        in_distribution=True,
        ood_p_value=0.5,
        cnn_tag="cifar_cnn:test",
        image=b"a photo",
    )


def test_a_backup_brings_everything_back(tmp_path: Path) -> None:
    from monitoring import tracking

    settings = Settings(var=tmp_path / "var", database_url=None, image_store=None, mlflow_uri=None, _env_file=None)  # type: ignore[call-arg]
    store = FeedbackStore.open(settings)
    store.save(answer("p"))
    run = tracking.model_run(settings, "cifar_cnn:test")
    report = tracking.log_report(settings, run, "<p>same</p>", drifted=False, smallest_p=1.0, at=datetime.now(UTC))
    (settings.bentoml_home / "models").mkdir(parents=True)
    (settings.bentoml_home / "models" / "latest").write_text("a model")
    (settings.var / "spool").mkdir()
    (settings.var / "spool" / "window.bin").write_bytes(b"a window")

    def script(name: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
        path = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        command = ["sh", str(DEPLOY / name), *map(str, arguments)]
        return subprocess.run(command, env=path, capture_output=True, text=True, check=False)

    backup = tmp_path / "backups" / "first"
    with store.database.reading() as session:  # the service goes on
        session.connection()
        done = script("backup.sh", settings.var, backup)
    assert done.returncode == 0, done.stderr
    assert script("backup.sh", settings.var, backup).returncode == 2
    assert script("restore.sh", backup, settings.var).returncode == 2
    shutil.rmtree(settings.var)

    damaged = tmp_path / "damaged"
    shutil.copytree(backup, damaged)
    with (damaged / "feedback.db").open("ab") as file:
        file.write(b"x")
    refused = script("restore.sh", damaged, settings.var)
    assert refused.returncode == 1
    assert "damaged" in refused.stderr
    assert not settings.var.exists()

    done = script("restore.sh", backup, settings.var)
    assert done.returncode == 0, done.stderr
    (row,) = FeedbackStore.open(settings).pending()
    assert (row.prediction_id, row.label) == ("p", "dog")
    assert row.image_sha256 is not None
    assert store.images.get(row.image_sha256) == b"a photo"
    assert tracking.model_run(settings, "cifar_cnn:test") == run
    assert Path(tracking.client(settings).download_artifacts(run, report)).read_text() == "<p>same</p>"
    assert (settings.bentoml_home / "models" / "latest").read_text() == "a model"
    assert (settings.var / "spool" / "window.bin").read_bytes() == b"a window"


def documented(tool: str, database: str) -> str:
    """The line of the operations page by which ``tool`` is run in Compose's container, without what leads there."""
    page = (ROOT / "docs" / "operations.md").read_text()
    (line,) = re.findall(rf"^    c exec -T postgres ({tool} .*\b{database} +[<>] {database}\.dump)$", page, re.M)
    return line


def test_the_dump_of_the_page_brings_the_rows_back_on_an_empty_database_and_over_another_state(tmp_path: Path) -> None:
    with server() as postgres:
        postgres._sql("CREATE ROLE cifar SUPERUSER LOGIN")  # as the image of PostgreSQL makes it
        for database in ("cifar", "mlflow"):
            postgres._sql(f"CREATE DATABASE {database} OWNER cifar")

        def run(tool: str) -> None:
            env = {**os.environ, "PATH": f"{postgres.binaries}:{os.environ['PATH']}", "PGHOST": str(postgres.folder)}
            for database in ("cifar", "mlflow"):
                command = ["sh", "-c", documented(tool, database)]
                done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
                assert (done.returncode, done.stderr) == (0, "")

        url = f"postgresql+psycopg://cifar@/cifar?host={postgres.folder}&connect_timeout=5"
        settings = Settings(var=tmp_path / "var", database_url=url, image_store=None, _env_file=None)  # type: ignore[call-arg]
        store = FeedbackStore.open(settings)
        first, second = (store.save(answer(name)).id for name in ("first", "second"))
        assert store.set_state([second], "accepted", "wolf") == 1
        before = facts(store)
        run("pg_dump")

        postgres._sql("DROP DATABASE cifar")
        postgres._sql("CREATE DATABASE cifar OWNER cifar")
        run("pg_restore")
        again = FeedbackStore.open(settings)
        assert facts(again) == before
        assert [(row.id, row.label) for row in again.pending()] == [(first, "dog")]
        assert [again.images.get(row.sha256) for row in again.accepted()] == [b"a photo"]
        assert again.save(answer("third")).id > second, "numbers go on where they were"

        run("pg_restore")
        assert facts(again) == before, "what came after the dump is gone"


def facts(store: FeedbackStore) -> list[dict[str, object]]:
    """Every row, whole."""
    with store.database.reading() as session:
        return [dict(row) for row in session.execute(select(Feedback.__table__).order_by(Feedback.id)).mappings()]


def test_the_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", text, re.M)
    assert headings[0][0] == "Unreleased"
    versions = [tuple(int(part) for part in name.split(".")) for name, _ in headings[1:]]
    assert all(len(version) == 3 for version in versions)
    assert versions == sorted(versions, reverse=True)
    assert all(date for _, date in headings[1:])
    assert set(re.findall(r"^### (.+)$", text, re.M)) <= {
        *("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"),
    }


@pytest.mark.parametrize("name", ["operations.md", "architecture.md"])
def test_what_the_pages_name_exists(name: str) -> None:
    text = (ROOT / "docs" / name).read_text()
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / "docs" / link).exists(), link
    for path in re.findall(r"`(deploy/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path
    for metric in re.findall(r"`(cifar_[a-z_]+)`", text):
        assert metric in sample_names(), metric
    for setting in re.findall(r"`(?:CIFAR)_([A-Z_]+)", text):
        assert setting.lower() in Settings.model_fields, setting


def test_the_picture_needs_nothing_from_elsewhere() -> None:
    from xml.etree import ElementTree

    text = (ROOT / "docs" / "architecture.svg").read_text()
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.find("{http://www.w3.org/2000/svg}title") is not None
    assert not re.findall(r'(?:href|src)="', text)
    shown = " ".join("".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text"))
    for folder in ("service.py", "runners/", "monitoring/", "training/", "ui/"):
        assert folder in shown, folder
