"""Which pair is the champion: BentoML's `latest` decides, MLflow's alias tells, and the two move together.

A promotion first tells MLflow of the new version, then moves BentoML's pointer, then MLflow's alias. Where MLflow
cannot be reached nothing is changed; where it fails in the middle, the pointer goes back. Only a killed process can
leave the alias behind the pointer: whatever promotes next puts it right first (`reconcile`).
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runners.artifacts import CNN, FOREST, ArtifactError, read_gate_card, read_network_card
from runners.store import Served, StoreError
from settings import Settings
from training import register, track


class PromotionError(Exception):
    """The champion stays what it was; the message says why."""


def promote(
    settings: Settings, cnn: Path, forest: Path, metadata: dict[str, Any], run_id: str | None, *, mlflow: bool = True
) -> Served:
    """Make copies of the folders ``cnn`` and ``forest`` the champion. ``run_id``: the MLflow run that has them.

    Without ``mlflow`` its alias is left to the next `reconcile`.

    Raises:
        PromotionError: MLflow cannot be reached; nothing was changed.
        ArtifactError: the pair is damaged, or no pair.
    """
    card = read_network_card(cnn)
    read_gate_card(forest, card)
    with _alone(settings):
        before = register.pointer()
        pair = _fresh(card.digest[:8])
        if not mlflow:
            return register.register(cnn, forest, metadata, pair)
        with _or_nothing("it does not take the new version"):
            version = track.add_version(settings, pair, cnn, forest, run_id)
        register.register(cnn, forest, metadata, pair)
        try:
            track.point_champion(settings, version)
        except Exception as error:
            register.withdraw(pair, before)
            raise _nothing_changed("its alias could not be moved", error) from error
        return pair


def reconcile(settings: Settings) -> str | None:
    """Put right what a killed process left behind, and point MLflow's alias to the champion.

    The champion's tag comes back, None where the store has none.

    Raises:
        PromotionError: MLflow cannot be reached.
    """
    with _alone(settings):
        register.mend()
        try:
            pair = register.champion()
        except StoreError:
            return None
        with _or_nothing("the champion cannot be compared with its alias"):
            if track.champion_tag(settings) != pair.cnn_tag:
                version = track.find_version(settings, pair.cnn_tag)
                if version is None:
                    version = track.add_version(settings, pair, pair.cnn_path, pair.forest_path, None)
                track.point_champion(settings, version)
        return pair.cnn_tag


def rollback(settings: Settings, *, mlflow: bool = True) -> Served:
    """Serve the pair before the champion again, as a new version of the same files; damaged ones are passed over.

    Raises:
        StoreError: there is none before it.
        PromotionError: MLflow cannot be reached; nothing was changed.
    """
    import bentoml

    if mlflow:
        reconcile(settings)
    else:
        register.mend()
    current = register.pointer()
    for cnn in register.versions(CNN):
        version = cnn.name
        if version == current or register.same_network(cnn, current):
            continue
        forest = cnn.parent.parent / FOREST / version
        try:
            read_gate_card(forest, read_network_card(cnn))
        except ArtifactError:
            continue
        metadata = {**bentoml.models.get(f"{CNN}:{version}").info.metadata, "rollback_of": f"{CNN}:{current}"}
        run_id = None
        if mlflow:
            with _or_nothing("it cannot be asked for the pair before"):
                run_id = track.run_of_version(settings, f"{CNN}:{version}")
        return promote(settings, cnn, forest, metadata, run_id, mlflow=mlflow)
    raise StoreError("there is no earlier model to go back to")


def _fresh(digest: str) -> Served:
    """A version that is not taken: the time, and the network's digest."""
    while True:
        pair = register.named(f"{datetime.now(UTC):%Y%m%d%H%M%S}-{digest}")
        if not pair.cnn_path.exists() and not pair.forest_path.exists():
            return pair
        time.sleep(0.1)


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """One promotion at a time; the lock goes with the process."""
    settings.var.mkdir(parents=True, exist_ok=True)
    with (settings.var / "promotion.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _or_nothing(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever MLflow, its database or the network raise
        raise _nothing_changed(what, error) from error


def _nothing_changed(what: str, error: Exception) -> PromotionError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return PromotionError(f"the champion stays as it is, because MLflow cannot be used, {what}: {reason}")
