"""BentoML's pointer and MLflow's alias move together, or not at all, whatever fails in between."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitoring import tracking
from runners.artifacts import CNN, FOREST, GATE_CARD, NETWORK_CARD, GateCard, NetworkCard, sha256, write_card
from runners.store import Served, StoreError
from settings import Settings, _redirect_model_store
from training import promotion, register, track

pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern")  # BentoML's import


class Killed(BaseException):
    """What `except Exception` does not catch: the process ends here."""


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An MLflow database with both experiments, made once."""
    var = tmp_path_factory.mktemp("mlflow")
    settings = Settings(var=var, _env_file=None)  # type: ignore[call-arg]
    tracking.client(settings)
    return (var / "mlflow.db").read_bytes()


@pytest.fixture
def settings(tmp_path: Path, mlflow: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    from bentoml._internal.configuration.containers import BentoMLContainer

    before = BentoMLContainer.model_store.get()
    home = tmp_path / "var" / "bentoml"
    monkeypatch.setenv("BENTOML_HOME", str(home))
    _redirect_model_store(home)
    (tmp_path / "var" / "mlflow.db").write_bytes(mlflow)
    yield Settings(var=tmp_path / "var", _env_file=None)  # type: ignore[call-arg]
    BentoMLContainer.model_store.set(before)


def folders(where: Path, name: str) -> tuple[Path, Path]:
    """A network and its gate as far as a card tells."""
    cnn, forest = where / name / "cnn", where / name / "forest"
    for folder in (cnn, forest):
        folder.mkdir(parents=True)
        (folder / "network.keras").write_text(name)
    digests = {"network.keras": sha256(cnn / "network.keras")}
    card = NetworkCard(labels=("cat", "dog"), temperature=1.0, embedding_size=2, digests=digests)
    write_card(cnn, NETWORK_CARD, card)
    write_card(forest, GATE_CARD, GateCard(network_digest=card.digest, features=("energy",), digests=digests))
    return cnn, forest


def promote(settings: Settings, where: Path, name: str) -> Served:
    return promotion.promote(settings, *folders(where, name), {}, None)


def same(settings: Settings) -> str:
    """The champion's tag, which pointer and alias agree on."""
    tag = register.champion().cnn_tag
    assert track.champion_tag(settings) == tag
    return tag


def test_both_move_and_one_command_goes_back(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no earlier model"):
        promotion.rollback(settings)
    one = promote(settings, tmp_path, "one")
    assert same(settings) == one.cnn_tag
    two = promote(settings, tmp_path, "two")
    assert same(settings) == two.cnn_tag
    assert two.forest_path.is_dir()
    back = promotion.rollback(settings)
    assert same(settings) == back.cnn_tag != one.cnn_tag
    assert (back.cnn_path / "network.keras").read_text() == "one"
    run = track.run_of_version(settings, one.cnn_tag)
    assert run is not None
    assert track.run_of_version(settings, back.cnn_tag) == run, "the same files, the same run"
    promotion.rollback(settings)
    assert (register.champion().cnn_path / "network.keras").read_text() == "two"


def test_a_damaged_champion_can_be_left_and_a_damaged_predecessor_is_passed_over(
    settings: Settings, tmp_path: Path
) -> None:
    promote(settings, tmp_path, "one")
    two = promote(settings, tmp_path, "two")
    three = promote(settings, tmp_path, "three")
    for pair in (two, three):
        (pair.cnn_path / "network.keras").write_text("damaged")
    (three.cnn_path / NETWORK_CARD).write_text("{")
    promotion.rollback(settings)
    assert (register.champion().cnn_path / "network.keras").read_text() == "one"
    same(settings)


def test_nothing_moves_while_mlflow_is_away(settings: Settings, tmp_path: Path) -> None:
    one = promote(settings, tmp_path, "one")
    promote(settings, tmp_path, "two")
    champion = same(settings)
    (tmp_path / "file").write_text("")
    away = settings.model_copy(update={"mlflow_uri": f"sqlite:///{tmp_path}/file/mlflow.db"})
    before = sorted(register.versions(CNN))
    for attempt in (
        lambda: promote(away, tmp_path, "three"),
        lambda: promotion.rollback(away),
        lambda: promotion.reconcile(away),
    ):
        with pytest.raises(promotion.PromotionError, match="the champion stays as it is"):
            attempt()
        assert same(settings) == champion
    assert sorted(register.versions(CNN)) == before
    back = promotion.rollback(away, mlflow=False)  # an emergency
    assert register.champion() == back
    assert track.champion_tag(settings) == champion
    assert promotion.reconcile(settings) == same(settings) == back.cnn_tag != one.cnn_tag


def test_the_pointer_goes_back_when_the_alias_cannot_follow(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = promote(settings, tmp_path, "one")

    def fails(*_: object) -> None:
        raise ConnectionError("MLflow went away just now")

    with monkeypatch.context() as patch:
        patch.setattr(track, "point_champion", fails)
        with pytest.raises(promotion.PromotionError, match="went away just now"):
            promote(settings, tmp_path, "two")
    assert same(settings) == one.cnn_tag
    assert [len(register.versions(name)) for name in (CNN, FOREST)] == [1, 1]


@pytest.mark.parametrize("moment", ["before the pointer", "before the alias"])
def test_the_next_command_puts_right_what_a_killed_one_left(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    one = promote(settings, tmp_path, "one")

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        at = (register, "register") if moment == "before the pointer" else (track, "point_champion")
        patch.setattr(*at, killed)
        with pytest.raises(Killed):
            promote(settings, tmp_path, "two")
    champion = register.champion().cnn_tag
    assert (champion == one.cnn_tag) == (moment == "before the pointer")
    assert track.champion_tag(settings) == one.cnn_tag
    assert promotion.reconcile(settings) == champion
    assert same(settings) == champion
    versions = tracking.client(settings).search_model_versions(f"name = '{CNN}'")
    assert len(versions) == 2, "the killed one's version is used, none is made again"


def test_half_a_copy_and_an_empty_pointer_are_mended(settings: Settings, tmp_path: Path) -> None:
    import bentoml

    one = promote(settings, tmp_path, "one")
    for name in (CNN, FOREST):
        half = settings.bentoml_home / "models" / name / "half"
        half.mkdir()
        (half / "network.keras").write_text("ha")
    (settings.bentoml_home / "models" / CNN / "latest").write_text("")
    with pytest.raises(bentoml.exceptions.BentoMLException):
        bentoml.models.get(CNN)
    assert promotion.reconcile(settings) == same(settings) == one.cnn_tag
    assert str(bentoml.models.get(CNN).tag) == one.cnn_tag
    assert len(bentoml.models.list()) == 2


def test_a_pair_that_is_none_is_refused_before_anything_is_told(settings: Settings, tmp_path: Path) -> None:
    from runners.artifacts import ArtifactError

    cnn, _ = folders(tmp_path, "one")
    _, forest = folders(tmp_path, "two")
    with pytest.raises(ArtifactError, match="belongs to the network"):
        promotion.promote(settings, cnn, forest, {}, None)
    assert register.pointer() is None
    assert track.champion_tag(settings) is None


def test_the_verdict_on_a_challenger_is_kept(settings: Settings, tmp_path: Path) -> None:
    comparison = {"name": "test photos", "champion": 0.9, "challenger": 0.8, "difference": -0.1}
    verdict = {"reason": "not promoted: worse on test photos", "comparisons": [comparison]}
    run = track.log_pair(settings, "retrain-1", *folders(tmp_path, "one"), verdict)
    version = track.name_challenger(settings, run, verdict["reason"])  # type: ignore[arg-type]
    client = tracking.client(settings)
    assert str(client.get_model_version_by_alias(CNN, track.CHALLENGER).version) == version
    assert client.get_run(run).data.metrics["test_photos/difference"] == pytest.approx(-0.1)
    path = client.download_artifacts(run, "verdict.json", str(tmp_path))
    assert json.loads(Path(path).read_text())["reason"] == verdict["reason"]
    assert track.champion_tag(settings) is None
