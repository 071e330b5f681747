"""The whole loop on the real server: classify, feedback, window, drift, retrain, serve the new model."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import httpx
import numpy as np
import pytest

from settings import ROOT
from tests.live import SHORT_WINDOWS, command, descendants, import_starters, png, send, server, wait_for_windows


def classify(client: httpx.Client, data: bytes) -> httpx.Response:
    return client.post("/classify", files={"image": ("photo.png", data)})


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return import_starters(tmp_path_factory.mktemp("var"))


def test_errors_are_json_with_the_right_code_and_the_server_goes_on(var: Path) -> None:
    picture = png(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    with server(var, **SHORT_WINDOWS) as (client, *_):
        for data, status in ((b"", 400), (b"no picture", 400), (picture[:200], 400), (b"%PDF-1.7", 415)):
            answer = classify(client, data)
            assert answer.status_code == status, answer.text
            assert set(answer.json()["error"]) == {"code", "message"}
        assert client.post("/classify", json={}).status_code == 422
        assert client.post("/feedback", json={"prediction_id": "x"}).status_code == 422
        unknown = client.post("/feedback", json={"prediction_id": "none", "correct": True})
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_prediction")
        assert client.get("/nowhere").json()["error"]["code"] == "not_found"
        answer = classify(client, picture)
        assert answer.status_code == 200
        assert sum(answer.json()["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        mixed = client.post("/classify_batch", files=[("images", ("a", picture)), ("images", ("b", b"junk"))]).json()
        assert "label" in mixed[0]
        assert mixed[1]["error"]["code"] == "not_an_image"
        assert client.get("/ui/").status_code == 200
        assert client.get("/livez").status_code == 200
        assert "cifar_requests_total" in client.get("/metrics").text


def test_both_compositions_and_both_engines_agree(var: Path) -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    answers = []
    for chosen in ({}, {"CIFAR_RUNNERS": "separate"}, {"CIFAR_ENGINE": "tensorflow"}):
        with server(var, CIFAR_MONITORING="false", CIFAR_PAGE="false", **chosen) as (client, *_):
            answers.append([(a["best_guess"], a["probability"], a["ood_p_value"]) for a in send(client, pictures)])
    inprocess, separate, tensorflow = answers
    assert separate == inprocess
    assert [a[0] for a in tensorflow] == [a[0] for a in inprocess]
    assert [a[1] for a in tensorflow] == pytest.approx([a[1] for a in inprocess], abs=0.02)


@pytest.mark.browser
def test_a_person_uploads_a_photo_and_says_that_it_was_right(var: Path, tmp_path: Path) -> None:
    if not Path("/usr/bin/chromium").exists() and os.environ.get("CI") != "true":
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import expect, sync_playwright

    (tmp_path / "photo.png").write_bytes(png(np.full((64, 64, 3), (90, 140, 220), np.uint8)))
    with server(var, CIFAR_MONITORING="false") as (client, *_), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{client.base_url}/")
        page.set_input_files("#photo input[type=file]", tmp_path / "photo.png")
        expect(page.locator("#answer")).to_contain_text("%", timeout=30_000)
        page.click("#right")
        expect(page.locator("#status")).to_contain_text("tored", timeout=30_000)
        browser.close()
        assert errors == []
    counts = command(var, "monitoring", "review", "--json")
    assert counts.returncode == 0


def test_acknowledged_feedback_survives_kill_9(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("killed")
    import_starters(folder)
    picture = png(np.random.default_rng(2).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    with server(folder, CIFAR_MONITORING="false", CIFAR_PAGE="false") as (client, running, _):
        prediction = classify(client, picture).json()["prediction_id"]
        body = {"prediction_id": prediction, "correct": False, "label": "frog"}
        stored = client.post("/feedback", json=body).json()
        assert client.post("/feedback", json=body).json() == stored
        for process in (
            running.pid,
            *descendants(running.pid),
        ):  # workers are no children of the shell: each is killed by itself
            os.kill(process, signal.SIGKILL)
    done = command(folder, "monitoring", "review", "--json")
    assert done.returncode == 0, done.stderr
    assert prediction in done.stdout
    assert "frog" in done.stdout


@pytest.mark.timeout(1500)  # a processor without bfloat16 needs eight minutes, beside other tests more
def test_the_loop_closes_on_real_photos(var: Path, data_root: Path, prepared: Path) -> None:
    from training.sources import CIFAR10_LABELS, load_cifar10

    shutil.copytree(prepared, var / "dataset")

    pixels, labels = load_cifar10(data_root, "train")
    with server(var, **SHORT_WINDOWS) as (client, *_):
        before = client.get("/labels").json()["models"]["cnn"]
        answers = send(client, pixels[:1000])
        known = [(answer, CIFAR10_LABELS[label]) for answer, label in zip(answers, labels[:1000], strict=True)]
        wrong = [(answer, label) for answer, label in known if answer["best_guess"] != label]
        assert 5 < len(wrong) < 150
        noise = np.random.default_rng(3).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
        assert np.mean([answer["label"] == "unknown" for answer in send(client, noise)]) > 0.5
        for answer, label in wrong:
            body = {"prediction_id": answer["prediction_id"], "correct": False, "label": label}
            assert client.post("/feedback", json=body).status_code == 200
    wait_for_windows(var, 1020)
    accepted = command(var, "monitoring", "review", "--accept-all", "--include-marked", "--json")
    assert accepted.returncode == 0, accepted.stderr
    # A small step on a sample of the base data: the corrections gain, and nothing else can be lost by it.
    config = (ROOT / "training" / "retrain.yaml").read_text().replace("learning_rate: 0.003", "learning_rate: 0.0012")
    (var / "small.yaml").write_text(config + "least_images: 4096\n")
    options = ("--config", str(var / "small.yaml"), "--base-images", "4000", "--json")
    done = command(var, "training", "retrain", *options, timeout=1200)
    assert done.returncode == 0, done.stderr[-2000:]
    verdict = json.loads(done.stdout)
    assert verdict["corrections"] == len(wrong)
    assert verdict["promoted"], verdict
    with server(var, **SHORT_WINDOWS) as (client, *_):
        after = client.get("/labels").json()["models"]["cnn"]
        assert after == verdict["cnn"] != before
        assert send(client, pixels[:1])[0]["model"]["cnn"] == after  # type: ignore[index]


def test_drift_is_silent_on_the_same_and_loud_on_shifted_photos(
    tmp_path_factory: pytest.TempPathFactory, prepared: Path
) -> None:
    from training import dataset

    pixels, _ = dataset.load(prepared)["test"]  # the mixture of sources that the reference has, too
    pixels = pixels[np.random.default_rng(0).choice(len(pixels), 300, replace=False)]
    for shifted, code in ((False, 0), (True, 1)):
        folder = tmp_path_factory.mktemp(f"drift-{shifted}")
        import_starters(folder)
        assert command(folder, "monitoring", "drift").returncode == 2
        with server(folder, CIFAR_PAGE="false", **SHORT_WINDOWS) as (client, *_):
            send(client, pixels // 2 if shifted else pixels)
        wait_for_windows(folder, 300)
        done = command(folder, "monitoring", "drift", "--json")
        assert done.returncode == code, (done.stdout[-1500:], done.stderr[-1500:])
