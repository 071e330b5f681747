"""Which copy of a photo is kept: exact and near, within and across splits, with labels that agree or don't."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from runners.perceptual import difference_hash
from training.duplicates import Conflict, Resolution, resolve


@dataclass(frozen=True)
class Photo:
    id: str
    split: str
    picture: int
    label: str = "cat"
    light: float = 1.0

    @property
    def pixels(self) -> np.ndarray:
        patches = np.random.default_rng(self.picture).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        image = Image.fromarray(patches).resize((32, 32), Image.Resampling.BICUBIC)
        return np.asarray(ImageEnhance.Brightness(image).enhance(self.light))


def settle(photos: list[Photo]) -> Resolution:
    pixels = np.stack([photo.pixels for photo in photos])
    return resolve(
        [photo.id for photo in photos],
        [photo.split for photo in photos],
        [photo.label for photo in photos],
        [hashlib.sha256(one.tobytes()).hexdigest() for one in pixels],
        np.array([difference_hash(Image.fromarray(one)) for one in pixels], np.uint64),
        lambda rows: pixels[rows],
    )


def kept(photos: list[Photo], resolution: Resolution) -> set[str]:
    return {photo.id for photo, stays in zip(photos, resolution.kept, strict=True) if stays}


def test_different_photos_all_stay_unmarked() -> None:
    photos = [Photo(f"p{i}", split, i) for i, split in enumerate(["test", "train", "validation", "calibration"] * 5)]
    result = settle(photos)
    assert result.kept.all()
    assert (result.reasons, result.marks, result.conflicts) == ({}, {}, ())
    assert set(result.counts.values()) == {0}


def test_exact_copies_in_a_split_keep_the_first_by_id() -> None:
    photos = [Photo("c", "train", 1), Photo("a", "train", 1), Photo("b", "train", 1), Photo("z", "train", 2)]
    result = settle(photos)
    assert kept(photos, result) == {"a", "z"}
    assert result.reasons == {"b": "duplicate of a in train", "c": "duplicate of a in train"}
    assert result.marks == {"a": ("duplicate",)}
    assert result.counts["exact within"] == 2
    assert result.counts["exact across"] == 0


@pytest.mark.parametrize("light", [1.0, 0.8], ids=["exact", "near"])
def test_across_splits_the_highest_keeps_it(light: float) -> None:
    order = ["test", "calibration", "validation", "train"]
    for high, winner in enumerate(order):
        for loser in order[high + 1 :]:
            photos = [Photo("a", loser, 1, light=light), Photo("b", winner, 1), Photo("z", loser, 2)]
            result = settle(photos)
            assert kept(photos, result) == {"b", "z"}
            kind = "duplicate" if light == 1 else "near-duplicate"
            assert result.reasons == {"a": f"{kind} of b in {winner}"}
            assert result.marks == {"b": (kind,)}
            assert result.counts["exact across" if light == 1 else "near across"] == 1


def test_near_duplicates_in_a_split_stay_and_are_marked() -> None:
    photos = [Photo("a", "test", 1), Photo("b", "test", 1, light=0.8), Photo("c", "train", 2)]
    result = settle(photos)
    assert result.kept.all()
    assert result.marks == {"a": ("near-duplicate",), "b": ("near-duplicate",)}
    assert (result.near.first.tolist(), result.near.second.tolist()) == ([0], [1])
    assert result.counts == {
        "exact within": 0,
        "exact across": 0,
        "near within": 1,
        "near across": 0,
        "label conflicts": 0,
    }


def test_one_that_resembles_only_a_dropped_photo_stays() -> None:
    """a (test) is like b (validation), b like c (train), and a unlike c: once b is gone, c harms nobody."""
    rng = np.random.default_rng(0)
    base, other = (rng.integers(0, 256, (8, 8), dtype=np.uint8).repeat(4, 0).repeat(4, 1) for _ in range(2))
    mixes = [np.clip((1 - t) * base + t * other, 0, 255).astype(np.uint8) for t in (0.0, 0.27, 0.45)]
    pixels = np.stack([np.stack([mix] * 3, axis=-1) for mix in mixes])
    result = resolve(
        ["a", "b", "c"],
        ["test", "validation", "train"],
        ["cat"] * 3,
        ["1" * 64, "2" * 64, "3" * 64],
        np.zeros(3, np.uint64),
        lambda rows: pixels[rows],
    )
    assert list(zip(result.near.first.tolist(), result.near.second.tolist(), strict=True)) == [(0, 1), (1, 2)]
    assert result.kept.tolist() == [True, False, True]
    assert result.reasons == {"b": "near-duplicate of a in test"}


def test_copies_that_contradict_each_other_do_not_train() -> None:
    photos = [
        Photo("a", "train", 1, "cat"),
        Photo("b", "train", 1, "dog"),
        Photo("c", "validation", 2, "cat"),
        Photo("d", "train", 2, "fox"),
        Photo("z", "train", 3),
    ]
    result = settle(photos)
    assert kept(photos, result) == {"z"}
    assert result.reasons == {
        "a": "conflicting labels: cat and dog",
        "b": "conflicting labels: cat and dog",
        "c": "conflicting labels: cat and fox",
        "d": "conflicting labels: cat and fox",
    }
    assert result.conflicts == (
        Conflict(("a", "b"), ("cat", "dog"), exact=True),
        Conflict(("c", "d"), ("cat", "fox"), exact=True),
    )
    assert result.marks == {}


def test_a_test_photo_stays_although_its_copy_is_labelled_otherwise() -> None:
    photos = [Photo("a", "train", 1, "cat"), Photo("b", "test", 1, "dog"), Photo("c", "train", 1, "dog")]
    result = settle(photos)
    assert kept(photos, result) == {"b"}
    assert result.reasons == {"a": "duplicate of b in test", "c": "duplicate of b in test"}
    assert result.marks == {"b": ("duplicate", "label conflict")}
    assert result.counts["label conflicts"] == 1


def test_near_duplicates_with_different_labels_are_reported_and_stay() -> None:
    photos = [Photo("b", "train", 1, "cat"), Photo("a", "train", 1, "dog", light=0.8)]
    result = settle(photos)
    assert result.kept.all()
    assert result.conflicts == (Conflict(("a", "b"), ("dog", "cat"), exact=False),)
    assert result.marks["a"] == ("near-duplicate", "label conflict")


def test_a_near_duplicate_of_a_contradicted_photo_stays() -> None:
    photos = [
        Photo("a", "validation", 1, "cat"),
        Photo("b", "validation", 1, "dog"),
        Photo("c", "train", 1, "cat", light=0.8),
    ]
    assert kept(photos, settle(photos)) == {"c"}


def many() -> list[Photo]:
    rng = np.random.default_rng(0)
    names = ["train", "train", "train", "validation", "calibration", "test"]
    return [
        Photo(
            f"p{i:03}",
            names[rng.integers(6)],
            int(rng.integers(40)),
            "dog" if rng.random() < 0.1 else "cat",
            float(rng.choice([1.0, 0.9, 0.8])),
        )
        for i in range(150)
    ]


def test_the_order_of_the_input_changes_nothing() -> None:
    photos = many()
    result = settle(photos)
    for seed in range(3):
        mixed = [photos[i] for i in np.random.default_rng(seed).permutation(len(photos))]
        again = settle(mixed)
        assert kept(mixed, again) == kept(photos, result)
        assert again.reasons == result.reasons
        assert again.marks == result.marks
        assert again.conflicts == result.conflicts
        assert again.counts == result.counts


def test_what_is_kept_is_honest_and_all_else_has_a_reason() -> None:
    photos = many()
    result = settle(photos)
    stays = kept(photos, result)
    assert stays | result.reasons.keys() == {photo.id for photo in photos}
    assert not stays & result.reasons.keys()
    splits: dict[int, set[str]] = {}
    for photo in photos:
        if photo.id in stays:
            splits.setdefault(photo.picture, set()).add(photo.split)
    assert all(len(names) == 1 for names in splits.values())
    assert 0 < len(stays) < len(photos)
    assert settle([photo for photo in photos if photo.id in stays]).reasons == {}


def test_photos_of_the_test_split_are_never_dropped_for_others() -> None:
    photos = many()
    alone = {photo.id for photo in photos if photo.split == "test"}
    dropped = {i: why for i, why in settle(photos).reasons.items() if i in alone}
    assert all(why.startswith("duplicate of") and why.endswith("in test") for why in dropped.values())


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        settle([replace(many()[0], split="dev")])


def test_no_photos_need_no_decision() -> None:
    result = resolve([], [], [], [], np.empty(0, np.uint64), lambda rows: np.empty((len(rows), 32, 32, 3), np.uint8))
    assert (len(result.kept), result.reasons, len(result.near)) == (0, {}, 0)
