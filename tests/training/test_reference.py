"""What a reference says of the accuracy of its answers, which feedback is compared with."""

from __future__ import annotations

import json

import numpy as np

from monitoring.concept import reference_counts
from training.register import right_by_answer


def test_right_answers_are_counted_by_class_answered_without_refusals() -> None:
    answers = np.array(["cat", "cat", "unknown", "dog", "cat", "unknown"])
    truth = np.array(["cat", "dog", "cat", "dog", "cat", "dog"])
    counts = right_by_answer(answers, truth)
    assert counts == {"cat": (2, 3), "dog": (1, 1)}
    assert reference_counts({"right": json.dumps(counts)}) == counts
    assert reference_counts({}) == {}
