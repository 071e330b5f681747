"""From a run's folders to a served pair: the BentoML store, the archives that are shipped, and going back."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runners.artifacts import (
    CNN,
    FOREST,
    KERAS_FILE,
    NETWORK_CARD,
    REFERENCE_FILE,
    read_network_card,
    sha256,
    write_card,
)
from runners.pipeline import Pipeline
from runners.store import RECORD, Served, StarterRecord, StoreError, open_pair
from training.card import EVALUATION
from training.runs import Run, whole
from training.sources import Labelled

MODEL_FILE = "model.yaml"
"""BentoML's description of a model."""


def load_run(run: Run) -> Pipeline:
    """The pair of a run that is not registered, loaded as it would be served."""
    cnn, forest = run.require(run.cnn, "train"), run.require(run.forest, "ood")
    return open_pair(Served(f"{CNN}:unregistered", f"{FOREST}:unregistered", cnn, forest), "openvino")[0]


def add_reference(run: Run, pipeline: Pipeline, calibration: Labelled, refuse_share: float) -> None:
    """Put the monitoring reference into the run's network folder: held-out photos, profiled as serving would."""
    from monitoring.profiles import profile
    from monitoring.rows import rows

    pixels = calibration[0]
    sizes = np.full((len(pixels), 2), pixels.shape[1], np.int64)
    table = rows(pixels, sizes, pipeline.score(pixels, batch=250), pipeline.labels, refuse_share)
    card = read_network_card(run.cnn)  # before its file changes: it verifies what is there
    right = json.dumps(right_by_answer(table["label"], np.array(pipeline.labels)[calibration[1]]))
    (run.cnn / REFERENCE_FILE).write_bytes(profile(table, refuse_share=str(refuse_share), right=right).to_bytes())
    digests = card.digests | {REFERENCE_FILE: sha256(run.cnn / REFERENCE_FILE)}
    write_card(run.cnn, NETWORK_CARD, card.model_copy(update={"digests": digests}))


def right_by_answer(answers: NDArray[np.str_], truth: NDArray[np.str_]) -> dict[str, tuple[int, int]]:
    """Class answered -> (right answers, answers): what feedback is compared with. Refused photos are left out."""
    return {
        str(name): (int((truth[answers == name] == name).sum()), int((answers == name).sum()))
        for name in np.unique(answers)
        if name != "unknown"
    }


def named(version: str) -> Served:
    """The pair of that version, and where its files lie once it is registered."""
    cnn, forest = (_folder(name) / version for name in (CNN, FOREST))
    return Served(f"{CNN}:{version}", f"{FOREST}:{version}", cnn, forest)


def register(cnn: Path, forest: Path, metadata: dict[str, Any], pair: Served) -> Served:
    """Copy two folders into the BentoML store as ``pair``, which is the latest from then on.

    The gate goes first: the network's arrival is what makes the pair visible to `latest`.
    """
    import bentoml

    card = read_network_card(cnn)
    for tag, folder in ((pair.forest_tag, forest), (pair.cnn_tag, cnn)):
        with bentoml.models.create(
            tag,
            module="runners",
            labels={"network": card.digest[:12]},
            metadata=metadata,
            context=bentoml.models.ModelContext(framework_name="keras", framework_versions={}),
        ) as model:
            shutil.copytree(folder, model.path, dirs_exist_ok=True)
    point(pair.cnn_path.name)
    return pair


def pointer() -> str | None:
    """The version that BentoML's `latest` of the network names, None where there is none."""
    try:
        return (_folder(CNN) / "latest").read_text().strip() or None
    except OSError:
        return None


def point(version: str) -> None:
    """Move `latest` of the network, at once: a reader sees the old version or the new one."""
    draft = _folder(CNN) / "latest.new"
    draft.write_text(version)
    os.replace(draft, _folder(CNN) / "latest")


def champion() -> Served:
    """The latest pair, whatever `CIFAR_CNN_TAG` says.

    Raises:
        StoreError: there is none.
    """
    version = pointer()
    if version is None or not (_folder(CNN) / version / MODEL_FILE).is_file():
        raise StoreError("the BentoML store has no model")
    return named(version)


def withdraw(pair: Served, before: str | None) -> None:
    """Undo `register`: ``before`` is the latest version again, and the files of ``pair`` go."""
    if before is not None:
        point(before)
    for folder in (pair.cnn_path, pair.forest_path):
        shutil.rmtree(folder, ignore_errors=True)
    mend()


def versions(name: str) -> list[Path]:
    """Folders of the whole versions of model ``name``, the newest first."""
    import bentoml

    found = [path.parent for path in _folder(name).glob(f"*/{MODEL_FILE}")]
    times = {path: bentoml.models.get(f"{name}:{path.name}").info.creation_time for path in found}
    return sorted(found, key=lambda path: times[path], reverse=True)


def same_network(folder: Path, version: str | None) -> bool:
    """Whether ``folder`` has the network of ``version``; either may be damaged."""
    cards = [path / NETWORK_CARD for path in (folder, _folder(CNN) / (version or "nothing"))]
    try:
        one, other = (json.loads(card.read_text())["digests"][KERAS_FILE] for card in cards)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(one == other)


def mend() -> None:
    """Put right what a process left that was killed while it registered: half a copy, or a pointer to nothing.

    A folder without BentoML's description of a model is none; it would break every listing of the store.
    """
    for name in (CNN, FOREST):
        for folder in _folder(name).glob("*/"):
            if not (folder / MODEL_FILE).is_file():
                shutil.rmtree(folder)
    version = pointer()
    there = version is not None and (_folder(CNN) / version / MODEL_FILE).is_file()
    if not there and (whole_ones := versions(CNN)):
        point(whole_ones[0].name)


def _folder(name: str) -> Path:
    return Path(os.environ["BENTOML_HOME"]) / "models" / name


def export(pair: Served, folder: Path, record: dict[str, Any], evaluation: dict[str, Any]) -> Path:
    """Write the pair's archives, `record.json` and the evaluation into ``folder``, in place of what was there."""
    import bentoml

    with whole(folder) as scratch:
        archives = {}
        for tag in (pair.cnn_tag, pair.forest_tag):
            path = scratch / f"{tag.replace(':', '-')}.bentomodel"
            bentoml.models.export_model(tag, str(path.resolve()))
            archives[path.name] = sha256(path)
        tags = {CNN: pair.cnn_tag, FOREST: pair.forest_tag}
        text = StarterRecord(**record, tags=tags, archives=archives).model_dump_json(indent=2)
        (scratch / RECORD).write_text(text + "\n")
        (scratch / EVALUATION).write_text(json.dumps(evaluation, indent=2) + "\n")
    return folder / RECORD


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON, whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=2) + "\n")
    os.replace(partial, path)
