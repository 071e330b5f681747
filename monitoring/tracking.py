"""The one module that knows MLflow: the store, the run of each deployed model, its windows of traffic."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitoring.profiles import Profile
from settings import Settings

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

MONITORING, TRAINING = "monitoring", "training"
"""The two experiments."""
_CNN, _FOREST, _REPLICA = "cifar.cnn", "cifar.forest", "cifar.replica"
_FOLDER, _REPORTS, _TIME = "windows", "drift", "%Y%m%dT%H%M%S.%fZ"
_MEANS = ("brightness", "contrast", "saturation", "sharpness", "confidence", "entropy", "energy", "ood_score")


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """A flushed profile in MLflow: when it ended (UTC), which replica wrote it, and where it lies."""

    end: datetime
    replica: str
    run_id: str
    path: str


def client(settings: Settings) -> MlflowClient:
    """An MLflow client of ``settings.mlflow``; the first one on a new SQLite file creates its tables (seconds)."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow.tracking import MlflowClient

    for name in ("mlflow", "alembic"):  # set after the import, which resets them
        logging.getLogger(name).setLevel(logging.WARNING)
    make_file(settings)
    return MlflowClient(settings.mlflow)


def make_file(settings: Settings) -> None:
    """Make the SQLite file of a new store beside its place, then move it there; nothing where there is one.

    MLflow makes its tables in dozens of steps that SQLite does not undo: a process that ends among them, such as a
    server that is stopped in its first seconds, would leave a file that no MLflow can open again.
    """
    name = settings.mlflow.removeprefix("sqlite:///")
    if name == settings.mlflow or Path(name).exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    file = Path(name)
    draft = file.with_name(f"{file.name}.draft")
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f"{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if file.exists():  # another process was first
            return
        for left in (draft, draft.with_name(f"{draft.name}-journal")):
            left.unlink(missing_ok=True)
        open_store: Any = SqlAlchemyStore  # untyped
        open_store(f"sqlite:///{draft}", str(settings.mlflow_artifacts)).engine.dispose()
        os.replace(draft, file)


def ensure_store(settings: Settings) -> None:
    """Create the store and both experiments where they are missing; harmless to repeat. Call before workers start."""
    for name in (MONITORING, TRAINING):
        experiment_id(settings, name)


def experiment_id(settings: Settings, name: str) -> str:
    """The id of experiment ``name``, created where it is missing.

    A store that this process opens itself (no tracking server) keeps artifacts in ``settings.mlflow_artifacts``, where
    MLflow's own choice would be a folder ``mlruns`` in the working directory.
    """
    from mlflow.exceptions import MlflowException

    mlflow = client(settings)
    found = mlflow.get_experiment_by_name(name)
    if found is None:
        served = settings.mlflow.startswith(("http://", "https://", "databricks"))
        location = None if served else (settings.mlflow_artifacts.resolve() / name).as_uri()
        try:
            return str(mlflow.create_experiment(name, artifact_location=location))
        except MlflowException:
            found = mlflow.get_experiment_by_name(name)  # another process was first
            if found is None:
                raise
    return str(found.experiment_id)


def model_run(settings: Settings, cnn_tag: str, forest_tag: str = "", replica: str = "") -> str:
    """The run that collects the traffic of the deployed model ``cnn_tag``: found by its tag, else created.

    ``forest_tag`` and ``replica`` (who created the run) are kept as tags of a new run. Replicas share the run; should
    two create one at the same instant, `windows` reads both, and a window that went into both once.
    """
    found = _runs(settings, cnn_tag)
    if found:
        return found[0]
    tags = {_CNN: cnn_tag, _FOREST: forest_tag, _REPLICA: replica, "mlflow.runName": cnn_tag}
    run = client(settings).create_run(experiment_id(settings, MONITORING), tags={k: v for k, v in tags.items() if v})
    return str(run.info.run_id)


def headline(profile: Profile) -> dict[str, float]:
    """The numbers of a window that MLflow draws: rows, means, share of each label and of refusals (0..1)."""
    numbers = {"rows": float(profile.rows)}
    for name in _MEANS:
        if name in profile.columns and profile.numeric(name).count:
            numbers[f"mean_{name}"] = profile.numeric(name).mean
    if "accepted_confidence" in profile.columns and profile.numeric("accepted_confidence").count:
        numbers["estimated_accuracy"] = profile.numeric("accepted_confidence").mean
    if "refused" in profile.columns:
        numbers["refusal_share"] = profile.categorical("refused").shares.get("yes", 0.0)
    if "label" in profile.columns:
        for label, share in profile.categorical("label").shares.items():
            numbers[f"label_share/{_safe(label)}"] = share
    return numbers


def log_window(settings: Settings, run_id: str, profile: Profile, *, end: datetime, replica: str) -> Window:
    """Store a window: the profile as artifact, its `headline` as metrics with ``end`` (UTC) as time and step (seconds).

    Repeating the call with the same arguments stores nothing twice. Raises MlflowException or OSError where the store
    cannot be reached.
    """
    from mlflow.entities import Metric

    mlflow = client(settings)
    path = f"{_FOLDER}/{end:%Y-%m-%d}/{window_name(end, replica)}"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / Path(path).name
        file.write_bytes(profile.to_bytes())
        mlflow.log_artifact(run_id, str(file), str(Path(path).parent))
    at = int(end.timestamp() * 1000)
    mlflow.log_batch(run_id, metrics=[Metric(k, v, at, at // 1000) for k, v in headline(profile).items()])
    return Window(end, _safe(replica), run_id, path)


def windows(settings: Settings, cnn_tag: str, since: datetime | None = None, last: int | None = None) -> list[Window]:
    """The windows of model ``cnn_tag``, oldest first: ended at or after ``since``, at most the ``last`` ones.

    Replicas that share a spool folder may send a window twice, and into two runs (see `model_run`): it is one window.
    """
    mlflow = client(settings)
    found: list[Window] = []
    for run_id in _runs(settings, cnn_tag):
        days = sorted((f.path for f in mlflow.list_artifacts(run_id, _FOLDER)), reverse=True)
        of_run: list[Window] = []
        for day in days:  # newest first, so that a long history is not listed for a short question
            if since is not None and Path(day).name < f"{since.astimezone(UTC):%Y-%m-%d}":
                break
            of_run += [w for f in mlflow.list_artifacts(run_id, day) if (w := _window(run_id, f.path))]
            if last is not None and len(of_run) >= last:
                break
        found += of_run
    once = {(w.end, w.replica): w for w in found if since is None or w.end >= since}
    chosen = sorted(once.values())
    return chosen if last is None else chosen[max(0, len(chosen) - last) :]


def read_windows(settings: Settings, chosen: list[Window]) -> Iterator[bytes]:
    """The profile bytes of ``chosen``, in their order; leaves no file behind."""
    stores = {run_id: _artifacts(settings, run_id) for run_id in {window.run_id for window in chosen}}
    for window in chosen:
        yield _read(stores[window.run_id], window.path)


def reports(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Every drift report of every model: run id, path and HTML. Makes no store where there is none."""
    from mlflow.entities import ViewType

    file = settings.mlflow.removeprefix("sqlite:///")
    if file != settings.mlflow and not Path(file).is_file():
        return
    mlflow = client(settings)
    experiment = mlflow.get_experiment_by_name(MONITORING)
    runs = mlflow.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL) if experiment else []
    for run_id in [run.info.run_id for run in runs]:
        store = _artifacts(settings, run_id)
        for found in store.list_artifacts(_REPORTS):
            if found.path.endswith(".html"):
                yield run_id, found.path, _read(store, found.path).decode()


def replace_report(settings: Settings, run_id: str, path: str, html: str) -> None:
    """Put ``html`` in the place of a report that `reports` found."""
    client(settings).log_text(run_id, html, path)


def log_report(settings: Settings, run_id: str, html: str, *, drifted: bool, smallest_p: float, at: datetime) -> str:
    """Store a drift report beside the windows and its verdict as metrics; the artifact's path comes back."""
    from mlflow.entities import Metric

    mlflow = client(settings)
    path = f"{_REPORTS}/{at:{_TIME}}.html"
    mlflow.log_text(run_id, html, path)
    moment = int(at.timestamp() * 1000)
    numbers = {"drift": float(drifted), "drift_smallest_adjusted_p": smallest_p}
    mlflow.log_batch(run_id, metrics=[Metric(k, v, moment, moment // 1000) for k, v in numbers.items()])
    return path


def window_name(end: datetime, replica: str) -> str:
    """File name of a window; names sort by time."""
    return f"{end.astimezone(UTC):{_TIME}}-{_safe(replica)}.bin"


def _artifacts(settings: Settings, run_id: str) -> Any:
    """The run's artifact store; the client's own calls ask the database for it for each file, ten times as slow."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    run = client(settings).get_run(run_id)
    return get_artifact_repository(run.info.artifact_uri, tracking_uri=settings.mlflow)


def _read(store: Any, path: str) -> bytes:
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    local = isinstance(store, LocalArtifactRepository)  # a variable: narrowed, its untyped method is an error to mypy
    if local:
        return Path(store.download_artifacts(path)).read_bytes()  # its own file, no copy
    with tempfile.TemporaryDirectory() as folder:
        return Path(store.download_artifacts(path, folder)).read_bytes()


def _window(run_id: str, path: str) -> Window | None:
    time, _, replica = Path(path).name.removesuffix(".bin").partition("-")
    try:
        return Window(datetime.strptime(time, _TIME).replace(tzinfo=UTC), replica, run_id, path)
    except ValueError:
        return None  # somebody else's file in our folder


def _runs(settings: Settings, cnn_tag: str) -> list[str]:
    """Ids of the monitoring runs of a model, the oldest first."""
    if not re.fullmatch(r"[\w.:-]+", cnn_tag):
        raise ValueError(f"{cnn_tag!r} is no BentoML tag.")
    found = client(settings).search_runs(
        [experiment_id(settings, MONITORING)],
        filter_string=f"tags.`{_CNN}` = '{cnn_tag}'",
        order_by=["attributes.start_time ASC"],
    )
    return [str(run.info.run_id) for run in found]


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)
