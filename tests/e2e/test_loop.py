"""The shipped pair on the real server: classify, feedback, the page, both compositions, windows and drift."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.live import SHORT_WINDOWS, command, import_starters, kill, png, send, server, wait_for_windows


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
        noise = np.random.default_rng(3).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
        assert np.mean([answer["label"] == "unknown" for answer in send(client, noise)]) > 0.5
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
        kill(running.pid)
    done = command(folder, "monitoring", "review", "--json")
    assert done.returncode == 0, done.stderr
    assert prediction in done.stdout
    assert "frog" in done.stdout


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
