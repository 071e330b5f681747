"""The image, really built on a bare Debian and really run: no root, one volume, nothing lost by a restart.

All of it happens in a mount and a process namespace of its own: whatever is mounted or started goes when that does.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from settings import ROOT
from tests import postgres
from tests.live import PATIENCE, environment, free_port, png, wait_until, wait_until_answered
from version import version

LONGEST = 1800
"""Seconds for everything here; then the namespace ends by itself."""
pytestmark = pytest.mark.timeout(LONGEST)
TOOLS = ("buildah", "podman", "runc", "debootstrap")
LARGEST = 1_200_000_000
"""Bytes of the image, at most."""
TOKEN = "a-token-of-this-test"
BASE = "localhost/debian:bare"


@dataclass(frozen=True)
class Engine:
    """Podman and Buildah in namespaces and a store of their own; no systemd, no daemon, no cgroup manager is needed."""

    place: Path
    init: int
    env: dict[str, str]

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        inside = ["nsenter", f"--target={self.init}", "--mount", "--pid", "env", f"--chdir={ROOT}", *command]
        done = subprocess.run(inside, env=self.env, capture_output=True, text=True, timeout=LONGEST)
        assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done

    def podman(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs", *arguments, check=check)


def require_containers() -> None:
    """Else the test is skipped and says why; where the tools are promised, as in CI, it fails."""
    if missing := [name for name in TOOLS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")]:
        said = f"THE IMAGE IS NOT TESTED: apt install {' '.join(missing)}"
        if os.environ.get("CI") == "true":
            pytest.fail(said)
        pytest.skip(said)
    trial = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    refused = subprocess.run(trial, capture_output=True, text=True)
    if refused.returncode:  # what a container is made of
        pytest.skip(f"THE IMAGE IS NOT TESTED, this machine forbids containers: {refused.stderr.strip()}")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    require_containers()
    place = tmp_path_factory.mktemp("images")
    for name in ("lower", "upper", "work", "merged", "tmp", "debian"):
        (place / name).mkdir()
    layers = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
    trial = ["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", layers, str(place / "merged")]
    driver = "vfs" if subprocess.run(trial, capture_output=True).returncode else "overlay"
    storage = place / "storage.conf"
    storage.write_text(f'[storage]\ndriver = "{driver}"\ngraphroot = "{place}/store"\nrunroot = "{place}/run"\n')
    env = environment(
        place / "var",
        BENTOML_HOME=str(place / "bentoml"),
        CONTAINERS_STORAGE_CONF=str(storage),
        BUILDAH_ISOLATION="chroot",
        DISABLE_HC_SYSTEMD="true",
        TMPDIR=str(place / "tmp"),
        PATH=f"{os.environ['PATH']}:/usr/sbin",
    )
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sleep", str(LONGEST)]
    with subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *namespaces], start_new_session=True) as holder:
        try:
            yield Engine(place, _child(holder.pid), env)
        finally:
            holder.send_signal(signal.SIGKILL)  # with it go all processes and mounts
    shutil.rmtree(place)  # gigabytes


def _child(pid: int) -> int:
    """The process that ``pid`` starts."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if found := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            return int(found[0])
        time.sleep(0.01)
    pytest.fail("unshare started nothing")


@pytest.fixture(scope="module")
def image(engine: Engine) -> str:
    """`make container`, on a Debian that has nothing but Python and certificates."""
    since = time.monotonic()
    debian = str(engine.place / "debian")
    engine.run("mount", "-t", "tmpfs", "tmpfs", debian)  # dpkg waits for the disk after each package
    packages = "--include=python3,python3-venv,ca-certificates"
    engine.run("debootstrap", "--variant=minbase", packages, "bookworm", debian)
    for leftover in ("var/cache/apt", "var/lib/apt/lists"):
        engine.run("rm", "-rf", f"{debian}/{leftover}")
    archive = str(engine.place / "tmp" / "debian.tar")
    engine.run("tar", "-C", debian, "-cf", archive, ".")
    engine.run("umount", debian)
    engine.podman("import", archive, BASE)
    engine.run("rm", archive)
    based = time.monotonic() - since
    certificates = "OPTIONS=--volume /etc/ssl/certs:/etc/ssl/certs:ro"  # those by which this machine reaches the index
    made = ["container", "TOOL=buildah", f"BASE={BASE}", "IMAGE=localhost/cifar", certificates]
    printed = engine.run("make", "--no-print-directory", "-o", ".venv/.ready", *made).stdout
    print(f"seconds: base {based:.0f}, image {time.monotonic() - since - based:.0f}")
    return re.findall(r"^image: (\S+),", printed, re.M)[0]


@dataclass(frozen=True)
class Running:
    name: str
    client: httpx.Client
    since: float
    seconds: float

    def classify(self, photo: bytes) -> tuple[dict[str, Any], float]:
        """The answer, and how many seconds after the container's start it came."""
        answer = self.client.post("/classify", files={"image": ("p.png", photo)}).json()
        return answer, time.monotonic() - self.since


def start(engine: Engine, image: str, *state: str) -> Running:
    """A new container of ``image``, ready. ``state``: options that say where its state is; else on the volume."""
    port = free_port()
    name = f"cifar-{port}"
    limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
    locked = (
        "--read-only",
        "--tmpfs",
        "/tmp:size=1g,mode=1777",
        "--cap-drop",
        "all",
        "--security-opt",
        "no-new-privileges",
    )
    state = state or ("--volume", "feedback:/var/lib/cifar")
    own = ("--env", f"PORT={port}", "--env", f'CIFAR_API_TOKENS=["{TOKEN}"]', *state)
    since = time.monotonic()
    engine.podman("run", "--detach", "--name", name, "--network", "host", *limits, *locked, *own, image)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60)
    while time.monotonic() < since + PATIENCE:
        try:
            if client.get("/readyz").status_code == 200:
                return Running(name, client, since, time.monotonic() - since)
        except httpx.TransportError:
            pass
        state = engine.podman("inspect", "--format", "{{.State.Status}}", name).stdout.strip()
        assert state in ("created", "running"), engine.podman("logs", name).stderr[-3000:]
        time.sleep(0.2)
    pytest.fail(engine.podman("logs", name).stderr[-3000:])


def stop(engine: Engine, running: Running) -> None:
    """SIGTERM; it goes by itself within ten seconds, before it would be killed."""
    running.client.close()
    engine.podman("stop", "--time", "10", running.name)
    code = engine.podman("inspect", "--format", "{{.State.ExitCode}}", running.name).stdout.strip()
    assert code != "137", "it did not leave within ten seconds and was killed"


def test_the_image_is_small_and_says_how_it_is_run(engine: Engine, image: str) -> None:
    (about,) = json.loads(engine.podman("image", "inspect", image).stdout)
    print(f"image: {about['Size'] / 1e6:,.0f} MB")
    assert about["Size"] < LARGEST
    assert about["Config"]["User"] == "10001:10001"
    assert about["Config"]["Labels"]["org.opencontainers.image.version"] == version()
    assert list(about["Config"]["Volumes"]) == ["/var/lib/cifar"]
    assert "/readyz" in " ".join(about["Healthcheck"]["Test"])


def test_feedback_outlives_the_container(engine: Engine, image: str) -> None:
    photo = png(np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8))
    first = start(engine, image)
    prediction, answered = first.classify(photo)
    assert sum(prediction["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    body = {"prediction_id": prediction["prediction_id"], "correct": False, "label": "frog"}
    assert first.client.post("/feedback", json=body).status_code == 200
    page = first.client.get("/ui/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "gradio_config" in page.text

    def inside(*command: str) -> subprocess.CompletedProcess[str]:
        return engine.podman("exec", first.name, *command, check=False)

    assert engine.podman("healthcheck", "run", first.name, check=False).returncode == 0
    assert inside("id", "-u").stdout.strip() == "10001"
    for place in ("/bento/x", "/opt/x", "/root/x", "/etc/x"):
        assert inside("touch", place).returncode != 0, place
    assert inside("touch", "/var/lib/cifar/x").returncode == 0
    assert "No module named 'tensorflow'" in inside("python", "-c", "import tensorflow").stderr
    listed = {(part["name"], part["version"]) for part in bill(inside("cat", "/bento/sbom.cdx.json").stdout)}
    lock = (ROOT / "requirements-serving.lock").read_text()
    locked = re.findall(
        r"^([a-z0-9][\w.-]*)(?:\[[^]]*\])?==(\S+) \\$", lock, re.M
    )  # those with a condition may be left out
    assert len(locked) > 50
    assert set(locked) <= listed
    assert {"python3", "libc6"} <= {name for name, _ in listed}
    stop(engine, first)

    second = start(engine, image)
    again, answered_again = second.classify(photo)
    found = engine.podman("exec", second.name, "python", "-m", "monitoring", "review", "--json").stdout
    assert prediction["prediction_id"] in found
    assert "frog" in found
    assert rows_in_mlflow(engine, second) == 1  # flushed by the first on its way out, or by the second from the spool
    assert again["probabilities"] == pytest.approx(prediction["probabilities"])
    stop(engine, second)
    print(
        f"container start to ready: {first.seconds:.1f} s, again {second.seconds:.1f} s; "
        f"to the first answer of /classify: {answered:.1f} s, again {answered_again:.1f} s"
    )


def test_without_a_volume_another_container_goes_on_where_one_was(
    engine: Engine, image: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Database, photos and MLflow outside, as serverless has it: each container is gone for good before the next."""
    photos = [png(np.random.default_rng(n).integers(0, 256, (64, 48, 3), dtype=np.uint8)) for n in range(3)]
    bucket = tmp_path_factory.mktemp("bucket")
    bucket.chmod(0o777)
    with postgres.server(free_port()) as database, mlflow(tmp_path) as runs:
        outside = {
            "CIFAR_DATABASE_URL": f"postgresql+psycopg://{database.user}@127.0.0.1:{database.port}/postgres",
            "CIFAR_MLFLOW_URI": str(runs.base_url),
            "CIFAR_IMAGE_STORE": "/bucket",
            "CIFAR_KEEP_IMAGES": "all",
            "CIFAR_PAGE": "false",
        }
        state = [word for name, value in outside.items() for word in ("--env", f"{name}={value}")]
        state += ["--tmpfs", "/var/lib/cifar:size=1g,mode=1777,notmpcopyup", "--volume", f"{bucket}:/bucket"]

        first = start(engine, image, *state)
        asked = [first.classify(photo)[0]["prediction_id"] for photo in photos]
        wait_until(lambda: len(list(bucket.rglob("*.png"))) == len(photos), "the photos are kept")
        wait_until(lambda: "monitoring" in experiments(runs), "the first has reached MLflow")
        body = {"prediction_id": asked[0], "correct": False, "label": "frog"}
        assert first.client.post("/feedback", json=body).status_code == 200
        stop(engine, first)
        engine.podman("rm", first.name)

        second = start(engine, image, *state)
        assert rows_in_mlflow(engine, second) == len(photos)
        body = {"prediction_id": asked[1], "correct": False, "label": "deer"}
        assert second.client.post("/feedback", json=body).status_code == 200, "the first one's prediction"
        found = engine.podman("exec", second.name, "python", "-m", "monitoring", "review", "--json").stdout
        assert all(word in found for word in (*asked[:2], "frog", "deer"))
        stop(engine, second)


@contextmanager
def mlflow(folder: Path) -> Iterator[httpx.Client]:
    """A client of an MLflow server that keeps artifacts itself, ready."""
    port, log = free_port(), folder / "mlflow.log"
    stores = (f"--backend-store-uri=sqlite:///{folder}/mlflow.db", f"--artifacts-destination={folder}/artifacts")
    program = str(Path(sys.executable).with_name("mlflow"))
    command = [program, "server", "--host=127.0.0.1", f"--port={port}", "--workers=1", *stores]
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=env, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            wait_until_answered(client, "/health", process, log)
            yield client
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def experiments(runs: httpx.Client) -> set[str]:
    found = runs.post("/api/2.0/mlflow/experiments/search", json={"max_results": 10}).json()
    return {experiment["name"] for experiment in found["experiments"]}


def rows_in_mlflow(engine: Engine, running: Running) -> int:
    """Rows of traffic that a drift check reads; it is asked until there is one."""
    for _ in range(10):
        said = engine.podman("exec", running.name, "python", "-m", "monitoring", "drift", check=False).stdout
        if found := re.search(r"(\d+) rows of traffic", said):
            return int(found[1])
        time.sleep(2)
    pytest.fail(said)


def bill(text: str) -> list[dict[str, str]]:
    """The components of a CycloneDX list."""
    found = json.loads(text)
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    return found["components"]
