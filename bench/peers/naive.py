"""The composition that BentoML's documentation shows: two services, each batching, called through `depends`.

The forest is scikit-learn's, of the size of the gate's and fitted on made-up features: it costs the same, its scores
mean nothing. The rest is the product's.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
from PIL import Image

from bench.peers.model import answer
from runners.artifacts import read_network_card
from runners.gate import load_gate
from runners.images import decode
from runners.network import load_network
from runners.pipeline import combine

CNN, FOREST = Path(os.environ["BENCH_CNN"]), Path(os.environ["BENCH_FOREST"])


@bentoml.service(name="naive_cnn")
class Cnn:
    def __init__(self) -> None:
        self.network = load_network(CNN)

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=10_000)
    def infer(self, pixels: np.ndarray) -> np.ndarray:
        return np.concatenate(self.network(pixels), axis=1)


@bentoml.service(name="naive_forest")
class Forest:
    def __init__(self) -> None:
        from sklearn.ensemble import IsolationForest

        self.gate = load_gate(FOREST)
        made_up = np.random.default_rng(0).exponential(size=(2000, len(self.gate.names))).astype(np.float32)
        trees = len(self.gate.forest.roots)
        self.forest = IsolationForest(n_estimators=trees, max_samples=256, random_state=0).fit(made_up)

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=10_000)
    def score(self, outputs: np.ndarray) -> np.ndarray:
        classes = len(self.gate.class_means)
        logits, embedding = outputs[:, :classes], outputs[:, classes:]
        score = -self.forest.score_samples(self.gate.features(logits, embedding))
        return np.stack([score, self.gate.conformity(score, logits.argmax(axis=1))], axis=1)


@bentoml.service(name="naive")
class Naive:
    cnn = bentoml.depends(Cnn)
    forest = bentoml.depends(Forest)

    def __init__(self) -> None:
        self.card = read_network_card(CNN)

    @bentoml.api
    async def classify(self, image: Image.Image) -> dict[str, Any]:
        outputs = await self.cnn.to_async.infer(decode(image).pixels[None])
        verdict = await self.forest.to_async.score(outputs)
        logits, embedding = np.split(outputs, [len(self.card.labels)], axis=1)
        scores = combine(logits, embedding, (verdict[:, 0], 1 - verdict[:, 1]), self.card.temperature)
        return answer(scores, 0, self.card.labels)
