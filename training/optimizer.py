"""The optimizer: Muon for the convolutions, Nesterov SGD for everything else, each with a rate of its own.

Muon replaces the momentum of a matrix by its nearest semi-orthogonal matrix (Jordan et al. 2024,
https://kellerjordan.github.io/posts/muon); the kernels keep the norm sqrt(output channels), so that the rate is an
angle. Rates fall linearly to zero. Keras' own Muon leaves convolutions to AdamW.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

A, B, C = 3.4445, -4.7750, 2.0315
"""Coefficients of the quintic Newton-Schulz iteration, those of the authors."""
STEPS = 3


def orthogonalized(matrix: keras.KerasTensor) -> keras.KerasTensor:
    """Approximately U Vᵀ of ``matrix`` = U S Vᵀ, (rows, columns), its singular values brought into 0.5..1.5."""
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else ops.transpose(matrix)
    x = x / (ops.norm(x) + 1e-7)
    for _ in range(STEPS):
        gram = ops.matmul(x, ops.transpose(x))
        x = A * x + ops.matmul(B * gram + C * ops.matmul(gram, gram), x)
    return x if wide else ops.transpose(x)


@keras.saving.register_keras_serializable("cifar")
class ConvolutionMuon(keras.optimizers.Optimizer):
    """``learning_rate``: of the kernels of convolutions, per step, relative to their norm.

    ``head_rate``, ``bias_rate``: of matrices and of vectors, for the mean loss of a batch, times the schedule of
    ``learning_rate`` (as a share of its start). ``weight_decay``: of matrices and vectors, per step at the full rate.
    """

    def __init__(
        self,
        learning_rate: Any = 0.24,
        *,
        head_rate: float,
        bias_rate: float,
        peak: float,
        decay: float = 0.0,
        momentum: float = 0.6,
        sgd_momentum: float = 0.85,
        name: str = "convolution_muon",
        **options: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **options)
        self.head_rate, self.bias_rate, self.peak, self.decay = head_rate, bias_rate, peak, decay
        self.momentum, self.sgd_momentum = momentum, sgd_momentum

    def build(self, variables: list[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self.momenta = [self.add_variable_from_reference(v, name="momentum") for v in variables]

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        momentum = self.momenta[self._get_variable_index(variable)]
        if len(variable.shape) == 4:
            self.assign(momentum, self.momentum * momentum + gradient)
            direction = ops.reshape(gradient + self.momentum * momentum, (-1, variable.shape[-1]))
            scale = variable.shape[-1] ** 0.5 / ops.norm(ops.reshape(variable, (-1,)))
            step = ops.reshape(orthogonalized(direction), variable.shape)
            self.assign(variable, variable * scale - learning_rate * step)
        else:
            rate = learning_rate / self.peak * (self.head_rate if len(variable.shape) == 2 else self.bias_rate)
            gradient = gradient + self.decay / self._rate(variable) * variable
            self.assign(momentum, self.sgd_momentum * momentum + gradient)
            self.assign_sub(variable, rate * (gradient + self.sgd_momentum * momentum))

    def _rate(self, variable: keras.Variable) -> float:
        return self.head_rate if len(variable.shape) == 2 else self.bias_rate

    def get_config(self) -> dict[str, Any]:
        own = ("head_rate", "bias_rate", "peak", "decay", "momentum", "sgd_momentum")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
