"""What trains, what makes a new class, and what the promotion gate lets through."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from monitoring.feedback import FeedbackStore, NewFeedback
from monitoring.image_store import ImageStore
from monitoring.review_marks import mark
from runners.gate import Gate
from runners.pipeline import Pipeline
from runners.store import Served
from settings import Settings
from training.config import TrainConfig
from training.corrections import Corrections, RetrainError, collect, with_new_classes
from training.dataset import Dataset
from training.register import load_run
from training.retrain import BLEND, blend, extended_head, judge, shrinkage, table, temper, with_corrections
from training.sources import Labelled
from training.steps import challenge, retrain

LABELS = ("cat", "dog", "Bird")
Guess = Callable[[NDArray[np.int64]], NDArray[np.int64]]


class NoGate:
    def score(self, logits: Any, embedding: Any) -> Any:
        return np.zeros(len(logits), np.float32), np.ones(len(logits), np.float32)


def pixels_of(kinds: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Photos whose first bytes say what is on them, and which photo of its kind it is."""
    pixels = np.zeros((len(kinds), 32, 32, 3), np.uint8)
    pixels[:, 0, 0, 0] = kinds
    pixels[:, 0, 0, 1], pixels[:, 0, 0, 2] = np.arange(len(kinds)) % 256, np.arange(len(kinds)) // 256
    return pixels


def network(guess: Guess, labels: tuple[str, ...] = LABELS) -> Pipeline:
    """A pair that answers ``guess`` of the number in a photo, and of its own number where two bytes say so."""

    def infer(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        flat = pixels[:, 0, 0].astype(np.int64)
        logits = np.eye(len(labels), dtype=np.float32)[guess(flat)] * 9
        return logits, np.eye(8, dtype=np.float32)[flat[:, 0] % 8]

    return Pipeline(infer, cast("Gate", NoGate()), labels, 1.0, "cnn", "forest")


def photos(each: int, classes: int = 3) -> Labelled:
    kinds = np.repeat(np.arange(classes), each)
    return pixels_of(kinds), kinds


def data() -> Dataset:
    splits = {"train": photos(40), "validation": photos(30), "calibration": photos(30), "test": photos(200)}
    sources = {name: np.full(len(part[1]), "cifar10") for name, part in splits.items()}
    return Dataset(splits, sources, LABELS, "digest")


def found(trained: Labelled, held_out: Labelled, new: tuple[str, ...] = ()) -> Corrections:
    return Corrections((*LABELS, *new), new, trained, held_out, {})


def only(kind: int, count: int) -> Labelled:
    kinds = np.full(count, kind)
    return pixels_of(kinds), kinds


@pytest.fixture
def store(tmp_path: Path) -> FeedbackStore:
    store = FeedbackStore(f"sqlite:///{tmp_path / 'f.db'}", ImageStore(tmp_path / "images"))
    store.images.root.mkdir()
    store.database.migrate()
    return store


def correct(store: FeedbackStore, label: str, count: int, state: str = "accepted", probability: float = 0.6) -> None:
    ids = []
    for _ in range(count):
        number = sum(store.counts().values())
        noise = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, "PNG")
        entry = NewFeedback(
            prediction_id=f"p{number}",
            correct=False,
            label=label,
            predicted_label="unknown" if label == "cat" else "cat",
            best_guess="cat",
            probability=probability,
            in_distribution=True,
            ood_p_value=0.5,
            cnn_tag="cifar_cnn:1",
            image=buffer.getvalue(),
        )
        ids.append(store.save(entry).id)
    store.set_state(ids, state)  # type: ignore[arg-type]


def test_a_proposed_class_enters_with_enough_accepted_photos(store: FeedbackStore) -> None:
    correct(store, "dog", 8)
    correct(store, "Coffee  Mug", 30)
    correct(store, "teapot", 29)
    correct(store, "teapot", 5, "pending")
    correct(store, "teapot", 5, "rejected")
    correct(store, "?!", 31)
    correct(store, "unknown thing", 1)
    correct(store, "something else", 31)  # the page's button: it proposes nothing
    result = collect(store, LABELS, 30)
    assert result.new_classes == ("coffee mug",)
    assert result.labels == (*LABELS, "coffee mug")
    assert result.waiting == {"?!": 31, "teapot": 29, "unknown thing": 1}
    both = np.concatenate([result.trained[1], result.held_out[1]])
    assert np.bincount(both, minlength=4).tolist() == [0, 8, 0, 30]
    assert 0 < (result.held_out[1] == 3).sum() < 15
    assert collect(store, LABELS, 29).new_classes == ("coffee mug", "teapot")
    assert collect(store, (*LABELS, "Teapot"), 30).labels == (*LABELS, "Teapot", "coffee mug"), "the file has it now"


def test_unknown_is_no_class_and_nothing_to_train_on_is_said(store: FeedbackStore) -> None:
    correct(store, "unknown", 40)
    correct(store, "teapot", 5)
    with pytest.raises(RetrainError, match="nor enough to a new one"):
        collect(store, LABELS, 30)


def test_the_gate_and_the_fit_get_photos_of_the_new_class(store: FeedbackStore) -> None:
    correct(store, "mug", 30)
    correct(store, "cat", 5)
    base, corrections = data(), collect(store, LABELS, 30)
    extended = with_new_classes(base, corrections)
    counts = np.bincount(extended["train"][1], minlength=4)
    assert counts[:3].tolist() == [40, 40, 40], "corrections to known classes only train"
    assert counts[3] == (corrections.trained[1] == 3).sum() > 0
    assert extended.labels == corrections.labels
    assert extended.digest != base.digest
    assert set(extended.sources["train"][-counts[3] :]) == {"feedback"}
    mixed = with_corrections(base["train"], corrections.trained, 50, 0)
    assert {0, 1, 2, 3} == set(mixed[1].tolist())


def test_the_head_keeps_known_columns_by_name_and_fits_the_new_one() -> None:
    champion = network(lambda flat: flat[:, 0] % 3)
    kernel = np.arange(24, dtype=np.float32).reshape(8, 3)
    pixels, kinds = photos(20, 5)
    labels = ("Bird", "cat", "dog", "mug", "pot")
    numbers = np.array([1, 2, 0, 3, 4])[kinds]
    head = extended_head(kernel, champion, labels, (pixels, numbers), seed=0)
    assert np.array_equal(head[:, :3], kernel[:, [2, 0, 1]])
    logits = np.eye(8, dtype=np.float32)[kinds] @ head[:, 3:]
    assert (logits[kinds == 3, 0] > logits[kinds != 3, 0].max() + 3).all()
    assert (logits[kinds == 4, 1] > logits[kinds != 4, 1].max() + 3).all()
    with pytest.raises(RetrainError, match="no photo of the class lamp"):
        extended_head(kernel, champion, (*LABELS, "lamp"), photos(5), seed=0)


def test_a_new_class_is_shrunk_until_it_takes_hardly_any_photo_of_a_known_one() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 4_000)
    logits = np.zeros((4_000, 5), np.float32)
    logits[np.arange(4_000), truth] = 5
    logits[:, 3:] = rng.normal((3, 0), 1, (4_000, 2))  # the first new class takes some, the other one none
    logits[:100, :3] = np.roll(logits[:100, :3], 1, axis=1)  # these were wrong anyway: nothing is lost
    logits[:100, 4] = 9
    factors = shrinkage(logits, truth, 3)
    assert 0.5 < factors[0] < 1
    assert factors[1] == 1

    def taken(factor: float) -> int:
        return int((factor * logits[100:, 3] > 5).sum())

    assert taken(1) > 50
    assert taken(factors[0]) == 4, "one in a thousand"
    assert taken(1.01 * factors[0]) > 4


def test_the_weights_go_part_of_the_way_and_the_new_class_alone_is_shrunk() -> None:
    import keras

    inputs = keras.Input((4,))
    embedding = keras.layers.Identity()(inputs)
    model = keras.Model(inputs, [keras.layers.Dense(3, use_bias=False, name="logits")(embedding), embedding])
    before, after = np.zeros((4, 3), np.float32), np.array([[5, 0, 6], [0, 5, 0], [0, 0, 0], [0, 0, 9]], np.float32)
    model.set_weights([after])
    blend(model, [before])
    (blended,) = model.get_weights()
    assert blended == pytest.approx(BLEND * after)
    truth = np.repeat([0, 1], 500)
    temper(model, 2, (np.eye(4, dtype=np.float32)[truth], truth))
    (kernel,) = model.get_weights()
    assert np.array_equal(kernel[:, :2], blended[:, :2])
    assert kernel[:, 2] == pytest.approx(blended[:, 2] * 5 / 6, rel=1e-5)


def test_better_on_corrections_and_no_worse_elsewhere_is_promoted() -> None:
    champion = network(lambda flat: np.where(flat[:, 0] == 7, 0, flat[:, 0] % 3))
    challenger = network(lambda flat: np.where(flat[:, 0] == 7, 1, flat[:, 0] % 3))
    trained = (pixels_of(np.full(20, 7)), np.full(20, 1))
    verdict = judge(champion, challenger, data(), found(trained, trained))
    assert verdict.promoted, verdict.reason
    assert [c.name for c in verdict.by_class] == list(LABELS)
    assert not judge(champion, champion, data(), found(trained, trained)).promoted
    assert not judge(challenger, champion, data(), found(trained, trained)).promoted


def test_a_class_that_got_worse_stops_it_though_all_together_did_not() -> None:
    """Poison in a third of one class: the corrections get better, and so does every other class."""
    trained = (pixels_of(np.full(20, 7)), np.full(20, 1))
    champion = network(lambda flat: np.where(flat[:, 0] == 7, 0, np.where(flat[:, 1] % 10 == 0, 0, flat[:, 0] % 3)))

    def poisoned(flat: NDArray[np.int64]) -> NDArray[np.int64]:
        cat_is_dog = (flat[:, 0] == 0) & (flat[:, 1] % 9 == 0)
        return np.where(flat[:, 0] == 7, 1, np.where(cat_is_dog, 1, flat[:, 0] % 3))

    verdict = judge(champion, network(poisoned), data(), found(trained, trained))
    assert all(c.difference >= 0 for c in verdict.comparisons), "no set as a whole shows it"
    assert not verdict.promoted
    assert verdict.reason == "not promoted: worse on class cat"


def test_one_photo_more_or_less_in_a_class_is_chance() -> None:
    champion = network(lambda flat: np.where(flat[:, 0] == 7, 0, flat[:, 0] % 3))

    def other(flat: NDArray[np.int64]) -> NDArray[np.int64]:
        slip = (flat[:, 0] == 0) & (flat[:, 1] == 3)
        return np.where(flat[:, 0] == 7, 1, np.where(slip, 2, flat[:, 0] % 3))

    trained = (pixels_of(np.full(20, 7)), np.full(20, 1))
    assert judge(champion, network(other), data(), found(trained, trained)).promoted


@pytest.mark.parametrize(("knows", "promoted"), [(0.8, True), (0.2, False)])
def test_a_new_class_is_judged_on_its_held_out_photos_and_the_rest_on_what_both_know(
    knows: float, promoted: bool
) -> None:
    champion = network(lambda flat: flat[:, 0] % 3)

    def challenger(flat: NDArray[np.int64]) -> NDArray[np.int64]:
        mug = (flat[:, 0] == 3) & (flat[:, 1] % 10 < 10 * knows)
        return np.where(mug, 3, flat[:, 0] % 3)

    pair = network(challenger, (*LABELS, "mug"))
    corrections = found(only(3, 24), only(3, 10), ("mug",))
    verdict = judge(champion, pair, with_new_classes(data(), corrections), corrections)
    assert verdict.promoted == promoted, verdict.reason
    mug = next(c for c in verdict.comparisons if c.name == "new class mug")
    assert (mug.photos, mug.champion, mug.challenger) == (10, 0.0, pytest.approx(knows))
    assert [c.photos for c in verdict.comparisons if c.name == "test photos"] == [600]
    assert verdict.new_classes == ["mug"]


def test_the_comparison_is_shown_with_its_interval() -> None:
    champion = network(lambda flat: np.where(flat[:, 0] == 7, 0, flat[:, 0] % 3))
    challenger = network(lambda flat: np.where(flat[:, 0] == 7, 1, flat[:, 0] % 3))
    trained = (pixels_of(np.full(20, 7)), np.full(20, 1))
    heading, *lines = table(judge(champion, challenger, data(), found(trained, trained)).comparisons).splitlines()
    assert heading.split() == ["photos", "champion", "challenger", "difference,", "points"]
    names = ["held-out photos", "test photos", "corrections trained on", "corrections held out"]
    assert [line[:28].strip() for line in lines] == names
    assert lines[-1].split()[3:] == ["20", "0.00%", "100.00%", "+100.00", "(+100.00", "to", "+100.00)"]


def test_classes_are_compared_by_name_not_by_number() -> None:
    """The next challenger may have lost a class, or have the same ones in another order."""
    order = ("dog", "cat", "Bird", "mug")
    champion = network(lambda flat: np.array([1, 0, 2, 3, 0, 0, 0, 0])[flat[:, 0]], order)
    trained = (pixels_of(np.full(20, 7)), np.full(20, 1))
    challenger = network(lambda flat: np.where(flat[:, 0] == 7, 1, flat[:, 0] % 3))
    verdict = judge(champion, challenger, data(), found(trained, trained))
    assert all(c.champion == 1 for c in verdict.by_class)


def test_a_class_whose_corrections_contradict_a_sure_network_does_not_train_unless_it_is_trusted(
    store: FeedbackStore,
) -> None:
    correct(store, "bird", 10)
    correct(store, "dog", 20, probability=0.99)  # the network is sure that these are cats
    with pytest.raises(RetrainError, match=r"20 of 20 accepted corrections to dog .* --reject 11 12 .* --trust dog"):
        collect(store, LABELS, 30)
    assert (
        len(collect(store, LABELS, 30, ["Dog"]).trained[0]) + len(collect(store, LABELS, 30, ["dog"]).held_out[0]) == 30
    )
    with pytest.raises(RetrainError, match="no class is called wolf"):
        collect(store, LABELS, 30, ["wolf"])
    store.set_state(list(range(11, 31)), "accepted", "dog")  # the reviewer says so, too: somebody has looked
    assert len(collect(store, LABELS, 30).trained[0]) > 10


def test_the_review_marks_what_contradicts_a_sure_network(store: FeedbackStore) -> None:
    correct(store, "dog", 10, "pending", probability=0.99)  # the network is sure that these are cats
    correct(store, "dog", 10, "pending", probability=0.5)
    marks = mark(store, store.pending())
    assert [bool(m.suspected_mislabel) for m in marks.values()] == [True] * 10 + [False] * 10


@pytest.mark.parametrize("option", [{"start": "cifar_cnn:a"}, {"teachers": ("cifar_cnn:a",)}])
def test_a_network_to_start_from_or_learn_from_is_not_passed_over_in_silence(
    option: dict[str, Any], tmp_path: Path
) -> None:
    config = TrainConfig(name="other", widths=(8, 8, 8), epochs=1, batch_size=8, learning_rate=0.1, **option)
    with pytest.raises(RetrainError, match="other: start and teachers are for train"):
        retrain(
            Settings(var=tmp_path),
            config,
            tmp_path,
            lambda *_, **__: None,
            anew=False,
            base_images=None,
            least_photos=30,
        )
    assert not any(tmp_path.iterdir())


def test_a_challenger_trained_anew_owes_nothing_to_the_champion(starter_pair: Served, tmp_path: Path) -> None:
    """Fine-tuning keeps the champion's layers; a fresh network has those of its configuration."""
    labels = ("cat", "dog", "truck")

    def coloured(each: int, seed: int) -> Labelled:
        kinds = np.repeat(np.arange(3), each)
        noise = np.random.default_rng(seed).normal(0, 40, (len(kinds), 32, 32, 3))
        return (noise + np.eye(3)[kinds][:, None, None] * 80 + 80).clip(0, 255).astype(np.uint8), kinds

    splits = {name: coloured(40, seed) for seed, name in enumerate(("train", "validation", "calibration", "test"))}
    sources = {name: np.full(len(part[1]), "folder") for name, part in splits.items()}
    base = Dataset(splits, sources, labels, "digest")
    corrections = Corrections(labels, (), coloured(4, 5), coloured(4, 6), {})
    config = TrainConfig(
        name="tiny", widths=(8, 8, 8), epochs=2, batch_size=64, least_images=512, learning_rate=0.2, gate_trees=20
    )
    run, verdict = challenge(
        Settings(var=tmp_path), config, starter_pair, base, corrections, lambda *_, **__: None, anew=True
    )
    challenger = load_run(run)
    assert challenger.labels == labels
    assert challenger.score(splits["test"][0]).embedding.shape[1] == 8
    assert verdict.promoted, verdict.reason
