"""The steps of the command line: what each reads, what it writes into the run, what it returns."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.bursts import class_folder, classes_line
from runners.artifacts import KERAS_FILE, ArtifactError, read_network_card
from runners.store import Served, StoreError, load_pipeline, open_pair, served
from settings import ROOT, Settings
from training import dataset, register
from training.capture import capture
from training.config import TrainConfig
from training.evaluate import Evaluation, evaluate, generated_unknowns, summary
from training.export import export_gate, export_network, outputs
from training.fit import fit, history
from training.gate import compare, fit_gate, mean_embeddings
from training.prepare import PAGE
from training.prepare import prepare as prepare_dataset
from training.register import load_run, write_json
from training.report import figures, png, render
from training.runs import Run, open_run, whole
from training.sources import Progress, read_images

MEAN_PHOTOS = 500
"""Training photos of each class that its mean embedding is taken over."""


def run_of(settings: Settings, config: TrainConfig) -> tuple[Run, dataset.Dataset]:
    """The run of ``config`` on the prepared dataset."""
    data = dataset.load(settings.var / "dataset")
    return open_run(settings.var / "runs", config, data.digest), data


def prepare(settings: Settings, classes: Path, progress: Progress) -> dict[str, Any]:
    """Make the dataset of the classes file; its analysis, as JSON types, comes back."""
    folder = settings.var / "dataset"
    try:
        model = load_pipeline(settings)
    except (StoreError, ArtifactError):
        model = None  # nothing is served yet: the analysis does without a network
    result = prepare_dataset(classes, settings.data_root, folder, progress, model)
    return {**result, "page": str(folder / PAGE)}


def capture_burst(settings: Settings, name: str, count: int, interval: float, camera: str) -> dict[str, Any]:
    """Photograph one class; where the photos lie, and the line that makes them a class."""
    folder = class_folder(settings.data_root, name)
    photos = capture(folder, count, interval, int(camera) if camera.isdecimal() else camera)
    return {"photos": len(photos), "folder": str(photos[0].parent), "line": classes_line(name)}


def train(settings: Settings, config: TrainConfig, progress: Progress) -> dict[str, Any]:
    """Fit and export the network; a finished run is not trained again."""
    run, data = run_of(settings, config)
    if not run.cnn.is_dir():
        model = fit(config, data["train"], data["validation"], len(data.labels), run.fit, progress)
        with whole(run.cnn) as folder:
            record = {"config": config.model_dump(mode="json"), "data_digest": data.digest}
            export_network(model, folder, data.labels, data["validation"], record)
    last = history(run.fit)[-1]
    return {"run": str(run.folder), "epochs": last["epoch"], "validation_accuracy": last["val_accuracy"]}


def ood(settings: Settings, config: TrainConfig) -> dict[str, Any]:
    """Fit the gate on held-out photos and compare its scores on unknown ones."""
    run, data = run_of(settings, config)
    card = read_network_card(run.require(run.cnn, "train"))
    fit_pair_gate(run, data, config)
    pipeline = load_run(run)
    known = outputs(pipeline.network, data["test"][0])
    unknown = generated_unknowns(500, config.seed)
    for path in sorted((settings.data_root / "ood").glob("*.parquet")):
        unknown[path.stem] = read_images(settings.data_root, f"ood/{path.name}")
    result = {
        name: compare(known, outputs(pipeline.network, pixels), pipeline.gate) for name, pixels in unknown.items()
    }
    write_json(run.ood, result)
    return {"network": card.digest[:12], "scores": result}


def first_of_each(labels: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """The first ``most`` rows of each class, ascending."""
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(labels.max(initial=0) + 1))
    return np.sort(order[np.arange(len(labels)) - starts[labels[order]] < most])


def fit_pair_gate(run: Run, data: dataset.Dataset, config: TrainConfig) -> None:
    """The gate and the monitoring reference of the run's network."""
    from runners.network import load_network

    card, network = read_network_card(run.cnn), load_network(run.cnn)
    held_out, calibration = (outputs(network, data[split][0]) for split in ("validation", "calibration"))
    rows = first_of_each(data["train"][1], MEAN_PHOTOS)
    _, embedding = outputs(network, data["train"][0][rows])
    means = mean_embeddings(embedding, data["train"][1][rows], len(data.labels))
    gate = fit_gate(held_out, means, calibration, card.temperature, config.gate_trees, config.seed)
    with whole(run.forest) as folder:
        export_gate(gate, folder, card, {"trees": config.gate_trees, "seed": config.seed, "data_digest": data.digest})
    register.add_reference(run, load_run(run), data["calibration"], Settings().refuse_share)


def evaluate_run(settings: Settings, config: TrainConfig) -> dict[str, Any]:
    """Read the test set, once, with the pair as it is served; write the report and log the run to MLflow."""
    import keras

    from training.network import macs
    from training.track import log_run

    run, data = run_of(settings, config)
    pipeline = load_run(run)
    model = keras.saving.load_model(run.cnn / KERAS_FILE, compile=False)
    size = (model.count_params(), 2 * macs(model) / 1e9)
    result = evaluate(pipeline, data["test"], data.sources["test"], settings.refuse_share, *size)
    unknown = json.loads(run.require(run.ood, "ood").read_text())
    plots = {name: png(f) for name, f in figures(result, history(run.fit), pipeline.labels).items()}
    run.report.write_text(render(f"Evaluation of {run.folder.name}", result, unknown, plots))
    mlflow_run = log_run(settings, config, run, data.digest, result, unknown)
    write_json(run.evaluation, {**result.model_dump(mode="json"), "mlflow_run": mlflow_run})
    print(summary(result, unknown), file=sys.stderr)
    return {"report": str(run.report), "mlflow_run": mlflow_run, **result.headline()}


def register_run(settings: Settings, config: TrainConfig, command: str, export: Path | None) -> dict[str, Any]:
    """Make the run's pair the served one; with ``export``, also write its archives and their record."""
    from training.track import set_champion

    run, data = run_of(settings, config)
    load_run(run)  # refuses a damaged or mismatched pair before anything is registered
    raw = json.loads(run.require(run.evaluation, "evaluate").read_text())
    mlflow_run = raw.pop("mlflow_run")
    metrics = Evaluation.model_validate(raw).headline()
    metadata = {"metrics": metrics, "config": config.name, "data_digest": data.digest, "mlflow_run": mlflow_run}
    pair = register.register(run.cnn, run.forest, metadata)
    set_champion(settings, pair, mlflow_run)
    result: dict[str, Any] = {"cnn": pair.cnn_tag, "forest": pair.forest_tag}
    if export:
        record = {
            "command": command,
            "config": config.model_dump(mode="json"),
            "data_digest": data.digest,
            "commit": commit(),
            "seed": config.seed,
            "metrics": metrics,
        }
        result["record"] = str(register.export(pair, export, record))
    return result


def retrain(
    settings: Settings,
    config: TrainConfig,
    classes: Path,
    progress: Progress,
    *,
    anew: bool,
    base_images: int | None,
) -> dict[str, Any]:
    """Train a challenger on base data and accepted corrections; serve it if `training.retrain.judge` says so."""
    from monitoring.feedback import FeedbackStore
    from training import retrain as challenge
    from training.track import set_champion

    pair = served(settings)
    prepare_dataset(classes, settings.data_root, settings.var / "dataset", progress)
    data = dataset.load(settings.var / "dataset")
    champion, _ = open_pair(pair, "openvino")
    trained, held_out = challenge.corrections(FeedbackStore.open(settings), data.labels)
    mixed = challenge.with_corrections(data["train"], trained, base_images, config.seed)
    run = open_run(settings.var / "runs", config, dataset.digest_of(mixed) + pair.cnn_tag)
    if not run.cnn.is_dir():
        start = None if anew else challenge.start_from(pair.cnn_path, run.folder, len(data.labels))
        model = fit(config, mixed, data["validation"], len(data.labels), run.fit, progress, start)
        with whole(run.cnn) as folder:
            record = {"config": config.model_dump(mode="json"), "data_digest": data.digest, "champion": pair.cnn_tag}
            export_network(model, folder, data.labels, data["validation"], record)
    fit_pair_gate(run, data, config)
    verdict = challenge.judge(champion, load_run(run), data, trained, held_out)
    write_json(run.folder / "verdict.json", verdict.model_dump(mode="json"))
    result: dict[str, Any] = {"champion": pair.cnn_tag, **verdict.model_dump(mode="json")}
    if verdict.promoted:
        new = register.register(run.cnn, run.forest, {"retrained_from": pair.cnn_tag, "data_digest": data.digest})
        set_champion(settings, new, None)
        result["cnn"] = new.cnn_tag
    return result


def rollback(settings: Settings) -> dict[str, Any]:
    """Serve the pair before the latest one again."""
    from training.track import set_champion

    pair: Served = register.rollback()
    set_champion(settings, pair, None)
    return {"cnn": pair.cnn_tag, "forest": pair.forest_tag}


def commit() -> str:
    """The commit of this code, with `-dirty` where the working tree differs; "unknown" outside a checkout."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
