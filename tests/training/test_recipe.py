"""The network in its two forms, its initialisation, and the parts that a training step is made of."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image

from training.augment import augmented, cutout, grainy, reduced
from training.layers import FusedBatchNormalization, fast_gelu
from training.network import WHITEN, build, is_mirrored, macs, served_form, trained_form, whitening_kernel
from training.optimizer import ConvolutionMuon, orthogonalized
from training.precision import resolved

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)

TWO_GELUS = 1e-3
"""Of the largest logit: what is trained and what is served compute it in two ways, 5e-4 apart in each layer."""


@pytest.fixture(scope="module", params=[(2, 2, 2), (2, 3, 3)], ids=str)
def trained(request: pytest.FixtureRequest) -> keras.Model:
    """A network whose every weight differs from its initial value, without and with residual connections."""
    model = build((8, 12, 16), 3, whitening_kernel(PIXELS), seed=1, depths=request.param)
    rng = np.random.default_rng(1)
    model.set_weights([w + rng.normal(0, 0.05, w.shape).clip(-0.2, 0.2) for w in model.get_weights()])
    return model


def answers(model: keras.Model, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    logits, embedding = model.predict_on_batch(pixels)
    return np.asarray(logits), np.asarray(embedding)


def test_whitened_patches_are_uncorrelated() -> None:
    smooth = np.cumsum(RNG.integers(0, 9, (50, 32, 32, 3)), axis=1).clip(0, 255).astype(np.uint8)
    kernel = whitening_kernel(smooth, eps=0.0)
    images = (smooth / 255.0 - [0.4914, 0.4822, 0.4465]) / [0.2470, 0.2435, 0.2616]
    out = ops.convert_to_numpy(ops.conv(images.astype("float32"), kernel[..., :12], padding="valid")).reshape(-1, 12)
    assert np.allclose(out.T @ out / len(out), np.eye(12), atol=0.05)
    assert np.array_equal(kernel[..., 12:], -kernel[..., :12])


def test_kernels_begin_by_passing_their_input_on() -> None:
    model = build((30, 40, 40), 3, whitening_kernel(PIXELS), seed=0)
    kernel = model.get_layer("conv1a").get_weights()[0]
    x = RNG.normal(size=(1, 9, 9, 24)).astype("float32")
    out = ops.convert_to_numpy(ops.conv(x, kernel, padding="same"))
    assert np.allclose(out[..., :24], x)
    assert 0 < np.abs(kernel[..., 24:]).max() <= 1 / np.sqrt(9 * 24)
    other = build((30, 40, 40), 3, whitening_kernel(PIXELS), seed=1).get_layer("conv1a").get_weights()[0]
    assert not np.array_equal(kernel, other)


def test_the_served_form_averages_a_photo_and_its_mirror_image(trained: keras.Model, tmp_path: Path) -> None:
    served = served_form(trained, mirror=True)
    served.save(tmp_path / "served.keras")
    served = keras.saving.load_model(tmp_path / "served.keras", compile=False)
    logits, embedding = answers(served, PIXELS)
    plain = served_form(trained, mirror=False)
    straight, mirrored = answers(plain, PIXELS), answers(plain, PIXELS[:, :, ::-1])
    assert np.allclose(logits, (straight[0] + mirrored[0]) / 2, atol=1e-5)
    assert np.allclose(embedding, (straight[1] + mirrored[1]) / 2, atol=1e-5)
    assert np.allclose(answers(served, PIXELS[:, :, ::-1])[0], logits, atol=1e-6)
    assert np.allclose(answers(served, PIXELS[:1])[0], logits[:1], atol=1e-5)


def test_the_forms_turn_into_each_other(trained: keras.Model) -> None:
    plain, mirrored = served_form(trained, mirror=False), served_form(trained, mirror=True)
    assert (is_mirrored(plain), is_mirrored(mirrored)) == (False, True)
    back = trained_form(mirrored, weight_decay=0.0, precision="float32")
    assert np.allclose(answers(back, PIXELS)[0], answers(trained, PIXELS)[0], atol=1e-6)
    logits = answers(trained, PIXELS)[0]
    assert np.allclose(answers(plain, PIXELS)[0], logits, rtol=0, atol=TWO_GELUS * np.abs(logits).max())
    assert mirrored.count_params() == plain.count_params() == back.count_params()


def test_another_head_changes_the_classes_and_nothing_else(trained: keras.Model) -> None:
    served = served_form(trained, mirror=False)
    kernel = served.get_layer("logits").get_weights()[0]
    head = np.c_[kernel[:, ::-1], np.zeros(len(kernel), np.float32)]
    back = trained_form(served, weight_decay=0.0, precision="float32", head=head)
    (logits, embedding), (old, same) = answers(back, PIXELS), answers(trained, PIXELS)
    assert np.allclose(logits[:, :3], old[:, ::-1], atol=1e-5)
    assert (logits[:, 3] == 0).all()
    assert np.allclose(embedding, same, atol=1e-5)


def test_a_third_convolution_adds_to_what_the_first_of_its_block_gives() -> None:
    shallow, deep = (build((8, 12, 16), 3, whitening_kernel(PIXELS), seed=1, depths=(2, 2, d)) for d in (2, 3))
    for layer in shallow.layers:
        if layer.weights:
            deep.get_layer(layer.name).set_weights(layer.get_weights())
    for name, kernel in (("conv3b", RNG.normal(size=(3, 3, 16, 16))), ("conv3c", np.zeros((3, 3, 16, 16)))):
        deep.get_layer(name).set_weights([kernel])
    first = keras.Model(shallow.input, shallow.get_layer("norm3a").output).predict_on_batch(PIXELS)
    passed_on = ops.convert_to_numpy(fast_gelu(fast_gelu(first))).max(axis=(1, 2))
    assert np.allclose(answers(deep, PIXELS)[1], passed_on, atol=1e-5)


def test_operations_are_counted_by_hand(trained: keras.Model) -> None:
    whiten, first = 31 * 31 * 12 * 24, 31 * 31 * 9 * 24 * 8 + 15 * 15 * 9 * 8 * 8
    second, third = 15 * 15 * 9 * 8 * 12 + 7 * 7 * 9 * 12 * 12, 7 * 7 * 9 * 12 * 16 + 3 * 3 * 9 * 16 * 16
    if any(layer.name == "conv2c" for layer in trained.layers):
        second, third = second + 7 * 7 * 9 * 12 * 12, third + 3 * 3 * 9 * 16 * 16
    convolutions, head = whiten + first + second + third, 16 * 3
    assert macs(served_form(trained, mirror=False)) == convolutions + head
    assert macs(served_form(trained, mirror=True)) == 2 * convolutions + head


def test_fused_batch_normalisation_equals_keras_own() -> None:
    x = RNG.normal(3, 2, (64, 5, 5, 4)).astype("float32")
    fused = FusedBatchNormalization(momentum=0.6, epsilon=1e-5)
    own = keras.layers.BatchNormalization(momentum=0.6, epsilon=1e-5, scale=False)
    for layer in (fused, own):
        layer.build(x.shape)
        layer.beta.assign([0.1, 0.2, 0.3, 0.4])
    assert np.allclose(fused(x, training=True), own(x, training=True), atol=1e-4)
    for name in ("moving_mean", "moving_variance"):
        assert np.allclose(getattr(fused, name), getattr(own, name), rtol=1e-3), name
    assert np.allclose(fused(x, training=False), own(x, training=False), rtol=1e-3, atol=1e-3)


def test_gelu_without_the_error_function_equals_keras_own() -> None:
    x = np.linspace(-12, 12, 20_001, dtype="float32")
    assert np.allclose(
        ops.convert_to_numpy(fast_gelu(x)), ops.convert_to_numpy(ops.gelu(x, approximate=False)), atol=5e-4
    )


def test_the_first_layer_computes_in_float32_whatever_the_precision() -> None:
    whole, half = (
        build((8, 12, 16), 3, whitening_kernel(PIXELS), 1, precision=p) for p in ("float32", "mixed_bfloat16")
    )
    first = [keras.Model(model.input, model.get_layer(WHITEN).output) for model in (whole, half)]
    assert np.array_equal(*(model.predict_on_batch(PIXELS) for model in first))
    assert half.get_layer("conv1a").compute_dtype == "bfloat16"


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (12, 12)])
def test_orthogonalized_matrices_have_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrix = RNG.normal(size=shape).astype("float32")
    values = np.linalg.svd(ops.convert_to_numpy(orthogonalized(matrix)), compute_uv=False)
    assert values.max() < 1.5
    assert np.median(values) > 0.5
    u, _, v = np.linalg.svd(matrix, full_matrices=False)
    assert np.vdot(ops.convert_to_numpy(orthogonalized(matrix)), u @ v) > 0.8 * min(shape) ** 0.5 * np.linalg.norm(
        ops.convert_to_numpy(orthogonalized(matrix))
    )


def test_the_optimizer_keeps_the_norm_of_kernels_and_goes_on_from_its_state(tmp_path: Path) -> None:
    model = build((8, 8, 8), 3, whitening_kernel(PIXELS), seed=0)
    optimizer = ConvolutionMuon(0.1, head_rate=0.1, bias_rate=0.5, peak=0.1, decay=1e-3)
    loss = [keras.losses.CategoricalCrossentropy(from_logits=True), None]
    model.compile(optimizer=optimizer, loss=loss)
    one_hot = np.eye(3, dtype="float32")[np.arange(40) % 3]
    before = model.train_on_batch(PIXELS, one_hot)
    for _ in range(3):
        after = model.train_on_batch(PIXELS, one_hot)
    assert after < before
    kernel = model.get_layer("conv2a").get_weights()[0]
    assert np.linalg.norm(kernel) == pytest.approx(8**0.5, rel=0.1)
    whiten = model.get_layer("whiten").get_weights()[0]
    assert np.array_equal(whiten, whitening_kernel(PIXELS)), "the first layer is not trained"
    model.save(tmp_path / "checkpoint.keras")
    again = keras.saving.load_model(tmp_path / "checkpoint.keras")
    assert again.train_on_batch(PIXELS, one_hot) == model.train_on_batch(PIXELS, one_hot)
    for one, other in zip(again.get_weights(), model.get_weights(), strict=True):
        assert np.array_equal(one, other)


def test_cutout_blanks_one_square_in_each_image() -> None:
    white = np.full((50, 32, 32, 3), 255, np.uint8)
    out = cutout(white, 12, np.random.default_rng(0))
    blank = (out != 255).all(axis=3)
    assert (blank.sum(axis=(1, 2)) == 144).all()
    assert (blank.any(axis=1).sum(axis=1) == 12).all()
    assert len({tuple(np.argwhere(b)[0]) for b in blank}) > 30, "each at its own place"
    assert (white == 255).all(), "the photos themselves are not touched"
    assert cutout(white, 0, np.random.default_rng(0)) is white


def test_augmentation_keeps_the_photos_and_mirrors_where_told() -> None:
    flips = np.arange(40) % 2 == 0
    out = augmented(PIXELS, flips, 0, np.random.default_rng(0))
    assert np.array_equal(out[flips], PIXELS[flips, :, ::-1])
    assert np.array_equal(out[~flips], PIXELS[~flips])
    moved = augmented(PIXELS, np.zeros(40, bool), 2, np.random.default_rng(0))
    assert np.array_equal(moved[:, 8:10, 8:10].shape, PIXELS[:, 8:10, 8:10].shape)
    found = [
        any(
            np.array_equal(m[4:28, 4:28], p[4 + dy : 28 + dy, 4 + dx : 28 + dx])
            for dy in range(-2, 3)
            for dx in range(-2, 3)
        )
        for m, p in zip(moved, PIXELS, strict=True)
    ]
    assert all(found)


def test_bfloat16_only_where_the_processor_has_it(tmp_path: Path) -> None:
    for flags, wanted in (("fpu avx512f avx512_bf16", "mixed_bfloat16"), ("fpu avx2", "float32")):
        (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n")
        assert resolved("auto", tmp_path / "cpuinfo") == wanted
    assert resolved("auto", tmp_path / "missing") == "float32"
    assert resolved("float32", tmp_path / "cpuinfo") == "float32"


@pytest.mark.parametrize("side", [16, 20, 24, 28, 32])
def test_a_smaller_photo_has_the_mean_of_each_area(side: int) -> None:
    flat = np.full((2, 32, 32, 3), (10, 200, 255), np.uint8)
    assert np.array_equal(reduced(flat, side), flat[:, :side, :side])
    out = reduced(PIXELS, side)
    boxes = [np.asarray(Image.fromarray(p).resize((side, side), Image.Resampling.BOX)).astype(int) for p in PIXELS]
    if 32 % side == 0:  # Pillow's box takes whole pixels only
        assert np.abs(out - np.stack(boxes)).max() <= 1
    assert np.allclose(out.mean(axis=(1, 2)), PIXELS.mean(axis=(1, 2)), atol=0.5)


def test_half_of_the_photos_get_noise() -> None:
    grey = np.full((400, 32, 32, 3), 128, np.uint8)
    spread = grainy(grey, 20, np.random.default_rng(0)).std(axis=(1, 2, 3))
    assert 150 < (spread == 0).sum() < 250, "a deviation below a third of a level rounds to none"
    assert 18 < spread.max() < 21
    assert 7 < spread[spread > 0].mean() < 13
    assert grainy(PIXELS, 0, np.random.default_rng(0)) is PIXELS
    white = grainy(np.full((50, 32, 32, 3), 255, np.uint8), 50, np.random.default_rng(0))
    assert white.min() > 0, "nothing wraps around"
