"""The steps of the command line: what each reads, what it writes into the run, what it returns."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitoring.bursts import class_folder, classes_line
from runners.artifacts import KERAS_FILE, ArtifactError, read_network_card
from runners.gate import FEATURES
from runners.network import Network, from_keras
from runners.pipeline import Pipeline
from runners.store import Served, StoreError, load_pipeline, open_pair, served
from settings import ROOT, Settings
from training import corrections, dataset, ood_lab, ood_page, promotion, register
from training import retrain as retraining
from training.capture import capture
from training.config import TrainConfig
from training.evaluate import Evaluation, evaluate, network_size, summary
from training.export import export_gate, export_network, outputs
from training.fit import fit, history
from training.gate import fit_gate
from training.network import MOMENTUM, trained_form
from training.ood_known import KnownPhotos, known_photos
from training.ood_lab import Lab
from training.precision import resolved
from training.prepare import PAGE
from training.prepare import prepare as prepare_dataset
from training.register import load_run, write_json
from training.report import write_report
from training.retrain import Verdict
from training.runs import Run, RunError, open_run, whole
from training.sources import Progress
from training.unknowns import read_unknowns

if TYPE_CHECKING:
    import keras


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
        start = go_on_from(pair_of(settings, config.start), config, data) if config.start else None
        teachers = [teacher(pair_of(settings, tag), config, data.labels) for tag in config.teachers]
        model = fit(config, data["train"], data["validation"], len(data.labels), run.fit, progress, start, teachers)
        with whole(run.cnn) as folder:
            record = {"config": config.model_dump(mode="json"), "data_digest": data.digest}
            export_network(model, folder, data.labels, data["validation"], record, mirror=config.mirror)
    last = history(run.fit)[-1]
    return {"run": str(run.folder), "epochs": last["epoch"], "validation_accuracy": last["val_accuracy"]}


def pair_of(settings: Settings, tag: str) -> Served:
    """The network ``tag`` and its gate; raises `StoreError` where they are not in the BentoML store."""
    return served(settings.model_copy(update={"cnn_tag": tag}))


def go_on_from(pair: Served, config: TrainConfig, data: dataset.Dataset) -> keras.Model:
    """The network of ``pair``, to be trained on ``data``, all of which it may see again.

    Raises:
        ArtifactError: it is damaged.
        RetrainError: a class that it lacks has no photo among them.
    """
    before, _ = open_pair(pair, "openvino")
    return retraining.start_from(pair.cnn_path, before, data.labels, data["train"], config, MOMENTUM)


def teacher(pair: Served, config: TrainConfig, labels: tuple[str, ...]) -> Network:
    """The network of ``pair`` as a student of the classes ``labels`` asks it: without the mirror image.

    The student's own mirror image stands in for that of the teacher, for half of the operations.

    Raises:
        ArtifactError: it is damaged.
        RunError: its classes are others.
    """
    import keras

    if open_pair(pair, "openvino")[0].labels != labels:
        raise RunError(f"{pair.cnn_tag} cannot teach: its classes are not those of the dataset, in the same order")
    network = keras.saving.load_model(pair.cnn_path / KERAS_FILE, compile=False)
    return from_keras(trained_form(network, weight_decay=0.0, precision=resolved(config.precision)))


def ood(settings: Settings, config: TrainConfig) -> dict[str, Any]:
    """Compare the scores on unknown photos, fit the gate on the features that the choosing half finds best."""
    from runners.network import load_network

    run, data = run_of(settings, config)
    card = read_network_card(run.require(run.cnn, "train"))
    if not len(data["test"][0]):
        raise RunError("the dataset has no test photos to compare scores on: it is too small")
    network = load_network(run.cnn)
    photos = known_photos(network, data, card.temperature)
    unknown = ood_lab.measure(network, read_unknowns(settings.data_root, settings.var / "dataset", config.seed))
    choice = ood_lab.choose(photos, unknown, config.gate_trees, config.seed)
    gate = fit_pair_gate(run, data, config, choice.names, photos).gate
    known, sources = outputs(network, data["test"][0]), data.sources["test"]
    lab = Lab(photos, unknown, known, sources, data.labels, config.gate_trees, config.seed)
    result = {"network": card.digest, **ood_lab.report(lab, gate, choice, settings.refuse_share)}
    write_json(run.ood, ood_lab.brief(result))
    write_json(run.folder / ood_lab.RESULT, result)
    page = run.folder / ood_page.PAGE
    page.write_text(ood_page.page(run.folder.name, result))
    targets = {t["name"]: {key: t[key] for key in ("measured", "wanted", "best", "met")} for t in result["targets"]}
    return {"network": card.digest[:12], "features": list(choice.names), "targets": targets, "lab": str(page)}


def fit_pair_gate(
    run: Run,
    data: dataset.Dataset,
    config: TrainConfig,
    names: Sequence[str] = FEATURES,
    photos: KnownPhotos | None = None,
) -> Pipeline:
    """The gate on the scores ``names``, and the monitoring reference, of the run's network; the pair comes back.

    ``photos``: what `known_photos` made of ``data``, where the caller has it.
    """
    from runners.network import load_network

    card = read_network_card(run.cnn)
    photos = photos or known_photos(load_network(run.cnn), data, card.temperature)
    fitting = photos.fitting
    gate = fit_gate(fitting.held_out, fitting.known, photos.calibration, names, config.gate_trees, config.seed)
    with whole(run.forest) as folder:
        export_gate(gate, folder, card, {"trees": config.gate_trees, "seed": config.seed, "data_digest": data.digest})
    pipeline = load_run(run)
    register.add_reference(run, pipeline, data["calibration"], Settings().refuse_share)
    return pipeline


def evaluate_run(settings: Settings, config: TrainConfig, progress: Progress) -> dict[str, Any]:
    """Read the test set, once, with the pair as it is served; write the report and log the run to MLflow."""
    from training.track import log_run

    run, data = run_of(settings, config)
    pipeline = load_run(run)
    unknown = json.loads(run.require(run.ood, "ood").read_text())
    test, sources = data["test"], data.sources["test"]
    if not len(test[1]):
        raise RunError("the dataset has no test photos; nothing can be evaluated")
    size = network_size(run.cnn)
    result = evaluate(pipeline, test, sources, settings.refuse_share, size, unknown, history(run.fit), progress)
    write_report(run, config, result, test[0])
    mlflow_run = log_run(settings, config, run, data.digest, result)
    write_json(run.evaluation, {**result.model_dump(mode="json"), "mlflow_run": mlflow_run})
    print(summary(result), file=sys.stderr)
    return {"report": str(run.report), "mlflow_run": mlflow_run, **result.headline()}


def register_run(settings: Settings, config: TrainConfig, command: str, export: Path | None) -> dict[str, Any]:
    """Make the run's pair the served one; with ``export``, also write its archives and their record."""
    run, data = run_of(settings, config)
    load_run(run)  # refuses a damaged or mismatched pair before anything is registered
    raw = json.loads(run.require(run.evaluation, "evaluate").read_text())
    mlflow_run = raw.pop("mlflow_run")
    metrics = Evaluation.model_validate(raw).headline()
    metadata = {"metrics": metrics, "config": config.name, "data_digest": data.digest, "mlflow_run": mlflow_run}
    promotion.reconcile(settings)
    pair = promotion.promote(settings, run.cnn, run.forest, metadata, mlflow_run)
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
        result["record"] = str(register.export(pair, export, record, raw))
    return result


def retrain(
    settings: Settings,
    config: TrainConfig,
    classes: Path,
    progress: Progress,
    *,
    anew: bool,
    base_images: int | None,
    least_photos: int,
    trusted: Sequence[str] = (),
) -> dict[str, Any]:
    """Train a challenger on base data and accepted corrections; serve it if `training.retrain.judge` says so.

    Raises:
        RetrainError: the configuration names a network to start from or teachers, or there is nothing to train on.
    """
    from monitoring.feedback import FeedbackStore
    from training import track

    if config.start or config.teachers:
        raise corrections.RetrainError(
            f"{config.name}: start and teachers are for train; retrain goes on from the served network"
        )
    promotion.reconcile(settings)  # says that MLflow is away before the fit, not after it
    pair = served(settings)
    prepare_dataset(classes, settings.data_root, settings.var / "dataset", progress)
    base = dataset.load(settings.var / "dataset")
    found = corrections.collect(FeedbackStore.open(settings), base.labels, least_photos, trusted)
    run, verdict = challenge(settings, config, pair, base, found, progress, anew=anew, base_images=base_images)
    print(retraining.table([*verdict.comparisons, *verdict.by_class]), file=sys.stderr)
    body = verdict.model_dump(mode="json")
    write_json(run.folder / "verdict.json", body)
    mlflow_run = track.log_pair(settings, run.folder.name, run.cnn, run.forest, body)
    result: dict[str, Any] = {"champion": pair.cnn_tag, **body}
    if verdict.promoted:
        metadata = {"retrained_from": pair.cnn_tag, "data_digest": base.digest, "mlflow_run": mlflow_run}
        result["cnn"] = promotion.promote(settings, run.cnn, run.forest, metadata, mlflow_run).cnn_tag
    else:
        track.name_challenger(settings, mlflow_run, verdict.reason)
    return result


def challenge(
    settings: Settings,
    config: TrainConfig,
    pair: Served,
    base: dataset.Dataset,
    found: corrections.Corrections,
    progress: Progress,
    *,
    anew: bool = False,
    base_images: int | None = None,
) -> tuple[Run, Verdict]:
    """A challenger of ``pair`` that was trained on ``base`` and the corrections ``found``, and what is to be said of
    it."""
    champion, _ = open_pair(pair, "openvino")
    data = corrections.with_new_classes(base, found)
    mixed = retraining.with_corrections(base["train"], found.trained, base_images, config.seed)
    key = "\n".join((dataset.digest_of(mixed), *found.labels, pair.cnn_tag, str(anew)))
    run = open_run(settings.var / "runs", config, key)
    if not run.cnn.is_dir():
        start = None if anew else retraining.start_from(pair.cnn_path, champion, found.labels, mixed, config)
        before = None if start is None else start.get_weights()
        model = fit(config, mixed, data["validation"], len(data.labels), run.fit, progress, start)
        if before is not None:
            retraining.blend(model, before)
        if found.new_classes:
            retraining.temper(model, len(base.labels), data["validation"])
        with whole(run.cnn) as folder:
            record = {"config": config.model_dump(mode="json"), "data_digest": data.digest, "champion": pair.cnn_tag}
            export_network(model, folder, data.labels, data["validation"], record, mirror=config.mirror)
    challenger = fit_pair_gate(run, data, config, champion.gate.names)
    return run, retraining.judge(champion, challenger, data, found)


def rollback(settings: Settings, *, mlflow: bool = True) -> dict[str, Any]:
    """Serve the pair before the latest one again."""
    pair = promotion.rollback(settings, mlflow=mlflow)
    return {"cnn": pair.cnn_tag, "forest": pair.forest_tag}


def commit() -> str:
    """The commit of this code, with `-dirty` where the working tree differs; "unknown" outside a checkout."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
