"""Look-ahead, as the ablation measures it, beside the same steps with its slow weights kept by hand."""

from __future__ import annotations

import keras
import numpy as np

from bench.ablation import _muon
from bench.look_ahead import EVERY, LARGEST
from training.config import TrainConfig

STEPS = 4 * EVERY


def test_every_fifth_step_goes_back_towards_the_slow_weights() -> None:
    config = TrainConfig(name="small", widths=(8, 8, 8), epochs=1, batch_size=500, learning_rate=0.1)
    start, pixels, target = np.random.default_rng(0).random((3, 3, 3), np.float32)

    def model(weights: str) -> keras.Model:
        made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, use_bias=False)])
        made.set_weights([start])
        made.compile(optimizer=_muon(weights)(config, STEPS), loss="mse")
        return made

    ahead, by_hand = model("slow"), model("")
    slow = start
    for step in range(1, STEPS + 1):
        ahead.train_on_batch(pixels, target)
        by_hand.train_on_batch(pixels, target)
        [fast] = by_hand.get_weights()
        if step == 1:
            slow = fast
        if step % EVERY == 0:
            kept = LARGEST * (step / STEPS) ** 3
            slow = kept * slow + (1 - kept) * fast
            by_hand.set_weights([slow])
        np.testing.assert_allclose(ahead.get_weights()[0], by_hand.get_weights()[0], atol=1e-6)
    assert np.abs(slow - start).max() > 1e-4
