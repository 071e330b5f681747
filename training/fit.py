"""The fit, resumable after each epoch."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from runners.images import SIDE
from runners.network import Network
from training.augment import augmented, cutout, grainy, mirrored, reduced, vary
from training.balance import epoch_rows, is_small, sample_weights
from training.config import TrainConfig
from training.memory import keep_freed_memory
from training.network import build, whitening_kernel
from training.precision import resolved
from training.sources import Labelled, Progress
from training.teachers import softened

if TYPE_CHECKING:
    import keras

T = TypeVar("T")

WHITENING_IMAGES = 5_000
HEAD_RATE, BIAS_RATE, DECAY = 0.67 / 256**2, 0.053, 2e-6
"""Rates of the head and of the biases, and the decay of both, per photo of a batch: those of airbench94_muon, whose
head is divided by its 256 inputs and whose loss is a sum."""


def fit(
    config: TrainConfig,
    train: Labelled,
    validation: Labelled,
    classes: int,
    folder: Path,
    progress: Progress,
    start: keras.Model | None = None,
    teachers: Sequence[Network] = (),
) -> keras.Model:
    """Train a network and return it; ``folder`` gets a checkpoint and a line of `history.jsonl` per epoch.

    An interrupted run goes on from its last finished epoch, with the same result as an uninterrupted one. ``start``:
    weights to fine-tune instead of a fresh initialisation. ``teachers``: see `training.teachers`.
    """
    import keras

    keep_freed_memory()
    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(config.seed)
    done, model = _last_checkpoint(folder)
    if model is None:
        model = start or fresh(config, train[0], classes)
        _compile(model, config, steps=config.epochs * _epoch_images(config, train[1]) // config.batch_size)
    if done == config.epochs:
        return model
    images = _epoch_images(config, train[1])
    one_hot = np.eye(classes, dtype=np.float32)[validation[1]]
    bookkeeping = _bookkeeping(folder, config, images, done, progress)
    # A `fit` for each side: Keras takes the shape of the first two batches for that of all.
    for epochs in _stages(config, done):
        model.fit(
            _ahead(_batches(config, train, classes, epochs, teachers)),
            steps_per_epoch=images // config.batch_size,
            epochs=epochs.stop,
            initial_epoch=epochs.start,
            validation_data=(validation[0], one_hot),
            validation_batch_size=500,
            shuffle=False,
            verbose=0,
            callbacks=[bookkeeping],
        )
    return model


def fresh(config: TrainConfig, pixels: NDArray[np.uint8], classes: int) -> keras.Model:
    """The network of ``config`` before its first step; ``pixels``: the training photos, uint8 (n, 32, 32, 3)."""
    return build(
        config.widths,
        classes,
        whitening_kernel(pixels[:WHITENING_IMAGES], config.whitening_eps),
        config.seed,
        depths=config.depths,
        weight_decay=l2(config),
        precision=resolved(config.precision),
    )


def history(folder: Path) -> list[dict[str, float]]:
    """Epochs of the run in ``folder``: loss, accuracy and rate, for training and validation."""
    path = folder / "history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def side(config: TrainConfig, epoch: int) -> int:
    """Side of the photos in ``epoch``, counted from 0, pixels: it grows by 4 at equal intervals.

    Small photos cost a third to three quarters of a step, and the coarse shapes that the network learns first are in
    them too (progressive resizing: Tan and Le 2021, arXiv 2104.00298, section 4).
    """
    growing, sides = round(config.full_side_from * config.epochs), range(config.first_side, SIDE, 4)
    return sides[epoch * len(sides) // growing] if sides and epoch < growing else SIDE


def _stages(config: TrainConfig, first_epoch: int) -> list[range]:
    """The epochs from ``first_epoch`` on, those of equal side together."""
    groups = groupby(range(first_epoch, config.epochs), partial(side, config))
    return [range(stage[0], stage[-1] + 1) for stage in (list(epochs) for _, epochs in groups)]


def l2(config: TrainConfig) -> float:
    """The L2 penalty of the kernels; Muon has none, it keeps their norm."""
    return config.weight_decay if config.optimizer == "sgd" else 0.0


def _epoch_images(config: TrainConfig, labels: NDArray[np.int64]) -> int:
    """Images of an epoch in whole batches."""
    rows = epoch_rows(labels, config.balance, config.balance_floor, config.least_images, np.random.default_rng(0))
    return max(len(rows) // config.batch_size, 1) * config.batch_size


def _compile(model: keras.Model, config: TrainConfig, steps: int) -> None:
    import keras

    model.compile(
        optimizer=_muon(config, steps) if config.optimizer == "muon" else _sgd(config, steps),
        loss=[keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=config.label_smoothing), None],
        metrics=[["accuracy"], None],
    )


def _muon(config: TrainConfig, steps: int) -> keras.optimizers.Optimizer:
    import keras

    from training.optimizer import ConvolutionMuon

    return ConvolutionMuon(
        keras.optimizers.schedules.PolynomialDecay(config.learning_rate, steps, 0.0),
        peak=config.peak_rate or config.learning_rate,
        head_rate=config.head_rate * HEAD_RATE * config.batch_size,
        bias_rate=BIAS_RATE * config.batch_size,
        decay=DECAY * config.batch_size,
    )


def _sgd(config: TrainConfig, steps: int) -> keras.optimizers.Optimizer:
    import keras

    peak = config.learning_rate * config.batch_size / 256
    warm = max(int(steps * config.warmup), 1)
    rate = keras.optimizers.schedules.CosineDecay(
        peak / 100, max(steps - warm, 1), warmup_target=peak, warmup_steps=warm
    )
    return keras.optimizers.SGD(rate, momentum=config.momentum, nesterov=True)


def _batches(
    config: TrainConfig, data: Labelled, classes: int, epochs: range, teachers: Sequence[Network] = ()
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]]:
    """Images, labels (one-hot, or `softened` by ``teachers``) and weights of batch after batch of ``epochs``.

    Everything random depends on (seed, epoch, batch) alone, so that a resumed run sees the same batches.
    """
    pixels, labels = data
    one_hot = np.eye(classes, dtype=np.float32)
    weights = sample_weights(labels, config.balance, config.balance_floor)
    strong = is_small(labels, config.balance_floor) & (config.balance == "augment")
    for epoch in epochs:
        order = epoch_rows(
            labels,
            config.balance,
            config.balance_floor,
            config.least_images,
            np.random.default_rng((config.seed, 0, epoch)),
        )
        flipped = mirrored(len(pixels), epoch, config.seed) & config.flip
        for index in range(_epoch_images(config, labels) // config.batch_size):
            rows = order[index * config.batch_size : (index + 1) * config.batch_size]
            rng = np.random.default_rng((config.seed, 2, epoch, index))
            images = cutout(augmented(pixels[rows], flipped[rows], config.translate, rng), config.cutout, rng)
            if strong[rows].any():
                images[strong[rows]] = vary(images[strong[rows]], rng)
            # A teacher sees no noise: what it says of a photo shall hold for the same photo with noise.
            targets = softened(one_hot[labels[rows]], images, teachers, config.teacher_share, rng)
            images = grainy(reduced(images, side(config, epoch)), config.noise, rng)
            yield images, targets, weights[rows]


def _ahead(items: Iterator[T], count: int = 4) -> Iterator[T]:
    """``items``, made by a thread that is at most ``count`` of them ahead.

    Keras' own (`PyDataset`) stands still between two epochs now and then, for up to a minute.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        waiting: deque[Future[T | None]] = deque(thread.submit(next, items, None) for _ in range(count))
        while (item := waiting.popleft().result()) is not None:
            waiting.append(thread.submit(next, items, None))
            yield item


def _bookkeeping(
    folder: Path, config: TrainConfig, images: int, first_epoch: int, progress: Progress
) -> keras.callbacks.Callback:
    import keras

    class Bookkeeping(keras.callbacks.Callback):
        epoch = first_epoch

        def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
            self.epoch = epoch

        def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
            seen = (self.epoch - first_epoch) * images + (batch + 1) * config.batch_size
            total = (config.epochs - first_epoch) * images
            progress("training", seen, total, f"epoch {self.epoch + 1}/{config.epochs}")

        def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            line = {"epoch": epoch + 1, "rate": float(self.model.optimizer.learning_rate)}
            line |= {_short(name): float(value) for name, value in (logs or {}).items()}
            lines = [json.dumps(entry) for entry in [*history(folder)[:epoch], line]]
            _write(folder / "history.jsonl", "\n".join(lines) + "\n")
            partial = folder / "partial.keras"
            self.model.save(partial)
            os.replace(partial, folder / f"epoch-{epoch + 1:04d}.keras")
            for old in folder.glob("epoch-*.keras"):
                if old.name != f"epoch-{epoch + 1:04d}.keras":
                    old.unlink()

    return Bookkeeping()


def _short(metric: str) -> str:
    """Keras names metrics after the output they belong to; only one output is trained."""
    return metric.replace("logits_", "")


def _write(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    os.replace(partial, path)


def _last_checkpoint(folder: Path) -> tuple[int, keras.Model | None]:
    import keras

    import training.layers
    import training.optimizer  # noqa: F401  both register what a checkpoint names

    checkpoints = sorted(folder.glob("epoch-*.keras"))
    if not checkpoints:
        return 0, None
    return int(checkpoints[-1].stem.removeprefix("epoch-")), keras.saving.load_model(checkpoints[-1])
