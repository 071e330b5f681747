"""`python -m bench.gate`: what the gate's score costs for one photo and for 64, features included.

Outputs and gate are made up, no smaller than the shipped ones; each feature set that the lab may choose is timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from runners.blas import one_blas_thread
from runners.gate import Gate
from training.gate import fit_gate
from training.ood_known import Outputs, fit_known
from training.ood_scores import CANDIDATES

CLASSES, DIMENSIONS, TREES = 27, 256, 200
WANTED = {1: 0.2, 64: 2.0}
"""Photos in a call -> milliseconds at most."""
ROUNDS = 200


def main() -> int:
    one_blas_thread()  # as in the server
    rng = np.random.default_rng(0)
    train, labels = made_up(CLASSES * 60, rng)
    held, calibration = made_up(2500, rng)[0], made_up(2500, rng)[0]
    known = fit_known(train, labels, held, 1.0, CLASSES)
    calls = {n: made_up(n, rng)[0] for n in WANTED}
    print(f"{CLASSES} classes, {DIMENSIONS} embedding units, {TREES} trees; median of {ROUNDS} calls, milliseconds\n")
    print(f"{'features':<48}" + "".join(f"{f'{n} at once':>12}" for n in WANTED))
    slowest = dict.fromkeys(WANTED, 0.0)
    for names in CANDIDATES:
        gate = fit_gate(held, known, calibration, names, TREES, 0)
        spent = {n: milliseconds(partial(gate.score, *call)) for n, call in calls.items()}
        slowest = {n: max(slowest[n], spent[n]) for n in WANTED}
        print(f"{', '.join(names):<48}" + "".join(f"{spent[n]:>12.3f}" for n in WANTED), flush=True)
    print(f"{'scikit-learn, the forest alone':<48}" + "".join(f"{peer(gate, call):>12.3f}" for call in calls.values()))
    print()
    for n, wanted in WANTED.items():
        met = "met" if slowest[n] < wanted else "missed"
        print(f"target gate_score_{n}: measured {slowest[n]:.3f} ms, wanted < {wanted} ms, {met}")
    return 0


def made_up(count: int, rng: np.random.Generator) -> tuple[Outputs, NDArray[np.int64]]:
    """Outputs of photos scattered around one centre per class, and their labels; each class is there."""
    labels = rng.permutation(np.arange(count) % CLASSES)
    centres = np.random.default_rng(1).normal(size=(CLASSES, DIMENSIONS))
    embedding = (centres[labels] + rng.normal(size=(count, DIMENSIONS))).astype(np.float32)
    return ((embedding @ centres.T / 20).astype(np.float32), embedding), labels


def milliseconds(call: Callable[[], object]) -> float:
    """The median time of ``call``."""
    spent = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        spent.append(time.perf_counter() - start)
    return 1e3 * float(np.median(spent))


def peer(gate: Gate, call: Outputs) -> float:
    """The same size of forest, scored by scikit-learn."""
    from sklearn.ensemble import IsolationForest

    features = gate.features(*call)
    model = IsolationForest(n_estimators=TREES, max_samples=256, random_state=0)
    model.fit(np.random.default_rng(0).exponential(size=(2000, features.shape[1])).astype(np.float32))
    start = time.perf_counter()
    for _ in range(10):
        model.score_samples(features)
    return 1e2 * (time.perf_counter() - start)


if __name__ == "__main__":
    raise SystemExit(main())
