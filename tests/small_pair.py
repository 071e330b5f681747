"""`python -m tests.small_pair`: puts a pair with a small untrained network into the store of `CIFAR_VAR`.

For tests of what is around the network, where thousands of photos are classified: one costs a tenth of what the shipped
pair takes for it. The answers of different photos differ as a trained network's do.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from settings import Settings, configure_environment

LABELS = ("bird", "cat", "mug", "ship")
PHOTOS = 600


def main() -> None:
    configure_environment(Settings())
    from runners.network import load_network
    from training.export import export_gate, export_network, outputs
    from training.gate import fit_gate
    from training.network import HEAD, build, whitening_kernel
    from training.ood_known import fit_known
    from training.register import named, register

    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (PHOTOS, 4, 4, 3), dtype=np.uint8)
    pixels = coarse.repeat(8, axis=1).repeat(8, axis=2)
    model = build((8, 16, 16), len(LABELS), whitening_kernel(pixels), seed=0)
    head = model.get_layer(HEAD)
    embedding = model.predict(pixels, verbose=0)[1]
    mean, kernel = embedding.mean(axis=0), rng.normal(size=head.kernel.shape)
    kernel -= np.outer(mean, mean @ kernel) / (mean @ mean)  # no class is everybody's
    head.set_weights([kernel * 4 / (embedding @ kernel).std()])
    guess = model.predict(pixels, verbose=0)[0].argmax(axis=1)
    with tempfile.TemporaryDirectory() as folder:
        cnn, forest = Path(folder, "cnn"), Path(folder, "forest")
        for made in (cnn, forest):
            made.mkdir()
        card = export_network(model, cnn, LABELS, (pixels, guess), {}, mirror=True)
        logits, embedding = outputs(load_network(cnn), pixels)
        parts = [(logits[part::3], embedding[part::3]) for part in range(3)]
        known = fit_known(parts[0], guess[::3], parts[1], card.temperature, len(LABELS))
        gate = fit_gate(parts[1], known, parts[2], ("gen", "energy"), trees=20, seed=0)
        export_gate(gate, forest, card, {})
        print(register(cnn, forest, {}, named("small")).cnn_tag)


if __name__ == "__main__":
    main()
