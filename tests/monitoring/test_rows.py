"""The profiled table: its columns, the gate's level, and that nothing can be out of step."""

from __future__ import annotations

import numpy as np
import pytest

from monitoring.rows import COLUMNS, UNKNOWN, rows


def test_columns_come_in_order_with_one_row_per_photo(table):
    made = table(7)
    assert list(made) == [column.name for column in COLUMNS]
    assert {len(values) for values in made.values()} == {7}
    for column in COLUMNS:
        assert made[column.name].dtype.kind == ("U" if column.categorical else "f")


def test_a_photo_is_refused_at_the_level_and_not_above(traffic, labels):
    pixels, sizes, scores = traffic(3)
    scores.ood_p_value[:] = [0.04, 0.05, 0.06]
    made = rows(pixels, sizes, scores, labels, float(np.float32(0.05)))
    assert made["refused"].tolist() == ["yes", "yes", "no"]
    assert made["label"].tolist() == [UNKNOWN, UNKNOWN, labels[scores.best[2]]]
    assert np.isnan(made["accepted_confidence"]).tolist() == [True, True, False]
    assert made["accepted_confidence"][2] == made["confidence"][2]


def test_original_sizes_are_kept_apart(traffic, labels):
    pixels, _, scores = traffic(2)
    made = rows(pixels, np.array([[640, 480], [32, 64]]), scores, labels, 0.05)
    assert made["width"].tolist() == [640, 32]
    assert made["height"].tolist() == [480, 64]


def test_projections_are_fixed_directions_of_the_embedding(traffic, labels):
    pixels, sizes, scores = traffic(1)
    scores.embedding[:] = 0
    scores.embedding[0, 0] = np.sqrt(scores.embedding.shape[1])
    made = rows(pixels, sizes, scores, labels, 0.05)
    # The first row of the matrix. Profiles are compared with references made long ago, so it may never change.
    first = [made[f"projection_{i}"][0] for i in range(4)]
    np.testing.assert_allclose(first, np.random.RandomState(20_261_101).standard_normal(4), rtol=1e-5)


def test_photos_and_scores_of_different_length_are_refused(traffic, labels):
    pixels, sizes, scores = traffic(4)
    with pytest.raises(ValueError, match="do not match"):
        rows(pixels[:3], sizes[:3], scores, labels, 0.05)


def test_no_rows_is_a_table_too(table):
    assert all(len(values) == 0 for values in table(0).values())
