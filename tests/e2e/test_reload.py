"""The served model changes under load, there and back: no call is lost, every answer is of the pair that it names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from runners.pipeline import Scores
from runners.store import Served, open_pair
from settings import ROOT
from tests.live import environment, import_starters, metric, png, send_what_waits, server, wait_until

PHOTOS = np.random.default_rng(5).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
CLIENTS = 6
OPTIONS = {"CIFAR_PAGE": "false", "CIFAR_RELOAD_SECONDS": "0.2", "CIFAR_MAX_WAIT_SECONDS": "30"}
REGISTER = """
import sys
from pathlib import Path
from settings import Settings, configure_environment
configure_environment(Settings())
from training.register import named, register
print(register(Path(sys.argv[1]), Path(sys.argv[2]), {}, named(sys.argv[3])).cnn_tag)
"""


class Store:
    """Three pairs over folder ``var``: the starters ("one"), a surer copy that answers otherwise, a damaged copy."""

    def __init__(self, var: Path) -> None:
        self.var, self.models = var, var / "bentoml" / "models"
        import_starters(var)
        one = next((self.models / "cifar_cnn").glob("*/network.json")).parent
        forest = next((self.models / "ood_forest").glob("*/gate.json")).parent
        copy = shutil.copytree(one, var / "copy")
        card = json.loads((copy / "network.json").read_text())
        (copy / "network.json").write_text(json.dumps(card | {"temperature": card["temperature"] / 3}))
        self.tags = {"one": f"cifar_cnn:{one.name}"}
        for name in ("two", "damaged"):
            done = subprocess.run(
                [sys.executable, "-c", REGISTER, str(copy), str(forest), name],
                cwd=ROOT,
                env=environment(var),
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            self.tags[name] = done.stdout.split()[-1]
        (self.folder("damaged") / "network.bin").write_bytes(b"damaged")
        self.expected = {self.tags[name]: self._scores(name, forest) for name in ("one", "two")}

    def folder(self, name: str) -> Path:
        return self.models / "cifar_cnn" / self.tags[name].partition(":")[2]

    def point(self, name: str) -> None:
        """Make ``name`` the champion, as the registration of a new version does at its end."""
        draft = self.models / "cifar_cnn" / "latest.new"
        draft.write_text(self.tags[name].partition(":")[2])
        os.replace(draft, self.models / "cifar_cnn" / "latest")

    def _scores(self, name: str, forest: Path) -> Scores:
        pipeline, _ = open_pair(Served(self.tags[name], "forest", self.folder(name), forest), "openvino")
        return pipeline.score(PHOTOS)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("reload"))


@contextmanager
def load(url: httpx.URL) -> Iterator[list[tuple[int, int, dict[str, Any]]]]:
    """Clients that classify without pause: photo number, status and body of every call."""
    answers: list[tuple[int, int, dict[str, Any]]] = []
    done = threading.Event()

    def run(number: int) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while not done.is_set():
                row = number % len(PHOTOS)
                answer = client.post("/classify", files={"image": ("p", png(PHOTOS[row]))})
                answers.append((row, answer.status_code, answer.json()))
                number += 1

    threads = [threading.Thread(target=run, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        done.set()
        for thread in threads:
            thread.join()


def wait_until_served(client: httpx.Client, tag: str) -> None:
    wait_until(lambda: client.get("/labels").json()["models"]["cnn"] == tag, f"{tag} is served")


@pytest.mark.parametrize("runners", ["inprocess", "separate"])
def test_the_champion_changes_there_and_back_under_load(store: Store, runners: str) -> None:
    store.point("one")
    monitoring = "true" if runners == "inprocess" else "false"
    chosen = {"CIFAR_RUNNERS": runners, "CIFAR_MONITORING": monitoring, **OPTIONS}
    with server(store.var, **chosen) as (client, _, log), load(client.base_url) as answers:
        for name in ("two", "one", "two"):
            time.sleep(1)
            store.point(name)
            wait_until_served(client, store.tags[name])
        store.point("damaged")
        wait_until(lambda: metric(client, "cifar_champion_served") == 0, "the damaged pair is refused")
        wait_until(lambda: client.get("/readyz").status_code == 200, "ready")  # a busy runner may miss one question
        assert client.get("/labels").json()["models"]["cnn"] == store.tags["two"]
        store.point("one")
        wait_until_served(client, store.tags["one"])
        time.sleep(1)
        assert metric(client, 'cifar_reloads_total{result="served"}') == 4
        assert metric(client, "cifar_champion_served") == 1
        if monitoring == "true":
            assert metric(client, "cifar_monitoring_rows_dropped_total") == 0
    assert "damaged" in log.read_text()
    assert {status for _, status, _ in answers} == {200}
    assert {body["model"]["cnn"] for _, _, body in answers} == {store.tags["one"], store.tags["two"]}
    for row, _, body in answers:
        expected = store.expected[body["model"]["cnn"]]
        assert body["model"]["forest"].partition(":")[2] == body["model"]["cnn"].partition(":")[2]
        assert list(body["probabilities"].values()) == pytest.approx(expected.probabilities[row].tolist(), abs=0.03)
        assert body["ood_p_value"] == pytest.approx(float(expected.ood_p_value[row]), abs=0.05)


def test_the_pairs_of_this_test_answer_otherwise(store: Store) -> None:
    one, two = (store.expected[store.tags[name]] for name in ("one", "two"))
    assert np.abs(one.probabilities - two.probabilities).max(axis=1).min() > 2 * 0.03, (
        "twice what the test above forgives"
    )


def test_the_windows_of_each_pair_are_its_own(store: Store) -> None:
    """After the load in this process's store: every row of both pairs reached MLflow under the pair's own run."""
    code = (
        "import sys; from settings import *; s=Settings(); configure_environment(s)\n"
        "from monitoring import tracking, profiles\n"
        "for tag in sys.argv[1:]:\n"
        "    w=tracking.windows(s, tag)\n"
        "    print(len(w), {profiles.from_bytes(b).metadata['cnn'] for b in tracking.read_windows(s, w)} == {tag})"
    )
    send_what_waits(store.var)
    tags = [store.tags[name] for name in ("one", "two", "damaged")]
    done = subprocess.run(
        [sys.executable, "-c", code, *tags], cwd=ROOT, env=environment(store.var), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    one, two, damaged = (line.split() for line in done.stdout.splitlines())
    assert int(one[0]) >= 2
    assert int(two[0]) >= 2
    assert one[1] == two[1] == "True"
    assert damaged[0] == "0"
