"""From a run's folders to a served pair: the BentoML store, the archives that are shipped, and going back."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from runners.artifacts import NETWORK_CARD, REFERENCE_FILE, read_network_card, sha256, write_card
from runners.pipeline import Pipeline
from runners.store import CNN, FOREST, RECORD, Served, StarterRecord, StoreError, gate_tag, open_pair
from training.card import EVALUATION
from training.runs import Run, whole
from training.sources import Labelled


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
    (run.cnn / REFERENCE_FILE).write_bytes(profile(table, refuse_share=str(refuse_share)).to_bytes())
    digests = card.digests | {REFERENCE_FILE: sha256(run.cnn / REFERENCE_FILE)}
    write_card(run.cnn, NETWORK_CARD, card.model_copy(update={"digests": digests}))


def register(cnn: Path, forest: Path, metadata: dict[str, Any]) -> Served:
    """Copy a pair of folders into the BentoML store, where it is the latest from then on.

    Both get the same version. The gate goes first: the network's arrival is what makes the pair visible to `latest`.
    """
    import bentoml

    card = read_network_card(cnn)
    version = f"{datetime.now(UTC):%Y%m%d%H%M%S}-{card.digest[:8]}"
    paths = {}
    for name, folder in ((FOREST, forest), (CNN, cnn)):
        with bentoml.models.create(
            f"{name}:{version}",
            module="runners",
            labels={"network": card.digest[:12]},
            metadata=metadata,
            context=bentoml.models.ModelContext(framework_name="keras", framework_versions={}),
        ) as model:
            shutil.copytree(folder, model.path, dirs_exist_ok=True)
        paths[name] = Path(model.path)
    return Served(f"{CNN}:{version}", f"{FOREST}:{version}", paths[CNN], paths[FOREST])


def rollback() -> Served:
    """Serve the pair before the latest one again, as a new version of the same files.

    Raises:
        StoreError: there is none before it.
    """
    import bentoml

    versions = sorted(bentoml.models.list(CNN), key=lambda model: model.info.creation_time)
    current = read_network_card(Path(versions[-1].path)).digest if versions else ""
    for model in reversed(versions[:-1]):
        if read_network_card(Path(model.path)).digest != current:
            forest = bentoml.models.get(gate_tag(str(model.tag)))
            metadata = {**model.info.metadata, "rollback_of": str(versions[-1].tag)}
            return register(Path(model.path), Path(forest.path), metadata)
    raise StoreError("there is no earlier model to go back to")


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
