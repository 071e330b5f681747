"""The Kubernetes manifests agree with the schemas, the code and each other."""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from fastapi import FastAPI

from settings import ROOT, Settings
from tests.deployed import KNATIVE, KUBERNETES, PORTS, VARIANTS, Manifest, identity, load, pods, rendered

OLDEST, LATEST = "1.30", "1.37"
"""The versions of Kubernetes whose schemas the manifests are held against."""


@pytest.fixture(scope="module")
def variants() -> dict[str, list[Manifest]]:
    return rendered()


def as_pod(template: Manifest) -> Manifest:
    """A Knative revision as the pod that it becomes: without Knative's own fields, its probes with their port."""
    spec = copy.deepcopy(template["spec"])
    for name in ("containerConcurrency", "timeoutSeconds"):
        assert isinstance(spec.pop(name), int)
    for container in spec["containers"]:
        for probe in ("readinessProbe", "livenessProbe"):
            container[probe]["httpGet"].setdefault("port", PORTS["api"])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "revision"}, "spec": spec}


def test_every_manifest_is_valid(variants: dict[str, list[Manifest]]) -> None:
    import kubernetes_validate

    everything = [m for name in VARIANTS for m in variants[name]] + load(KUBERNETES / "secret.example.yaml")
    pods_of_knative = [as_pod(m["spec"]["template"]) for m in everything if m["apiVersion"] == KNATIVE]
    known = [m for m in everything if m["apiVersion"] != KNATIVE] + pods_of_knative
    assert len(pods_of_knative) == 1
    different = {json.dumps(m, sort_keys=True): m for m in known}.values()
    assert len(different) >= 20
    for manifest in different:
        for version in (OLDEST, LATEST):
            assert kubernetes_validate.validate(manifest, version, strict=True) == version
    wrong = copy.deepcopy(next(m for m in known if m["kind"] == "Deployment"))
    wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readinesProbe"):
        kubernetes_validate.validate(wrong, LATEST, strict=True)


KNATIVE_KEYS = {
    "service": {"apiVersion", "kind", "metadata", "spec"},
    "metadata": {"name", "namespace", "labels", "annotations"},
    "spec": {"template", "traffic"},
    "template": {"metadata", "spec"},
    "template metadata": {"name", "labels", "annotations"},
    "revision": {
        *("containers", "volumes", "serviceAccountName", "imagePullSecrets", "enableServiceLinks", "securityContext"),
        *("automountServiceAccountToken", "containerConcurrency", "timeoutSeconds", "responseStartTimeoutSeconds"),
        "idleTimeoutSeconds",
    },
    "container": {
        *("name", "image", "imagePullPolicy", "args", "command", "env", "envFrom", "workingDir", "ports", "resources"),
        *("livenessProbe", "readinessProbe", "startupProbe", "securityContext", "volumeMounts"),
        *("terminationMessagePath", "terminationMessagePolicy"),
    },
    "port": {"name", "containerPort", "protocol"},
    "probe": {
        *("httpGet", "exec", "tcpSocket", "grpc", "initialDelaySeconds", "timeoutSeconds", "periodSeconds"),
        *("successThreshold", "failureThreshold"),
    },
    "volume": {"name", "secret", "configMap", "projected", "emptyDir"},
}
"""What Knative Serving v1 takes, of a pod less than Kubernetes does, with ``kubernetes.podspec-securitycontext`` as the
one feature that was enabled. No package carries its schema."""
WHOLE, TIME = r"\d+", r"\d+(\.\d+)?(ms|s|m|h)"
KNATIVE_ANNOTATIONS = {
    "class": r"(kpa|hpa)\.autoscaling\.knative\.dev",
    "metric": "concurrency|rps|cpu|memory",
    "target": r"\d+(\.\d+)?",
    "target-utilization-percentage": r"\d+(\.\d+)?",
    "min-scale": WHOLE,
    "max-scale": WHOLE,
    "initial-scale": WHOLE,
    "activation-scale": WHOLE,
    "scale-down-delay": TIME,
    "scale-to-zero-pod-retention-period": TIME,
    "window": TIME,
    "panic-window-percentage": r"\d+(\.\d+)?",
    "panic-threshold-percentage": r"\d+(\.\d+)?",
}
"""Those of the autoscaler, each with what it takes; others are ignored in silence, and so is a mistyped one."""


def check_knative_service(manifest: Manifest) -> None:
    """Fail for whatever Knative would refuse or overlook."""

    def known(part: Manifest, name: str) -> Manifest:
        assert set(part) <= KNATIVE_KEYS[name], f"{name}: {sorted(set(part) - KNATIVE_KEYS[name])}"
        return part

    known(manifest, "service")
    assert (manifest["apiVersion"], manifest["kind"]) == (KNATIVE, "Service")
    known(manifest["metadata"], "metadata")
    template = known(known(manifest["spec"], "spec")["template"], "template")
    about = known(template["metadata"], "template metadata")
    assert all(isinstance(value, str) for value in about["labels"].values())
    for name, value in about["annotations"].items():
        group, _, key = name.partition("/")
        assert group == "autoscaling.knative.dev", name
        assert isinstance(value, str), name
        assert re.fullmatch(KNATIVE_ANNOTATIONS[key], value), name
    revision = known(template["spec"], "revision")
    assert type(revision["containerConcurrency"]) is int
    assert 0 <= revision["containerConcurrency"] <= 1000
    assert type(revision["timeoutSeconds"]) is int
    assert 0 < revision["timeoutSeconds"] <= 600
    (container,) = revision["containers"]
    for name, part in known(container, "container").items():
        if name.endswith("Probe"):
            known(part, "probe")
    (port,) = container["ports"]
    assert known(port, "port").get("name", "") in ("", "http1", "h2c")
    assert "PORT" not in {entry["name"] for entry in container.get("env", [])}, "that is Knative's to set"
    for volume in revision["volumes"]:
        known(volume, "volume")


def test_the_knative_service_is_one_that_knative_takes(variants: dict[str, list[Manifest]]) -> None:
    (service,) = (m for m in variants["overlays/serverless"] if m["apiVersion"] == KNATIVE)
    check_knative_service(service)
    template = ("spec", "template")
    for path, value in (
        (("apiVersion",), "serving.knative.dev/v1beta1"),
        ((*template, "metadata", "annotations", "autoscaling.knative.dev/maxScale"), "1"),
        ((*template, "metadata", "annotations", "autoscaling.knative.dev/max-scale"), 1),
        ((*template, "metadata", "annotations", "autoscaling.knative.dev/window"), "60"),
        ((*template, "spec", "containerConcurrency"), "0"),
        ((*template, "spec", "timeoutSeconds"), 3600),
        ((*template, "spec", "terminationGracePeriodSeconds"), 30),
        ((*template, "spec", "containers", 0, "lifecycle"), {"preStop": {"sleep": {"seconds": 5}}}),
        ((*template, "spec", "containers", 0, "ports", 0, "name"), "http"),
        ((*template, "spec", "volumes", 0, "persistentVolumeClaim"), {"claimName": "cifar"}),
        (("spec", "replicas"), 2),
    ):
        wrong = copy.deepcopy(service)
        place = wrong
        for step in path[:-1]:
            place = place[step]  # type: ignore[index]
        place[path[-1]] = value  # type: ignore[index]
        with pytest.raises((AssertionError, KeyError)):
            check_knative_service(wrong)


def test_serverless_replicas_keep_nothing_of_their_own_and_the_manifest_says_what_is_kept_instead(
    variants: dict[str, list[Manifest]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from monitoring.image_store import open_images
    from monitoring.remote_images import RemoteImageStore

    manifests = variants["overlays/serverless"]
    assert "PersistentVolumeClaim" not in {m["kind"] for m in manifests}
    for _, template in pods(manifests):
        assert all(set(volume) == {"name", "emptyDir"} for volume in template["spec"]["volumes"])
    (service,) = (m for m in manifests if m["apiVersion"] == KNATIVE)
    scale = service["spec"]["template"]["metadata"]["annotations"]
    assert scale["autoscaling.knative.dev/min-scale"] == "0"
    assert int(scale["autoscaling.knative.dev/max-scale"]) > 1
    (public,) = (m["data"] for m in manifests if m["kind"] == "ConfigMap")
    (secret, _) = (m["stringData"] for m in load(KUBERNETES / "secret.example.yaml"))
    for name, value in {**public, **secret}.items():
        monkeypatch.setenv(name, value)
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    assert settings.keep_images == "all", "else feedback is a matter of the replica that predicted"
    assert not settings.page, "what is uploaded there lies on one replica"
    images = open_images(settings.images)
    assert isinstance(images, RemoteImageStore)
    assert images._files.protocol == ("s3", "s3a")
    assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= set(secret)
    assert json.loads(public["FSSPEC_S3"])["config_kwargs"]["connect_timeout"] < 5
    assert settings.retention_days <= 7
    assert ("CronJob", "cifar-purge") in {(m["kind"], m["metadata"]["name"]) for m in manifests}
    (egress,) = (
        m["spec"]["egress"] for m in manifests if (m["kind"], m["metadata"]["name"]) == ("NetworkPolicy", "cifar")
    )
    assert 443 in {port["port"] for rule in egress for port in rule["ports"]}
    for path in (KUBERNETES / "overlays" / "serverless" / "kustomization.yaml", ROOT / "docs" / "operations.md"):
        assert "PHOTO OF EVERY PREDICTION IS KEPT" in path.read_text(), path.name


def test_variants_differ_in_what_they_are_for(variants: dict[str, list[Manifest]]) -> None:
    kinds = {name: {(m["apiVersion"], m["kind"]) for m in variants[name]} for name in VARIANTS}
    scaled = {("autoscaling/v2", "HorizontalPodAutoscaler"), ("policy/v1", "PodDisruptionBudget")}
    assert scaled <= kinds["base"]
    assert scaled <= kinds["overlays/separate-runners"]
    assert not scaled & (kinds["overlays/single"] | kinds["overlays/serverless"])
    assert (KNATIVE, "Service") in kinds["overlays/serverless"]
    assert not {("v1", "Service"), ("apps/v1", "Deployment")} & kinds["overlays/serverless"]
    for name in VARIANTS:
        assert {("batch/v1", "CronJob"), ("networking.k8s.io/v1", "NetworkPolicy")} <= kinds[name]
        names = [identity(m) for m in variants[name]]
        assert len(names) == len(set(names))


@pytest.mark.parametrize("variant", VARIANTS)
def test_names_lead_to_what_is_there(variants: dict[str, list[Manifest]], variant: str) -> None:
    manifests = variants[variant]
    names = {(m["kind"], m["metadata"]["name"]) for m in manifests + load(KUBERNETES / "secret.example.yaml")}
    labels = [template["metadata"]["labels"] for _, template in pods(manifests)]
    for manifest in manifests:
        spec = manifest.get("spec", {})
        match manifest["kind"]:
            case "HorizontalPodAutoscaler":
                assert (spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]) in names
            case "PodDisruptionBudget" | "Deployment":
                assert any(spec["selector"]["matchLabels"].items() <= found.items() for found in labels)
            case "Service" if manifest["apiVersion"] == "v1":
                assert any(spec["selector"].items() <= found.items() for found in labels)
            case "NetworkPolicy":
                wanted = spec["podSelector"].get("matchLabels", {})
                assert any(wanted.items() <= found.items() for found in labels)
    for workload, template in pods(manifests):
        spec = template["spec"]
        assert ("ServiceAccount", spec["serviceAccountName"]) in names
        volumes = {volume["name"] for volume in spec["volumes"]}
        for volume in spec["volumes"]:
            if claim := volume.get("persistentVolumeClaim"):
                assert ("PersistentVolumeClaim", claim["claimName"]) in names
        for container in spec["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
            for source in container["envFrom"]:
                (kind,) = source
                assert ({"configMapRef": "ConfigMap", "secretRef": "Secret"}[kind], source[kind]["name"]) in names
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, workload["metadata"]["name"]
            assert spec["securityContext"]["runAsNonRoot"] is True
            assert {"requests", "limits"} <= set(container["resources"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_ports_and_probes_are_those_of_the_code(variants: dict[str, list[Manifest]], variant: str) -> None:
    from http_api import add_probes

    app = FastAPI()
    app.state.metrics = None
    add_probes(app, None)  # type: ignore[arg-type]
    paths = {route.path for route in app.routes if hasattr(route, "path")}
    for workload, template in pods(variants[variant]):
        part = template["metadata"]["labels"]["app.kubernetes.io/component"]
        if workload["kind"] == "CronJob":
            continue
        (container,) = template["spec"]["containers"]
        assert [port["containerPort"] for port in container["ports"]] == [PORTS[part]]
        probes = {name: container[name]["httpGet"]["path"] for name in container if name.endswith("Probe")}
        assert probes["readinessProbe"] == "/readyz"
        assert probes["livenessProbe"] == "/livez"
        assert set(probes.values()) <= paths
        for text in container.get("command", []):
            for port in re.findall(r"--port (\d+)", text):
                assert int(port) == PORTS[part]


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # BentoML's import of pathspec
def test_separate_runners_start_the_services_of_the_code(
    variants: dict[str, list[Manifest]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bentoml_cli._internal.start import build_start_command

    # Reading its arguments, BentoML configures logging, which silences the loggers of all later tests.
    monkeypatch.setattr("bentoml._internal.log.configure_logging", lambda: None)
    code = "".join((ROOT / "runners" / name).read_text() for name in ("cnn.py", "forest.py"))
    services = set(re.findall(r'@bentoml\.service\(name="(\w+)"', code))
    manifests = variants["overlays/separate-runners"]
    addresses = {
        f"http://{m['metadata']['name']}:{m['spec']['ports'][0]['port']}"
        for m in manifests
        if m["kind"] == "Service" and m["metadata"]["name"] != "cifar"
    }
    started, asked = set(), {}
    for workload, template in pods(manifests):
        if workload["kind"] != "Deployment":
            continue
        shell, flag, text = template["spec"]["containers"][0]["command"]
        assert (shell, flag) == ("sh", "-c")
        execute, python, option, module, command, *arguments = shlex.split(text)
        assert (execute, python, option, module) == ("exec", "python", "-m", "bentoml_cli._internal.start")
        parsed = build_start_command().commands[command].make_context(command, arguments).params  # type: ignore[attr-defined]
        assert parsed["host"] == "0.0.0.0"
        asked |= dict(pair.split("=", 1) for pair in parsed["depends"])
        started |= {parsed["service_name"]} - {""}
    assert started == set(asked) == services
    assert set(asked.values()) == addresses
    (settings,) = (m["data"] for m in manifests if m["kind"] == "ConfigMap")
    assert settings["CIFAR_RUNNERS"] == "separate"


def test_jobs_run_commands_that_exist(variants: dict[str, list[Manifest]]) -> None:
    from monitoring.__main__ import _parser

    commands = {}
    for workload, template in pods(variants["base"]):
        if workload["kind"] == "CronJob":
            line = " ".join(template["spec"]["containers"][0]["command"])
            ((arguments),) = re.findall(r"python -m monitoring ([\w -]+)", line)
            _parser().parse_args(arguments.split())
            commands[workload["metadata"]["name"]] = arguments.split()[0]
    assert commands == {"cifar-drift": "drift", "cifar-purge": "purge"}


@pytest.mark.parametrize(("code", "outcome"), [(0, 0), (1, 1), (2, 0), (3, 3)])
def test_the_drift_job_fails_on_drift_and_on_errors_only(
    variants: dict[str, list[Manifest]], tmp_path: Path, code: int, outcome: int
) -> None:
    template = next(t for w, t in pods(variants["base"]) if w["metadata"]["name"] == "cifar-drift")
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexit {code}\n")
    python.chmod(0o755)
    command = template["spec"]["containers"][0]["command"]
    done = subprocess.run(command, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, check=False)
    assert done.returncode == outcome


@pytest.mark.parametrize("variant", VARIANTS)
def test_configured_values_are_valid_and_close_the_door(
    variants: dict[str, list[Manifest]], variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy import make_url

    from http_lifecycle import refuse_open_door

    (public,) = (m["data"] for m in variants[variant] if m["kind"] == "ConfigMap")
    secret, metrics = (m["stringData"] for m in load(KUBERNETES / "secret.example.yaml"))
    for name, value in {**public, **secret}.items():
        monkeypatch.setenv(name, value)
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    refuse_open_door(settings, ["0.0.0.0"])
    assert metrics["token"] in settings.api_tokens
    assert make_url(settings.database).drivername == "postgresql+psycopg"
    assert str(settings.var) == "/var/lib/cifar"
    assert (settings.mlflow_uri is None) == (variant == "overlays/single")
