"""Nothing but one's own folders of photos: training, gate, serving and drift, on the six captured classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.live import SHORT_WINDOWS, command, send, server, wait_for_windows

SIX = ("headphone", "laptop", "scissors", "soccer_ball", "umbrella", "watch")


def test_six_folders_of_photos_are_all_it_takes(tmp_path: Path, data_root: Path) -> None:
    (tmp_path / "classes.yaml").write_text("folders:\n" + "".join(f"  {n}: captured/{n}\n" for n in SIX))
    (tmp_path / "small.yaml").write_text(
        "name: six\nwidths: [16, 32, 32]\nepochs: 8\nbatch_size: 128\nleast_images: 4096\n"
        "learning_rate: 0.2\nbalance: oversample\nbalance_floor: 1.0\n"
    )
    options = ("--classes", str(tmp_path / "classes.yaml"), "--config", str(tmp_path / "small.yaml"), "--json")
    done = command(tmp_path, "training", "all", *options)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout)
    assert set(result["classes"]) == set(SIX)
    assert result["test_accuracy"] > 0.5  # six classes: chance is a sixth

    from training import dataset

    data = dataset.load(tmp_path / "dataset")
    pixels = np.concatenate([data[split][0] for split in ("test", "validation")])
    with server(tmp_path, CIFAR_PAGE="false", **SHORT_WINDOWS) as (client, *_):
        assert client.get("/labels").json()["classes"] == list(SIX)
        answers = send(client, pixels)
        assert all(set(answer["probabilities"]) == set(SIX) for answer in answers)
        noise = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
        send(client, noise)
    wait_for_windows(tmp_path, len(pixels) + 20)
    drift = command(tmp_path, "monitoring", "drift", "--json")
    assert drift.returncode in (0, 1), drift.stderr  # it judges: a fifth of these rows is noise
    with server(tmp_path, CIFAR_PAGE="false", **SHORT_WINDOWS) as (client, *_):
        send(client, np.concatenate([pixels // 3] * 2))
    wait_for_windows(tmp_path, 3 * len(pixels) + 20)
    drift = command(tmp_path, "monitoring", "drift", "--json")
    assert drift.returncode == 1, drift.stdout[-1500:]
