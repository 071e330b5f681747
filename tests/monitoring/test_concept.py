"""Concept drift: feedback against the reference by class, within the promised rate of false alarms."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from monitoring import concept, drift, profiles
from monitoring.concept import ALL, compare, reference_counts

REFERENCE = {"cat": (270, 300), "dog": (285, 300), "ship": (98, 100)}


def test_a_class_whose_answers_went_wrong_is_named_with_its_interval():
    found = compare(REFERENCE, {"cat": (20, 40), "dog": (38, 40)}, alpha=0.01, min_rows=30)
    assert [c.name for c in found] == [ALL, "cat", "dog"]
    assert [c.drifted for c in found] == [True, True, False]
    cat = found[1]
    wilson = stats.binomtest(20, 40).proportion_ci(method="wilson")
    assert (cat.answers, cat.accuracy, cat.reference) == (40, 0.5, 0.9)
    assert cat.interval == pytest.approx((wilson.low, wilson.high))


def test_better_answers_are_no_drift_and_few_are_not_tested():
    found = compare({"cat": (60, 100), "dog": (90, 100)}, {"cat": (100, 100), "dog": (0, 5)}, 0.01, 30)
    by_name = {c.name: c for c in found}
    assert not any(c.drifted for c in found)
    assert by_name["dog"].adjusted_p_value is None
    assert by_name["cat"].adjusted_p_value == 1


def test_a_class_that_the_reference_lacks_is_shown_not_tested():
    (_, new) = compare(REFERENCE, {"bicycle": (0, 50)}, 0.01, 30)
    assert (new.name, new.reference, new.adjusted_p_value, new.drifted) == ("bicycle", None, None, False)


def test_unchanged_feedback_alarms_no_more_often_than_promised():
    rng = np.random.default_rng(3)
    right = {"cat": 0.9, "dog": 0.95, "ship": 0.98, "deer": 0.7}
    alarms = 0
    for _ in range(400):
        sides = [{name: (int(rng.binomial(n, p)), n) for name, p in right.items()} for n in (250, 60)]
        alarms += any(c.drifted for c in compare(*sides, alpha=0.05, min_rows=30))
    assert alarms <= stats.binom.ppf(0.995, 400, 0.05)


def test_the_check_has_three_kinds_and_shares_its_false_alarms(table):
    made = table(2_000, seed=1)
    reference = profiles.profile(made, refuse_share="0.05", right=json.dumps(REFERENCE))
    window = profiles.profile(table(300, seed=2), refuse_share="0.05")
    assert reference_counts(reference.metadata) == REFERENCE
    found = drift.check(reference, window, feedback={"cat": (20, 40)})
    assert (found.verdict, found.input_drift, found.prediction_drift, found.concept_drift) == (
        "drift", False, False, True,
    )  # fmt: skip
    assert "Fewer answers are right than in the reference: all answers, cat." in found.reason
    assert drift.check(reference, window, feedback={"cat": (36, 40)}).verdict == "no drift"
    assert drift.DriftResult.model_validate_json(found.model_dump_json()) == found
    few = drift.check(reference, profiles.profile(table(5, seed=2)), feedback={"cat": (20, 40)})
    assert (few.verdict, few.concept_drift) == ("drift", True)


def test_without_counts_in_the_reference_feedback_is_shown_only(table):
    reference = profiles.profile(table(500, seed=1))
    found = drift.check(reference, profiles.profile(table(200, seed=2)), feedback={"cat": (0, 90)})
    assert (found.verdict, found.concept_drift) == ("no drift", False)
    assert [c.accuracy for c in found.feedback] == [0, 0]


def test_holm_is_that_of_the_paper():
    assert concept.holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
