"""Profiles: exact counts and means, honest quantiles, merging, bytes."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.util import find_spec, module_from_spec
from pathlib import Path

import numpy as np
import pytest

from monitoring import profiles
from settings import ROOT


def numbers(values):
    return profiles.profile({"brightness": np.asarray(values, np.float64)}).numeric("brightness")


def test_counts_and_means_are_exact(table):
    made = table(1_000)
    profile = profiles.profile(made, refuse_share="0.05")
    assert profile.rows == 1_000
    values, counts = np.unique(made["label"], return_counts=True)
    assert profile.categorical("label").counts == dict(zip(values.tolist(), counts.tolist(), strict=True))
    assert profile.numeric("contrast").mean == pytest.approx(made["contrast"].mean(), abs=1e-12)
    assert profile.numeric("contrast").deviation == pytest.approx(made["contrast"].std(ddof=1), rel=1e-9)
    assert profile.numeric("accepted_confidence").count == (made["refused"] == "no").sum()


def test_a_small_profile_holds_every_value():
    values = np.array([3.0, 1.0, 2.0, 2.0])
    column = numbers(values)
    assert column.support.tolist() == [1, 2, 3]
    assert column.cdf(np.array([1.0, 2.0, 2.5])).tolist() == [0.25, 0.75, 0.75]
    assert column.cdf(np.array([1.0, 2.0, 2.5]), inclusive=False).tolist() == [0, 0.25, 0.75]
    assert column.rank_error == 0


def test_the_rank_error_bounds_a_large_merged_profile():
    values = np.random.default_rng(1).normal(size=60_000)
    parts = [profiles.profile({"brightness": part}) for part in np.array_split(values, 30)]
    column = profiles.merge(parts).numeric("brightness")
    assert column.count == len(values)
    points = np.sort(values)[::50]
    truth = np.searchsorted(np.sort(values), points, side="right") / len(values)
    assert 0 < np.abs(column.cdf(points) - truth).max() <= column.rank_error < 0.001


@pytest.mark.parametrize("classes", [2, 60, 1_000])
def test_categories_are_counted_exactly_through_merging_and_bytes(classes):
    rng = np.random.default_rng(classes)
    names = np.array([f"class {i}" for i in range(classes)])
    batches = [rng.choice(names, 5_000) for _ in range(4)]
    parts = [profiles.from_bytes(profiles.profile({"label": batch}).to_bytes()) for batch in batches]
    values, counts = np.unique(np.concatenate(batches), return_counts=True)
    assert profiles.merge(parts).categorical("label").counts == dict(zip(values.tolist(), counts.tolist(), strict=True))


def test_too_many_values_to_count_are_an_error_not_a_guess():
    names = np.array([f"class {i}" for i in range(20_000)])
    with pytest.raises(ValueError, match="too many"):
        profiles.profile({"label": names}).categorical("label")


def test_merging_leaves_its_parts_alone(table):
    parts = [profiles.profile(table(n, seed=n), cnn=f"cnn:{n}", forest="f", end=str(n)) for n in (10, 20)]
    merged = profiles.merge(parts)
    assert merged.rows == 30
    assert merged.metadata == {"cnn": "mixed", "forest": "f", "end": "20"}
    assert [part.rows for part in parts] == [10, 20]
    assert parts[0].metadata["cnn"] == "cnn:10"
    assert profiles.from_bytes(merged.to_bytes()).metadata == merged.metadata


def test_merging_gives_what_whylogs_own_merge_gives(table):
    parts = [profiles.profile(table(n, seed=n, brightness=n / 1_000)) for n in (300, 200, 100)]
    ours, theirs = profiles.merge(parts), parts[0]._view.merge(parts[1]._view).merge(parts[2]._view)
    assert ours.columns == frozenset(theirs.get_columns())
    for name, column in theirs.get_columns().items():
        mine = ours._view.get_column(name)
        assert mine.get_metric("counts").to_summary_dict() == column.get_metric("counts").to_summary_dict()
        if column.get_metric("distribution"):
            expected = column.get_metric("distribution")
            found = ours.numeric(name)
            assert (found.mean, found.deviation) == pytest.approx((expected.avg, expected.stddev), rel=1e-12)
            assert found.quantiles((0, 0.2, 1)).tolist() == expected.kll.value.get_quantiles([0, 0.2, 1])


def test_a_column_that_only_a_later_part_has_is_a_copy():
    parts = [profiles.profile({name: np.array(values)}) for name, values in (("energy", [1.0]), ("contrast", [2.0]))]
    merged = profiles.merge([*parts, parts[1]])
    assert (merged.numeric("contrast").count, parts[1].numeric("contrast").count) == (2, 1)


def test_a_column_is_split_as_whylogs_itself_splits_it():
    import pandas as pd

    profiles.profile({"brightness": np.ones(1)})  # from here on whylogs has our way
    spec = find_spec("whylogs.core.preprocessing")
    theirs = module_from_spec(spec)
    sys.modules["theirs"] = theirs  # where its dataclasses look for their module
    spec.loader.exec_module(theirs)
    from whylogs.core import preprocessing as ours

    assert ours.PreprocessedColumn._pandas_split is not theirs.PreprocessedColumn._pandas_split
    values = np.array([1.5, np.nan, -2.0, np.inf, np.nan, -np.inf, 0.0])
    series = (
        pd.Series(values, name="brightness"),
        pd.Series(np.full(3, np.nan), name="brightness"),
        pd.Series(np.array(["cat", "unknown", "cat"]), name="label"),
        pd.Series(np.array([1, 2, 3]), name="another"),
    )
    for one in series:
        mine, yours = (module.PreprocessedColumn.apply(one) for module in (ours, theirs))
        for field in ("len", "null_count", "nan_count", "inf_count", "bool_count"):
            assert getattr(mine, field) == getattr(yours, field), (one.name, field)
        for field in ("floats", "ints"):
            a, b = (getattr(column.numpy, field) for column in (mine, yours))
            assert np.array_equal([] if a is None else a, [] if b is None else b), (one.name, field)
        a, b = (column.pandas.strings for column in (mine, yours))
        assert ([] if a is None else list(a)) == ([] if b is None else list(b))


def test_a_snapshot_does_not_grow(table):
    builder = profiles.ProfileBuilder()
    builder.track(table(5))
    snapshot = builder.build()
    builder.track(table(5))
    assert (snapshot.rows, snapshot.numeric("contrast").count, builder.rows) == (5, 5, 10)


def test_a_profile_is_read_as_whylogs_itself_reads_it(table):
    from whylogs.core import DatasetProfile, DatasetProfileView

    values = table(300) | {"energy": np.where(np.arange(300) % 3, 1.5, np.nan)}
    by_others = DatasetProfile()  # with all that whylogs measures: sketches of other kinds, minima, types
    by_others.track({"brightness": 0.5, "label": "cat", "count": 3})
    for data in (profiles.profile(values, cnn="cnn:1", end="5").to_bytes(), bytes(by_others.view().serialize())):
        ours, theirs = profiles.from_bytes(data)._view, DatasetProfileView.deserialize(data)
        assert ours.metadata == theirs.metadata
        assert (ours._dataset_timestamp, ours._creation_timestamp) == (
            theirs._dataset_timestamp,
            theirs._creation_timestamp,
        )
        assert list(ours.get_columns()) == list(theirs.get_columns())
        for name, column in theirs.get_columns().items():
            found = ours.get_column(name).to_protobuf().metric_components
            assert dict(found) == dict(column.to_protobuf().metric_components), name


@pytest.mark.parametrize("cut", [0, 3, 4, 5, 60, -200, -1])
def test_damaged_bytes_are_told(table, cut):
    with pytest.raises(ValueError, match="damaged"):
        profiles.from_bytes(profiles.profile(table(50)).to_bytes()[:cut])


def test_a_missing_column_is_told():
    with pytest.raises(KeyError, match="contrast"):
        profiles.profile({"brightness": np.ones(3)}).numeric("contrast")


def test_profiling_imports_no_scikit_learn_and_no_scipy() -> None:
    code = (
        "import sys; from monitoring.profiles import ProfileBuilder; ProfileBuilder().track({})\n"
        "from whylogs.core.stubs import is_not_stub, np, pd, sp, sklc\n"
        "assert is_not_stub(np.ndarray) and is_not_stub(pd.DataFrame)\n"
        "assert not is_not_stub(sp) and not is_not_stub(sklc)\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'scipy', 'sklearn', 'whylogs'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "['whylogs']", done.stderr


TWO_AT_ONCE = """
import sys, threading, time
import numpy as np
from monitoring.profiles import ProfileBuilder, profile

class Slowly:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("numpy.core"):
            time.sleep(1)

sys.meta_path.insert(0, Slowly())
start, rows = threading.Barrier(2), []

def work():
    ProfileBuilder()
    start.wait()
    rows.append(profile({"brightness": np.ones(3)}).rows)

threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(rows)
"""


def test_two_threads_begin_to_profile_together() -> None:
    """As the recorders of the old and the new pair do when the pair changes soon after the start."""
    done = subprocess.run([sys.executable, "-c", TWO_AT_ONCE], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[3, 3]", done.stderr


def test_whylogs_stays_behind_one_module() -> None:
    """Another profiler may take its place if nothing else knows it, not even inside a function."""
    files = [*ROOT.glob("*.py")]
    for package in ("bench", "monitoring", "runners", "scripts", "training", "ui"):
        files += (ROOT / package).rglob("*.py")
    knowing = {str(file.relative_to(ROOT)) for file in files if any(map(is_whylogs, imported(file)))}
    # The benchmark compares our decisions with those of whylogs' own drift algorithms.
    assert knowing == {"monitoring/profiles.py", "bench/drift.py"}


def imported(file: Path) -> list[str]:
    """The modules that any line of ``file`` imports by name."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return names + [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]


def is_whylogs(module: str) -> bool:
    return module.partition(".")[0] in ("whylogs", "whylogs_sketching")
