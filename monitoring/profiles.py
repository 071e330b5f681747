"""The one module that knows whylogs: mergeable profiles of the table, behind four small types of ours."""

from __future__ import annotations

import builtins
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.rows import COLUMNS, Table

SKETCH_K = 16_384
"""Size of the KLL quantile sketches: exact up to that many rows, then 0.03 % rank error and up to 400 kB a column."""
_ITEMS_LG_K = 12
"""The frequent-items sketch counts up to 0.75 * 2**12 distinct values without error."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Numeric:
    """A numeric column: ``count`` finite rows, ``mean`` and sample ``deviation`` (exact), and a KLL sketch of the rest.

    The sketch: Karnin, Lang, Liberty, "Optimal Quantile Approximation in Streams", FOCS 2016.
    """

    count: int
    mean: float
    deviation: float
    _sketch: Any

    @property
    def rank_error(self) -> float:
        """Bound on the error of `cdf` over all points at once (99 % confidence), 0..1; 0 up to `SKETCH_K` rows."""
        return float(self._sketch.normalized_rank_error(True)) if self._sketch.is_estimation_mode() else 0.0

    def quantiles(self, fractions: Iterable[float]) -> Floats:
        """The values at ``fractions`` (each 0..1), NaN for an empty column."""
        wanted = [float(f) for f in fractions]
        if not self.count:
            return np.full(len(wanted), np.nan)
        return np.asarray(self._sketch.get_quantiles(wanted), np.float64)

    def cdf(self, points: Floats, *, inclusive: bool = True) -> Floats:
        """Share of rows <= each point (< when not ``inclusive``), float64 (k,), for ``points`` (k,) in rising order."""
        if not self.count:
            return np.full(len(points), np.nan)
        points, where = np.unique(points, return_inverse=True)
        asked = np.nextafter(points, np.inf) if inclusive else points  # the sketch itself counts values below a point
        return np.asarray(self._sketch.get_cdf(asked.tolist()), np.float64)[:-1][where]

    @cached_property
    def support(self) -> Floats:
        """Every distinct value in rising order; above `SKETCH_K` rows, that many evenly spaced quantiles."""
        steps = min(self.count, SKETCH_K)
        return np.unique(self.quantiles((np.arange(steps) + 0.5) / steps)) if steps else np.empty(0)


@dataclass(frozen=True)
class Categorical:
    """A categorical column: exact ``counts`` by value."""

    counts: Mapping[str, int]

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    @property
    def shares(self) -> dict[str, float]:
        total = self.count
        return {value: n / total for value, n in self.counts.items()}


class Profile:
    """An immutable whylogs profile. ``metadata`` travels with it (str to str): model tags, window start and end, ...

    It is made of whylogs' ``view``, of its serialised ``data``, or of both; the other is made when it is asked for.
    """

    def __init__(self, metadata: Mapping[str, str], view: Any = None, data: bytes | None = None) -> None:
        self._made_of, self._data = view, data
        self.metadata = dict(metadata)
        self._numeric: dict[str, Numeric] = {}

    @property
    def _view(self) -> Any:
        if self._made_of is None:
            self._made_of = _reader()(self._data or b"")
        return self._made_of

    @property
    def columns(self) -> frozenset[str]:
        return frozenset(self._view.get_columns())

    @property
    def rows(self) -> int:
        """How many rows went in (exact, also after merging)."""
        columns = self._view.get_columns().values()
        return max((int(c.get_metric("counts").n.value) for c in columns), default=0)

    def numeric(self, name: str) -> Numeric:
        """A numeric column by name. Raises KeyError where the profile has none of that name."""
        if name not in self._numeric:
            metric = self._metric(name, "distribution")
            self._numeric[name] = Numeric(
                int(metric.kll.value.get_n()), float(metric.avg), float(metric.stddev), metric.kll.value
            )
        return self._numeric[name]

    def categorical(self, name: str) -> Categorical:
        """A categorical column by name. Raises KeyError where there is none, ValueError above 3,000 distinct values."""
        items = self._metric(name, "frequent_items").strings
        rows = int(self._metric(name, "counts").n.value)
        if any(item.lower != item.upper for item in items) or sum(int(item.est) for item in items) != rows:
            raise ValueError(f"Column {name} has too many distinct values to count exactly.")
        return Categorical({item.value: int(item.est) for item in sorted(items, key=lambda item: str(item.value))})

    def to_bytes(self) -> bytes:
        """The profile in whylogs' own file format."""
        if self._data is None:
            self._data = bytes(self._view.serialize())
        return self._data

    def _metric(self, column: str, metric: str) -> Any:
        found = self._view.get_column(column)
        value = found.get_metric(metric) if found else None
        if value is None:
            raise KeyError(f"The profile has no {metric} of a column {column}.")
        return value


class ProfileBuilder:
    """A growing profile. One thread owns it: whylogs loses counts when two share one."""

    def __init__(self) -> None:
        core = _whylogs()
        self._profile = core.DatasetProfile(schema=core.DatasetSchema(resolvers=_resolver()))
        self.rows = 0

    def track(self, table: Table) -> None:
        """Add the rows of a ``table`` of `monitoring.rows.rows`: cheap in hundreds, some milliseconds for one alone."""
        import pandas as pd

        frame = pd.DataFrame(table)
        if len(frame):
            self._profile.track(pandas=frame)
            self.rows += len(frame)

    def build(self, **metadata: str) -> Profile:
        """A snapshot of what was tracked so far, carrying ``metadata``."""
        view = self._profile.view()
        view._metadata = {**view.metadata, **metadata}
        return Profile(view.metadata, data=view.serialize())  # the view shares its sketches with the growing profile


def profile(table: Table, **metadata: str) -> Profile:
    """The profile of one table. ``metadata`` of a reference names ``refuse_share``, so that verdicts are comparable."""
    builder = ProfileBuilder()
    builder.track(table)
    return builder.build(**metadata)


def from_bytes(data: bytes) -> Profile:
    """The inverse of `Profile.to_bytes`. Raises ValueError when ``data`` is no whole profile."""
    read = _reader()
    try:
        view = read(data)
    except Exception as error:  # whylogs, protobuf and the sketches each have types of their own for bad bytes
        raise ValueError("The bytes are no whylogs profile, or a damaged one.") from error
    return Profile(view.metadata, view, data)


def merge(profiles: Iterable[Profile]) -> Profile:
    """One profile of all rows: counts and means exactly, quantiles within `Numeric.rank_error`.

    Metadata: the earliest ``start``, the latest ``end``, else the common value or "mixed". Raises ValueError for none.
    """
    view, about = None, []
    for part in profiles:  # one at a time: a thousand of them do not fit into memory
        about.append(part.metadata)
        if view is None:
            view = from_bytes(part.to_bytes())._view  # a copy: what follows writes into it
        else:
            _add(view, part._view)
    if view is None:
        raise ValueError("There is no profile to merge.")
    metadata = _merged_metadata(about)
    view.metadata.clear()
    view.metadata.update(metadata)
    return Profile(metadata, view)


def _add(view: Any, part: Any) -> None:
    """What ``view.merge(part)`` returns, but in ``view`` itself: whylogs copies the growing sketches for each part."""
    columns = view.get_columns()
    for name, column in part.get_columns().items():
        if name not in columns:
            view._columns[name] = type(column).deserialize(column.serialize())
            continue
        for kind, metric in column._metrics.items():
            mine = columns[name].get_metric(kind)
            if kind != "distribution":
                for field in metric.get_component_paths():
                    own = getattr(mine, field)
                    own.set(own._aggregator(own.value, getattr(metric, field).value))
            elif more := metric.kll.value.get_n():
                known, delta = mine.kll.value.get_n(), metric.avg - mine.avg
                mine.m2.set(mine.m2.value + metric.m2.value + delta**2 * known * more / (known + more))
                mine.mean.set((known * mine.avg + more * metric.avg) / (known + more))
                mine.kll.value.merge(metric.kll.value)


def _merged_metadata(parts: list[dict[str, str]]) -> dict[str, str]:
    merged: dict[str, str] = {}
    for key in sorted(set().union(*parts)):
        values = [part[key] for part in parts if key in part]
        if key in ("start", "end"):
            merged[key] = min(values) if key == "start" else max(values)
        else:
            merged[key] = values[0] if len(set(values)) == 1 and len(values) == len(parts) else "mixed"
    return merged


_FIRST = Lock()


@cache
def _resolver() -> Any:
    """Which metrics a column has. One for all profiles: whylogs takes longer to make it than to profile 200 rows."""
    from whylogs.core.metrics import MetricConfig, StandardMetric
    from whylogs.core.resolvers import DeclarativeResolver, MetricSpec, ResolverSpec

    config = MetricConfig(kll_k_large=SKETCH_K, fi_lg_max_k=_ITEMS_LG_K)

    def spec(name: str, categorical: bool) -> Any:
        second = StandardMetric.frequent_items if categorical else StandardMetric.distribution
        return ResolverSpec(
            column_name=name, metrics=[MetricSpec(m.value, config) for m in (StandardMetric.counts, second)]
        )

    return DeclarativeResolver([spec(c.name, c.categorical) for c in COLUMNS])


def _whylogs() -> Any:
    with _FIRST:  # a second thread waits here for the first
        return _import_whylogs()


@cache
def _import_whylogs() -> Any:
    os.environ.setdefault("WHYLOGS_NO_ANALYTICS", "True")
    vars(np).setdefault("unicode_", np.str_)  # whylogs 1.6.4 reads a name that NumPy 2 took away
    _import_less()
    import whylogs.core
    from whylogs_sketching import kll_doubles_sketch  # type: ignore[import-not-found]  # compiled, without stubs

    _track_faster()
    # With its first array the library imports NumPy, once, behind a lock that other threads wait for without letting go
    # of the interpreter, which that import needs: whatever two recorders began to profile together never ended.
    kll_doubles_sketch(8).update(np.zeros(1))
    return whylogs.core


def _import_less() -> None:
    """whylogs imports scikit-learn and SciPy where they are installed, for embeddings, which we have none of: 70 MB and
    half a second. Its module that does so is loaded here, as if they were missing."""
    package = find_spec("whylogs")
    if package is None or not package.submodule_search_locations or "whylogs" in sys.modules:
        return
    name = "whylogs.core.stubs"
    spec = spec_from_file_location(name, Path(package.submodule_search_locations[0], "core", "stubs.py"))
    if spec is None or spec.loader is None:
        return

    def less(wanted: str, *rest: Any, **more: Any) -> Any:
        if wanted.partition(".")[0] in ("scipy", "sklearn"):
            raise ImportError(wanted)
        return __import__(wanted, *rest, **more)

    module = module_from_spec(spec)
    vars(module)["__builtins__"] = vars(builtins) | {"__import__": less}
    sys.modules[name] = module
    spec.loader.exec_module(module)


def _track_faster() -> None:
    """whylogs asks every value of a column for its type, several times over; those of a column of ours all have one."""
    from whylogs.core.metrics.metrics import Metric
    from whylogs.core.preprocessing import PreprocessedColumn

    slow = PreprocessedColumn._pandas_split
    text = {column.name for column in COLUMNS if column.categorical}

    def split(column: Any, series: Any, parse_numeric_string: bool = False) -> None:
        if series.name in text:
            column.pandas.strings = series
        elif series.dtype == np.float64:
            values = series.to_numpy()
            missing = np.isnan(values)
            column.null_count = column.nan_count = int(missing.sum())
            column.numpy.floats = values[~missing]
            column.inf_count = int(np.isinf(values).sum())
        else:
            slow(column, series, parse_numeric_string)

    PreprocessedColumn._pandas_split = split

    @cache
    def name_of(kind: Any) -> str:
        return str(kind.zero().namespace)

    # It makes a whole metric to read its name, a hundred times for a new profile.
    Metric.get_namespace = classmethod(lambda kind, config=None: name_of(kind))  # type: ignore[arg-type]  # noqa: ARG005


@cache
def _reader() -> Callable[[bytes], Any]:
    """What `DatasetProfileView.deserialize` does, in a tenth of its time: that one copies each message three times,
    looks for its optional modules in each column, and defines a class for each number."""
    _whylogs()
    from google.protobuf.message import Message
    from whylogs.core.metrics import StandardMetric
    from whylogs.core.metrics import metric_components as parts
    from whylogs.core.proto import ChunkHeader, ChunkMessage, DatasetProfileHeader, DatasetSegmentHeader
    from whylogs.core.view.column_profile_view import ColumnProfileView
    from whylogs.core.view.dataset_profile_view import WHYLOGS_MAGIC_HEADER_BYTES as MAGIC
    from whylogs.core.view.dataset_profile_view import DatasetProfileView

    blanks = {
        "n": parts.IntegralComponent(0),
        "d": parts.FractionalComponent(0.0),
        "kll": parts.KllComponent(None),
        "frequent_items": parts.FrequentStringsComponent(None),
    }
    deserializers = {kind: blank._deserializer._func for kind, blank in blanks.items()}
    metrics = {member.name: member.value for member in StandardMetric}

    def part_of(data: bytes, at: int, length: int) -> bytes:
        if at + length > len(data):
            raise ValueError("The file ends too early.")
        return data[at : at + length]

    def delimited(kind: type[Message], data: bytes, at: int) -> tuple[Any, int]:
        """The message at ``at``, which a varint of its length precedes, and where it ends."""
        length = shift = 0
        while True:
            byte, at = data[at], at + 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return kind.FromString(part_of(data, at, length)), at + length

    def component(message: Any) -> Any:
        kind = message.WhichOneof("value")
        if message.type_id or kind not in blanks:  # a profile that others made
            return parts.MetricComponent.from_protobuf(message)
        made = object.__new__(type(blanks[kind]))
        vars(made).update(vars(blanks[kind]), _value=deserializers[kind](message))
        return made

    def read(data: bytes) -> Any:
        if not data.startswith(MAGIC):
            raise ValueError("The file does not begin as a profile does.")
        _, at = delimited(DatasetSegmentHeader, data, len(MAGIC))
        header, start = delimited(DatasetProfileHeader, data, at)
        paths = {index: path.split("/", 1) for index, path in header.indexed_metric_paths.items()}
        columns = {}
        for name, chunks in sorted(header.column_offsets.items()):
            found: dict[str, dict[str, Any]] = {}
            for offset in chunks.offsets:
                about, at = delimited(ChunkHeader, data, start + offset)
                chunk = ChunkMessage.FromString(part_of(data, at, about.length))
                for index, message in chunk.metric_components.items():
                    metric, part = paths[index]
                    found.setdefault(metric, {})[part] = component(message)
            columns[name] = ColumnProfileView({metric: metrics[metric](**of) for metric, of in found.items()})
        written = header.properties
        return DatasetProfileView(
            columns=columns,
            dataset_timestamp=datetime.fromtimestamp(written.dataset_timestamp / 1000, UTC),
            creation_timestamp=datetime.fromtimestamp(written.creation_timestamp / 1000, UTC),
            metadata={**written.tags, **written.metadata},
        )

    return read
