"""The heat of a made-up network that looks at one known corner."""

from __future__ import annotations

import numpy as np

from runners.occlusion import GRID, PATCH, STEP, heat, occluded
from runners.pipeline import Pipeline, Scores
from runners.store import Served, open_pair

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def looks_at(top: int, left: int, photos: np.ndarray) -> Scores:
    """Two classes; the first is the likelier, the more of an 8×8 square at ``top``, ``left`` is as in the original."""
    square = np.s_[:, top : top + PATCH, left : left + PATCH]
    same = (photos[square] == PIXELS[None][square]).all(axis=3).mean(axis=(1, 2))
    p = np.stack([0.4 + 0.5 * same, 0.6 - 0.5 * same], axis=1).astype(np.float32)
    row = np.zeros(len(p), np.float32)
    return Scores(p, p, row, row, row)


def test_each_square_is_hidden_once_and_nothing_else_changes() -> None:
    photos = occluded(PIXELS)
    assert photos.shape == (1 + GRID**2, 32, 32, 3)
    assert (photos[0] == PIXELS).all()
    hidden = np.zeros((32, 32), int)
    for number, photo in enumerate(photos[1:]):
        changed = (photo != PIXELS).any(axis=2)
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        top, left = STEP * (number // GRID), STEP * (number % GRID)
        assert (rows.min(), columns.min()) == (top, left)
        assert (rows.max(), columns.max()) == (top + PATCH - 1, left + PATCH - 1)
        hidden += changed
    assert hidden.min() >= 1, "no pixel is never hidden"


def test_the_heat_is_where_the_network_looks() -> None:
    for row, column in ((0, 0), (3, 5), (GRID - 1, GRID - 1)):
        found = heat(looks_at(STEP * row, STEP * column, occluded(PIXELS)))
        assert np.unravel_index(found.argmax(), found.shape) == (row, column)
        assert found.max() > 2
        assert found.min() == 0, "squares that do not touch it cost nothing"


def test_what_speaks_against_the_class_is_below_zero() -> None:
    scores = looks_at(0, 0, occluded(PIXELS))
    p = scores.probabilities.copy()
    p[1] = [0.99, 0.01]  # hiding the first square makes the answer surer
    assert heat(Scores(p, p, scores.energy, scores.energy, scores.energy))[0, 0] < 0


def test_a_sure_answer_has_finite_heat() -> None:
    p = np.zeros((1 + GRID**2, 2), np.float32)
    p[:, 0] = 1
    row = np.zeros(len(p), np.float32)
    assert (heat(Scores(p, p, row, row, row)) == 0).all()


def test_the_shipped_network_looks_at_the_thing_and_not_beside_it(starter_pair: Served) -> None:
    from ui.examples import draw_all

    pipeline: Pipeline = open_pair(starter_pair, "openvino")[0]
    drawing = np.asarray(draw_all()["automobile"].resize((32, 32)))
    scores = pipeline.score(occluded(drawing))
    found = heat(scores)
    assert pipeline.labels[int(scores.best[0])] == "automobile"
    assert 1 <= found.argmax() // GRID <= 5, "on the car, which fills the middle"
    assert found.max() > 2 * abs(found[[0, -1]]).max(), "rather than the sky or the road"
