"""Compose file, image, dashboard and alerts agree with the code and with the manifests."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from settings import ROOT, Settings
from tests.deployed import DEPLOY, KUBERNETES, PORTS, load, pods, render, rendered, rules, sample_names, texts


def metrics_of(expression: str) -> set[str]:
    """Names of metrics in a PromQL ``expression``: words that are no label, function, keyword or number."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(?:by|ignoring|on|group_left)\b\s*(?:\([^)]*\))?', " ", expression)
    return {word for word in re.findall(r"[a-zA-Z_][\w:]*(?!\s*[\w(:])", bare) if word not in {"or", "and", "unless"}}


def test_every_metric_that_is_asked_for_exists() -> None:
    dashboard = json.loads((DEPLOY / "grafana/dashboards/cifar.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [rule["expr"] for rule in rules()]
    (autoscaler,) = (m for m in render(KUBERNETES / "base") if m["kind"] == "HorizontalPodAutoscaler")
    asked += [metric["pods"]["metric"]["name"] for metric in autoscaler["spec"]["metrics"]]
    (adapter,) = load(KUBERNETES / "autoscaling/prometheus-adapter-values.yaml")
    (offered,) = adapter["rules"]["custom"]
    asked.append(offered["seriesQuery"])
    assert offered["name"]["as"] == autoscaler["spec"]["metrics"][0]["pods"]["metric"]["name"]
    names = sample_names()
    for expression in asked:
        found = metrics_of(expression)
        assert found, expression
        assert found <= names, expression
    assert metrics_of('histogram_quantile(0.5, sum by (le) (rate(a_bucket{b="c"}[5m]))) or vector(0)') == {"a_bucket"}


def test_dashboard_and_scrapes_lead_to_the_service() -> None:
    (compose,) = load(DEPLOY / "compose.yaml")
    (prometheus,) = load(DEPLOY / "prometheus.yml")
    (scrape,) = prometheus["scrape_configs"]
    assert scrape["job_name"] == "cifar"
    assert scrape["static_configs"] == [{"targets": [f"cifar:{PORTS['api']}"]}]
    assert scrape["metrics_path"] == "/metrics"
    (token,) = compose["services"]["prometheus"]["secrets"]
    assert scrape["authorization"]["credentials_file"] == f"/run/secrets/{token}"
    mounted = {volume.split(":")[1] for volume in compose["services"]["prometheus"]["volumes"]}
    assert {f"/etc/prometheus/{name}" for name in (*prometheus["rule_files"], "prometheus.yml")} <= mounted
    (sources,) = load(DEPLOY / "grafana/provisioning/datasources/prometheus.yml")
    (source,) = sources["datasources"]
    assert source["url"] == "http://prometheus:9090"
    dashboard = json.loads((DEPLOY / "grafana/dashboards/cifar.json").read_text())
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {source["uid"]}
    (files,) = load(DEPLOY / "grafana/provisioning/dashboards/files.yml")
    folders = {volume.split(":")[1] for volume in compose["services"]["grafana"]["volumes"]}
    assert files["providers"][0]["options"]["path"] in folders
    (monitor,) = load(KUBERNETES / "autoscaling/pod-monitor.yaml")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    _, secret = load(KUBERNETES / "secret.example.yaml")
    assert endpoint["path"] == "/metrics"
    assert endpoint["authorization"]["credentials"]["name"] == secret["metadata"]["name"]
    assert endpoint["authorization"]["credentials"]["key"] in secret["stringData"]


COMPOSE_KEYS = {
    "": {"name", "services", "volumes", "secrets"},
    "service": {
        *("image", "build", "pull_policy", "restart", "user", "read_only", "cap_drop", "security_opt", "tmpfs"),
        *("volumes", "ports", "environment", "stop_grace_period", "healthcheck", "depends_on", "command", "secrets"),
    },
    "healthcheck": {"test", "interval", "timeout", "retries", "start_period", "start_interval"},
}
"""Those of the Compose Specification's schema that we use: a mistyped one fails."""


def test_the_compose_file_is_consistent() -> None:
    (compose,) = load(DEPLOY / "compose.yaml")
    services = compose["services"]
    assert {"cifar", "postgres", "objects", "mlflow", "prometheus", "grafana"} <= set(services)
    assert set(compose) == COMPOSE_KEYS[""]
    used = set()
    for name, service in services.items():
        assert set(service) <= COMPOSE_KEYS["service"], name
        assert set(service.get("healthcheck", {})) <= COMPOSE_KEYS["healthcheck"], name
        assert name == "cifar" or not service["image"].endswith(":latest")
        assert ":" in service["image"]
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (DEPLOY / source).exists(), volume
            else:
                used.add(source)
        for other in service.get("depends_on", []):
            condition = service["depends_on"][other]["condition"] if isinstance(service["depends_on"], dict) else ""
            assert condition != "service_healthy" or "healthcheck" in services[other]
        for secret in service.get("secrets", []):
            assert secret in compose["secrets"]
    assert used == set(compose["volumes"])
    cifar = services["cifar"]
    assert cifar["pull_policy"] == "never"
    assert cifar["read_only"] is True
    assert cifar["user"] == "10001:10001"
    assert [volume.split(":")[1] for volume in cifar["volumes"]] == [cifar["environment"]["CIFAR_VAR"]]
    assert "/readyz" in cifar["healthcheck"]["test"][-1]
    assert cifar["environment"]["CIFAR_MLFLOW_URI"] == "http://mlflow:5000"
    assert "--allowed-hosts=mlflow:5000,localhost:5000,127.0.0.1:5000" in services["mlflow"]["command"]
    mlflow = re.search(r"^mlflow==([\d.]+)", (ROOT / "requirements.txt").read_text(), re.M)
    assert mlflow
    assert f":v{mlflow[1]}\n" in (DEPLOY / "mlflow/Containerfile").read_text()
    assert services["mlflow"]["image"].endswith(f":{mlflow[1]}")


def test_the_example_of_the_environment_file_has_what_compose_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (DEPLOY / ".env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    text = (DEPLOY / "compose.yaml").read_text()
    (compose,) = load(DEPLOY / "compose.yaml")
    asked = set(re.findall(r"\$\{(\w+)", text)) | {secret["environment"] for secret in compose["secrets"].values()}
    assert asked == set(example)
    assert set(re.findall(r"\$\{\w+(.*?)\}", text)) == {":?see deploy/.env.example"}
    assert example["METRICS_TOKEN"] in json.loads(example["CIFAR_API_TOKENS"])
    for name, value in compose["services"]["cifar"]["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{(\w+):\?[^}]*\}", lambda m: example[m[1]], value))
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    assert settings.owner_token is not None
    assert settings.database == "postgresql+psycopg://cifar:replacethispassword@postgres:5432/cifar?connect_timeout=5"


def test_the_image_is_what_the_manifests_expect() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    (compose,) = load(DEPLOY / "compose.yaml")
    assert f"USER {compose['services']['cifar']['user']}\n" in text
    assert "CIFAR_VAR=/var/lib/cifar\n" in text
    assert "VOLUME /var/lib/cifar\n" in text
    assert f"EXPOSE {PORTS['api']}\n" in text
    assert "${PORT:-3000}" in text
    assert "src/requirements-serving.lock" in text
    assert "/requirements-serving.lock" in yaml.safe_load((ROOT / "bentofile.yaml").read_text())["include"]
    for manifests in rendered().values():
        for _, template in pods(manifests):
            assert template["spec"]["securityContext"]["runAsUser"] == 10001
            assert template["spec"]["containers"][0]["image"] == compose["services"]["cifar"]["image"]


def test_every_setting_named_in_deploy_exists() -> None:
    known = {f"CIFAR_{name.upper()}" for name in Settings.model_fields}
    named = {name for _, text in texts() for name in re.findall(r"\bCIFAR_[A-Z_]+", text)}
    assert {"CIFAR_API_TOKENS", "CIFAR_DATABASE_URL", "CIFAR_MLFLOW_URI", "CIFAR_VAR"} <= named
    assert named <= known
