"""Look-ahead (Zhang et al. 2019, arXiv 1907.08610) as airbench94 has it, to be measured beside the recipe."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from training.optimizer import ConvolutionMuon

EVERY, LARGEST = 5, 0.95**5


@keras.saving.register_keras_serializable("cifar")
class LookingAhead(ConvolutionMuon):
    """Every ``EVERY`` steps the weights go back towards slow ones, which follow them.

    The share of the slow ones grows with the cube of the step, from 0 to ``LARGEST`` after ``steps``.
    """

    ema_momentum: Any  # while it averages a tensor, which Keras could not save

    def __init__(self, *arguments: Any, steps: int, **options: Any) -> None:
        options |= {"use_ema": True, "ema_overwrite_frequency": EVERY}
        super().__init__(*arguments, **options)
        self.steps = steps

    def _update_model_variables_moving_average(self, trainable_variables: list[keras.Variable]) -> None:
        done = ops.cast(self.iterations + 1, "float32")
        kept, self.ema_momentum = (
            self.ema_momentum,
            ops.where((self.iterations + 1) % EVERY == 0, LARGEST * (done / self.steps) ** 3, 1.0),
        )
        super()._update_model_variables_moving_average(trainable_variables)
        self.ema_momentum = kept

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "steps": self.steps}
