"""Training runs in MLflow, and which registered version is the champion."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from monitoring.tracking import TRAINING, client, experiment_id
from runners.store import CNN, Served
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

CHAMPION = "champion"


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


def set_champion(settings: Settings, pair: Served, run_id: str | None) -> str:
    """Record in MLflow's registry that ``pair`` is served now; the registry version comes back."""
    from mlflow.exceptions import MlflowException

    mlflow = client(settings)
    try:
        mlflow.create_registered_model(CNN)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"runs:/{run_id}/cnn" if run_id else pair.cnn_path.resolve().as_uri()
    tags = {"bentoml.cnn": pair.cnn_tag, "bentoml.forest": pair.forest_tag}
    version = mlflow.create_model_version(CNN, source, run_id=run_id, tags=tags).version
    mlflow.set_registered_model_alias(CNN, CHAMPION, version)
    return str(version)
