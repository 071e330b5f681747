"""Nothing but one's own folders of photos, the six captured classes: from training to drift, and around the loop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.live import SHORT_WINDOWS, command, send, server, wait_for_windows, wait_until

SIX = ("headphone", "laptop", "scissors", "soccer_ball", "umbrella", "watch")
CONFIG = """name: six
widths: [16, 32, 32]
epochs: 8
batch_size: 64
least_images: 2048
learning_rate: 0.2
balance: oversample
balance_floor: 1.0
"""
AT_ONCE = 50


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> Path:
    """A folder with a classes file of the six and a small configuration."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "classes.yaml").write_text("folders:\n" + "".join(f"  {n}: captured/{n}\n" for n in SIX))
    (folder / "small.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def trained(var: Path) -> dict[str, Any]:
    options = ("--classes", str(var / "classes.yaml"), "--config", str(var / "small.yaml"), "--json")
    done = command(var, "training", "all", *options)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_six_folders_of_photos_are_all_it_takes(var: Path, trained: dict[str, Any]) -> None:
    assert set(trained["classes"]) == set(SIX)
    assert trained["test_accuracy"] > 0.5  # six classes: chance is a sixth

    from training import dataset

    data = dataset.load(var / "dataset")
    pixels = np.concatenate([data[split][0] for split in ("test", "validation")])
    with server(var, CIFAR_PAGE="false", **SHORT_WINDOWS) as (client, *_):
        assert client.get("/labels").json()["classes"] == list(SIX)
        answers = send(client, pixels)
        assert all(set(answer["probabilities"]) == set(SIX) for answer in answers)
        noise = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
        send(client, noise)
    wait_for_windows(var, len(pixels) + 20)
    drift = command(var, "monitoring", "drift", "--json")
    assert drift.returncode in (0, 1), drift.stderr  # it judges: a fifth of these rows is noise
    with server(var, CIFAR_PAGE="false", **SHORT_WINDOWS) as (client, *_):
        send(client, np.concatenate([pixels // 3] * 2))
    wait_for_windows(var, 3 * len(pixels) + 20)
    drift = command(var, "monitoring", "drift", "--json")
    assert drift.returncode == 1, drift.stdout[-1500:]


def test_the_loop_closes(var: Path, trained: dict[str, Any], data_root: Path) -> None:
    """What it got wrong is corrected, accepted and trained; the better network is served, without a start."""
    photos = [(file, name) for name in SIX for file in sorted((data_root / "captured" / name).iterdir())]
    with server(var, CIFAR_PAGE="false", CIFAR_RELOAD_SECONDS="1", **SHORT_WINDOWS) as (client, *_):
        before = client.get("/labels").json()["models"]["cnn"]
        assert before == trained["cnn"]
        wrong = 0
        for start in range(0, len(photos), AT_ONCE):
            some = photos[start : start + AT_ONCE]
            files = [("images", (file.name, file.read_bytes())) for file, _ in some]
            answers = client.post("/classify_batch", files=files).json()
            for answer, (_, label) in zip(answers, some, strict=True):
                if answer["best_guess"] == label:
                    continue
                wrong += 1
                body = {"prediction_id": answer["prediction_id"], "correct": False, "label": label}
                assert client.post("/feedback", json=body).status_code == 200
        assert 20 < wrong < len(photos) // 2
        accepted = command(var, "monitoring", "review", "--accept-all", "--include-marked", "--json")
        assert accepted.returncode == 0, accepted.stderr
        options = ("--classes", str(var / "classes.yaml"), "--json")
        done = command(var, "training", "retrain", *options)
        assert done.returncode == 0, done.stderr[-2000:]
        verdict = json.loads(done.stdout)
        assert verdict["corrections"] == wrong
        assert verdict["promoted"], verdict
        assert verdict["cnn"] != before
        wait_until(lambda: client.get("/labels").json()["models"]["cnn"] == verdict["cnn"], "the new one is served")
        one = client.post("/classify", files={"image": photos[0][0].read_bytes()}).json()
        assert one["model"]["cnn"] == verdict["cnn"]
