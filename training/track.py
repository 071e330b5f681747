"""Training runs in MLflow, and its registry: which version is the champion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitoring.tracking import TRAINING, client, experiment_id
from runners.artifacts import CNN
from runners.store import Served
from settings import Settings
from training.config import TrainConfig
from training.dataset import read_manifest
from training.evaluate import Evaluation
from training.ood_lab import RESULT
from training.ood_page import PAGE
from training.report import plots_folder
from training.robustness import SEVERITIES
from training.runs import Run

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CHALLENGER = "champion", "challenger"
"""Aliases in the registry: what is served, and the latest challenger that was not promoted."""
_CNN_TAG, _FOREST_TAG = "bentoml.cnn", "bentoml.forest"


def log_run(settings: Settings, config: TrainConfig, run: Run, data_digest: str, evaluation: Evaluation) -> str:
    """Log configuration, curves, results, report, plots and model files of a run; its MLflow id comes back."""
    from mlflow.entities import Metric, Param

    mlflow = client(settings)
    run_id: str = mlflow.create_run(experiment_id(settings, TRAINING), run_name=run.folder.name).info.run_id
    params = {**config.model_dump(mode="json"), "data_digest": data_digest}
    mlflow.log_inputs(run_id, [_dataset_input(settings, data_digest)])
    mlflow.log_batch(run_id, params=[Param(name, str(value)) for name, value in params.items()])
    epochs = evaluation.history
    curves = [Metric(n, v, 0, int(line["epoch"])) for line in epochs for n, v in line.items() if n != "epoch"]
    curves += [
        Metric(f"robustness/{name}", cell.accuracy, 0, severity)
        for name, cells in evaluation.robustness.corruptions.items()
        for severity, cell in zip(SEVERITIES, cells, strict=True)
    ]
    final = evaluation.headline() | {
        f"speed/ms_batch_{rate.batch}": rate.milliseconds for rate in evaluation.speed.rates
    }
    mlflow.log_batch(run_id, metrics=curves + [Metric(name, value, 0, len(epochs)) for name, value in final.items()])
    mlflow.log_dict(run_id, evaluation.model_dump(mode="json"), "evaluation.json")
    for path in (run.report, run.ood, run.folder / RESULT, run.folder / PAGE):
        if path.is_file():
            mlflow.log_artifact(run_id, str(path))
    mlflow.log_artifacts(run_id, str(plots_folder(run)), "plots")
    mlflow.log_artifacts(run_id, str(run.cnn), "cnn")
    mlflow.log_artifacts(run_id, str(run.forest), "forest")
    mlflow.set_terminated(run_id)
    return run_id


def _dataset_input(settings: Settings, digest: str) -> DatasetInput:
    """The prepared dataset as MLflow knows datasets: name, digest and where it lies."""
    from mlflow.entities import Dataset, DatasetInput

    folder = (settings.var / "dataset").resolve()
    source = json.dumps({"uri": folder.as_uri()})
    manifest = read_manifest(folder) or {}
    profile = json.dumps({"classes": manifest.get("classes", {})})
    return DatasetInput(Dataset("photos", digest[:36], "local", source, profile=profile))


def add_version(settings: Settings, pair: Served, cnn: Path, forest: Path, run_id: str | None) -> str:
    """A version of ``pair`` in MLflow's registry, without an alias yet; its number comes back.

    ``run_id``: the run that logged the folders ``cnn`` and ``forest``; where it is None one is made.
    """
    tags = {_CNN_TAG: pair.cnn_tag, _FOREST_TAG: pair.forest_tag}
    return _version(settings, run_id or log_pair(settings, pair.cnn_tag, cnn, forest), tags)


def name_challenger(settings: Settings, run_id: str, reason: str) -> str:
    """Keep a challenger that was not promoted in the registry, under the alias `challenger`."""
    version = _version(settings, run_id, {"verdict": reason})
    client(settings).set_registered_model_alias(CNN, CHALLENGER, version)
    return version


def log_pair(settings: Settings, name: str, cnn: Path, forest: Path, verdict: dict[str, Any] | None = None) -> str:
    """A run that has the pair as artifacts, and the ``verdict`` on a challenger with its numbers; its id comes back."""
    mlflow = client(settings)
    run_id: str = mlflow.create_run(experiment_id(settings, TRAINING), run_name=name).info.run_id
    mlflow.log_artifacts(run_id, str(cnn), "cnn")
    mlflow.log_artifacts(run_id, str(forest), "forest")
    if verdict is not None:
        mlflow.log_dict(run_id, verdict, "verdict.json")
        mlflow.set_tag(run_id, "verdict", verdict["reason"])
        for comparison in verdict["comparisons"]:
            place = comparison["name"].replace(" ", "_")
            for who in ("champion", "challenger", "difference"):
                mlflow.log_metric(run_id, f"{place}/{who}", comparison[who])
    mlflow.set_terminated(run_id)
    return run_id


def point_champion(settings: Settings, version: str) -> None:
    """Move the alias `champion` to the registry's ``version``."""
    client(settings).set_registered_model_alias(CNN, CHAMPION, version)


def champion_tag(settings: Settings) -> str | None:
    """The BentoML tag of the version that the alias `champion` names, None where there is none."""
    from mlflow.exceptions import MlflowException

    try:
        version = client(settings).get_model_version_by_alias(CNN, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # no model, no alias
            return None
        raise
    tag = version.tags.get(_CNN_TAG)
    return None if tag is None else str(tag)


def find_version(settings: Settings, cnn_tag: str) -> str | None:
    """The number of the registry's version of BentoML tag ``cnn_tag``, None where there is none."""
    found = _versions_of(settings, cnn_tag)
    return str(found[0].version) if found else None


def run_of_version(settings: Settings, cnn_tag: str) -> str | None:
    """The run that has the files of BentoML tag ``cnn_tag``, None where MLflow does not know it."""
    found = _versions_of(settings, cnn_tag)
    return str(found[0].run_id) if found and found[0].run_id else None


def _versions_of(settings: Settings, cnn_tag: str) -> list[ModelVersion]:
    versions = client(settings).search_model_versions(f"name = '{CNN}'", max_results=10_000)
    return [version for version in versions if version.tags.get(_CNN_TAG) == cnn_tag]


def _version(settings: Settings, run_id: str, tags: dict[str, str]) -> str:
    from mlflow.exceptions import MlflowException

    mlflow = client(settings)
    try:
        mlflow.create_registered_model(CNN)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return str(mlflow.create_model_version(CNN, f"runs:/{run_id}/cnn", run_id=run_id, tags=tags).version)
