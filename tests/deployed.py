"""The files of `deploy/` as tests read them: manifests rendered as kustomize does, workloads, texts."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from settings import ROOT, Settings

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
VARIANTS = ("base", "overlays/single", "overlays/separate-runners", "overlays/serverless")
KNATIVE = "serving.knative.dev/v1"
PORTS = {"api": 3000, "network": 3001, "gate": 3001}
Manifest = dict[str, Any]


def load(path: Path) -> list[Manifest]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def render(folder: Path) -> list[Manifest]:
    """What `kubectl kustomize` makes of ``folder``, for the few of its features that we use; no other one passes."""
    (kustomization,) = load(folder / "kustomization.yaml")
    assert set(kustomization) <= {"apiVersion", "kind", "namespace", "resources", "patches"}
    manifests: list[Manifest] = []
    for name in kustomization["resources"]:
        path = folder / name
        manifests += render(path) if path.is_dir() else load(path)
    for entry in kustomization.get("patches", []):
        patch = yaml.safe_load(entry["patch"])
        if isinstance(patch, dict):
            assert set(patch) == {"$patch", "apiVersion", "kind", "metadata"}
            assert patch["$patch"] == "delete"
            gone = [m for m in manifests if identity(m)[:3] == (*identity(patch)[:2], patch["metadata"]["name"])]
            assert len(gone) == 1, patch
            manifests.remove(gone[0])
            continue
        target = entry["target"]
        assert set(target) <= {"kind", "name"}
        chosen = [m for m in manifests if m["kind"] == target["kind"]]
        chosen = [m for m in chosen if m["metadata"]["name"] == target.get("name", m["metadata"]["name"])]
        assert chosen, target
        for manifest in chosen:
            for operation in patch:
                apply(manifest, copy.deepcopy(operation))
    for manifest in manifests:
        if manifest["kind"] != "Namespace":
            manifest["metadata"]["namespace"] = kustomization["namespace"]
    return manifests


def identity(manifest: Manifest) -> tuple[str, str, str, str]:
    about = manifest["metadata"]
    return manifest["apiVersion"], manifest["kind"], about["name"], about.get("namespace", "")


def apply(manifest: Manifest, operation: Manifest) -> None:
    """One operation of RFC 6902."""
    *parents, last = operation["path"].strip("/").split("/")
    place: Any = manifest
    for step in parents:
        place = place[int(step)] if isinstance(place, list) else place[step]
    match operation["op"], place:
        case "add", list():
            assert last == "-"
            place.append(operation["value"])
        case "add", dict():
            place[last] = operation["value"]
        case "replace", dict():
            assert last in place, operation
            place[last] = operation["value"]
        case "remove", dict():
            del place[last]
        case _:
            pytest.fail(f"unknown operation {operation}")


def rendered() -> dict[str, list[Manifest]]:
    return {name: render(KUBERNETES / name) for name in VARIANTS}


def pods(manifests: list[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """Every workload with its pod template."""
    for manifest in manifests:
        if manifest["kind"] == "CronJob":
            yield manifest, manifest["spec"]["jobTemplate"]["spec"]["template"]
        elif manifest["kind"] == "Deployment" or manifest["apiVersion"] == KNATIVE:
            yield manifest, manifest["spec"]["template"]


def texts() -> Iterator[tuple[Path, str]]:
    for path in sorted(DEPLOY.rglob("*")):
        if path.is_file():
            yield path, path.read_text()


def sample_names() -> set[str]:
    """Every name that `/metrics` may show, with the names that the rules record."""
    from prometheus_client.parser import text_string_to_metric_families

    from http_metrics import Metrics
    from runners.prediction import ApiError, ModelTags

    class Watched:
        depth = rows_recorded = rows_dropped = windows_flushed = windows_sent = kept = lost = 0
        feedback_ok, ended, last_error = True, False, None

    metrics = Metrics()
    metrics.request("POST", "/classify", 200, 0.1)
    metrics.refused(ApiError(400, "not_an_image", ""))
    metrics.batch(1, 0.1)
    metrics.serve(Settings(_env_file=None), ModelTags(cnn="c", forest="f"), ["cat"])  # type: ignore[call-arg]
    metrics.watch(Watched(), Watched(), Watched(), Watched())  # type: ignore[arg-type]
    families = text_string_to_metric_families(metrics.text().decode())
    names = {sample.name for family in families for sample in family.samples}
    return names | {rule["record"] for rule in rules() if "record" in rule} | {"up"}


def rules() -> list[dict[str, Any]]:
    (file,) = load(DEPLOY / "prometheus-rules.yml")
    return [rule for group in file["groups"] for rule in group["rules"]]
