"""The engines: no word to anybody, the same answer for the same photo in any batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runners.artifacts import KERAS_FILE, OPENVINO_FILE
from runners.network import Network, import_openvino, load_network
from settings import ROOT
from training.graph import bfloat16
from training.network import STD, WHITEN


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained network, exported as training exports it."""
    from runners.artifacts import read_network_card
    from training.export import export_network
    from training.network import build, whitening_kernel

    folder = tmp_path_factory.mktemp("network")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (200, 32, 32, 3), dtype=np.uint8)
    model = build((8, 8, 8), 3, whitening_kernel(pixels), seed=0, depths=(2, 3, 2))
    export_network(model, folder, ("a", "b", "c"), (pixels, rng.integers(0, 3, 200)), {}, mirror=True)
    assert read_network_card(folder).embedding_size == 8
    return folder


@pytest.fixture(scope="module")
def network(exported: Path) -> Network:
    return load_network(exported)


def test_each_gelu_is_one_operation_and_the_answer_that_of_keras(exported: Path) -> None:
    openvino = import_openvino()
    model = openvino.Core().read_model(exported / OPENVINO_FILE)
    kinds = [node.get_type_name() for node in model.get_ops()]
    assert (kinds.count("Gelu"), kinds.count("Erf")) == (8, 0)
    pixels = np.random.default_rng(1).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    exact = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(pixels)
    for ours, keras in zip((exact[0], exact[1]), load_network(exported, "tensorflow")(pixels), strict=True):
        assert np.allclose(ours, keras, atol=1e-4)


def test_the_first_layer_reads_bytes_with_a_kernel_that_bfloat16_holds(exported: Path) -> None:
    import keras

    model = import_openvino().Core().read_model(exported / OPENVINO_FILE)
    first = next(node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution")
    kernel = first.input_value(1).get_node().get_data()
    assert kernel.shape == (24, 6, 2, 2)
    assert np.array_equal(bfloat16(kernel), kernel)
    trained = keras.saving.load_model(exported / KERAS_FILE, compile=False).get_layer(WHITEN).get_weights()[0]
    whole = trained.transpose(3, 2, 0, 1) / (255 * STD)[:, None, None]
    assert np.abs(kernel[:, :3] - whole).max() > 2**-12 * np.abs(whole).max()  # one bfloat16 would not do
    assert np.allclose(kernel[:, :3] + kernel[:, 3:], whole, rtol=0, atol=2**-15 * np.abs(whole).max())


def test_bfloat16_rounds_to_the_nearest_and_ties_to_even() -> None:
    exact, step = np.array([1.0, -3.5, 255.0, 0.0]), 2.0**-7
    assert np.array_equal(bfloat16(exact), exact)
    assert bfloat16(np.array([1 + 0.4 * step, 1 + 0.6 * step])).tolist() == [1.0, 1 + step]
    assert bfloat16(np.array([1 + 0.5 * step, 1 + 1.5 * step])).tolist() == [1.0, 1 + 2 * step]


def test_a_photo_gets_the_same_answer_alone_and_in_a_batch(network: Network) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (64, 32, 32, 3), dtype=np.uint8)
    logits, embedding = network(pixels)
    assert logits.shape == (64, 3)
    assert embedding.shape == (64, 8)
    for i in (0, 17, 63):
        alone = network(pixels[i : i + 1])
        assert np.allclose(alone[0], logits[i], atol=2e-2)
        assert np.allclose(alone[1], embedding[i], atol=2e-2)


def test_threads_get_their_own_answers(network: Network) -> None:
    from concurrent.futures import ThreadPoolExecutor

    batches = [np.full((4, 32, 32, 3), value, np.uint8) for value in range(0, 250, 10)]
    expected = [network(batch)[0] for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for got, want in zip(pool.map(lambda b: network(b)[0], batches), expected, strict=True):
                assert np.array_equal(got, want)


def test_loading_openvino_leaves_no_trace_of_telemetry(tmp_path: Path) -> None:
    code = (
        "from runners.network import import_openvino; import sys; import_openvino().Core()\n"
        "import keras.src.export.openvino; print(sys.modules['openvino_telemetry'])"
    )
    quiet = {name: value for name, value in os.environ.items() if name != "CI"}  # it is silent there by itself
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**quiet, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "None"
    assert not (tmp_path / "intel").exists()
