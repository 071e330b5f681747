"""The prepared dataset: four splits as arrays on disk, fixed by content hash, under one digest."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.sources import CIFAR10_LABELS, Labelled, Progress, SourceError, load_cifar10

SPLITS = ("train", "validation", "calibration", "test")
HELD_OUT_PER_MILLE = {"validation": 50, "calibration": 50}
"""Share of the official training images in each held-out split. Validation steers choices, scales the temperature and
fits the gate; calibration sets the gate's threshold and is the monitoring reference. Neither ever trains; test is
read once, at the end."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """``splits``: name -> (pixels uint8 (n, 32, 32, 3), labels int64 (n,)); ``digest``: SHA-256 over all of it."""

    splits: dict[str, Labelled]
    labels: tuple[str, ...]
    digest: str

    def __getitem__(self, split: str) -> Labelled:
        return self.splits[split]

    def summary(self) -> dict[str, object]:
        counts = {name: {s: int((self.splits[s][1] == i).sum()) for s in SPLITS} for i, name in enumerate(self.labels)}
        return {"classes": counts, "digest": self.digest}


def split_of(pixels: NDArray[np.uint8]) -> str:
    """The split of one training image, by a hash of its content: adding images never moves an old one."""
    bucket = int.from_bytes(hashlib.sha256(pixels.tobytes()).digest()[:8], "big") % 1000
    for name, share in HELD_OUT_PER_MILLE.items():
        if bucket < share:
            return name
        bucket -= share
    return "train"


def build(train: Labelled, test: Labelled, labels: tuple[str, ...]) -> Dataset:
    """Split ``train``, leave out training images that are test images byte for byte, and take the digest."""
    in_test = {image.tobytes() for image in test[0]}
    names = np.array(["dropped" if image.tobytes() in in_test else split_of(image) for image in train[0]])
    splits = {name: (train[0][names == name], train[1][names == name]) for name in SPLITS[:3]} | {"test": test}
    digest = hashlib.sha256(json.dumps(labels).encode())
    for name in SPLITS:
        digest.update(name.encode() + splits[name][0].tobytes() + splits[name][1].astype("<i8").tobytes())
    return Dataset(splits, labels, digest.hexdigest())


def digest_of(data: Labelled) -> str:
    """SHA-256 of pixels and labels."""
    return hashlib.sha256(data[0].tobytes() + data[1].astype("<i8").tobytes()).hexdigest()


def prepare(data_root: Path, folder: Path, progress: Progress | None = None) -> Dataset:
    """Read CIFAR-10 from ``data_root`` and write the dataset to ``folder``, unless it is there already."""
    if (folder / "manifest.json").is_file():
        return load(folder)
    dataset = build(
        load_cifar10(data_root, "train", progress), load_cifar10(data_root, "test", progress), CIFAR10_LABELS
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, (pixels, labels) in dataset.splits.items():
        np.savez(folder / f"{name}.npz", allow_pickle=False, pixels=pixels, labels=labels)
    # The manifest comes last and whole: a folder without it was interrupted and is made again.
    partial = folder / "manifest.json.partial"
    partial.write_text(json.dumps({"labels": dataset.labels, **dataset.summary()}, indent=2) + "\n")
    os.replace(partial, folder / "manifest.json")
    return dataset


def load(folder: Path) -> Dataset:
    """Read what `prepare` wrote.

    Raises:
        SourceError: it was not prepared, or a file is damaged.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        splits = {}
        for name in SPLITS:
            with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
                splits[name] = (arrays["pixels"], arrays["labels"])
    except FileNotFoundError as error:
        raise SourceError(f"{folder}: no prepared dataset; run `python -m training prepare` first") from error
    except (ValueError, KeyError, OSError) as error:
        raise SourceError(f"{folder}: damaged ({error}); delete it and run `python -m training prepare`") from error
    return Dataset(splits, tuple(manifest["labels"]), manifest["digest"])
