"""What `/metrics` tells: requests, photos, the network's batches, and how monitoring and feedback fare."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterable
from contextlib import AbstractContextManager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Protocol

from runners.batching import MicroBatcher
from runners.prediction import ApiError, ModelTags, Prediction
from settings import Settings

if TYPE_CHECKING:
    from prometheus_client.core import Metric

PATHS = ("/classify", "/classify_batch", "/explain", "/preview", "/feedback", "/captures", "/labels", "/openapi.json")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
PROBES = ("/livez", "/readyz", "/metrics")
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_RECORDED = {
    "rows_recorded": "Photos profiled.",
    "rows_dropped": "Photos that monitoring lost; 0 unless something is wrong.",
    "windows_flushed": "Windows put on disk.",
    "windows_sent": "Windows that MLflow has.",
}
_PACKAGES = {"openvino": ("openvino",), "tensorflow": ("tensorflow-cpu", "tensorflow")}
PHOTOS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Recorded(Protocol):
    """The counters of `monitoring.recorder.Recorder`."""

    rows_recorded: int
    rows_dropped: int
    windows_flushed: int
    windows_sent: int
    last_error: str | None

    @property
    def ended(self) -> bool: ...


class Watched(Protocol):
    """The state of `http_health.Health`."""

    feedback_ok: bool


class Keeping(Protocol):
    """The counters of `monitoring.keeper.Keeper`."""

    kept: int
    lost: int


class Metrics:
    """The Prometheus metrics of one process. Labels take values from fixed sets, so that no caller can grow them."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
        from prometheus_client.process_collector import ProcessCollector

        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "cifar_requests_total", "Requests answered.", ("method", "path", "code"), registry=registry
        )
        self._seconds = Histogram(
            "cifar_request_seconds",
            "Seconds from a request's first byte to its whole answer.",
            ("path",),
            registry=registry,
            buckets=SECONDS,
        )
        self._in_progress = Gauge("cifar_requests_in_progress", "Requests being answered.", registry=registry)
        self._labels = Counter(
            "cifar_predictions_total", "Photos answered, by label; unknown when refused.", ("label",), registry=registry
        )
        self._refused = Counter("cifar_refused_total", "Photos that the gate refused.", registry=registry)
        self._bad = Counter(
            "cifar_bad_photos_total", "Photos not answered, by error code.", ("code",), registry=registry
        )
        self._batch = Histogram(
            "cifar_batch_photos", "Photos per call of the network.", registry=registry, buckets=PHOTOS
        )
        self._network = Histogram(
            "cifar_network_seconds", "Seconds per call of network and gate.", registry=registry, buckets=SECONDS
        )
        self._state = _State()
        registry.register(self._state)
        self._reloads = Counter(
            "cifar_reloads_total", "Times that a new champion was served or refused.", ("result",), registry=registry
        )
        for result in ("served", "refused"):
            self._reloads.labels(result)
        self._champion = Gauge(
            "cifar_champion_served", "0 while the champion cannot be served, else 1.", registry=registry
        )
        self._champion.set(1)

    def in_progress(self) -> AbstractContextManager[object]:
        """Counts a request while it is being answered."""
        return self._in_progress.track_inprogress()

    def request(self, method: str, path: str, status: int, seconds: float) -> None:
        """A request was answered with ``status``; 0 when its caller had gone."""
        path = _known(path)
        self._requests.labels(method if method in METHODS else "other", path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def predicted(self, answers: Iterable[Prediction]) -> None:
        for answer in answers:
            self._labels.labels(answer.label).inc()
            if not answer.in_distribution:
                self._refused.inc()

    def refused(self, error: ApiError) -> None:
        self._bad.labels(error.code).inc()

    def requests(self) -> int:
        """Requests answered so far, probes left out."""
        samples = (sample for metric in self._requests.collect() for sample in metric.samples)
        return int(sum(sample.value for sample in samples if sample.labels.get("path") not in PROBES))

    def batch(self, photos: int, seconds: float) -> None:
        """The network was called."""
        self._batch.observe(photos)
        self._network.observe(seconds)

    def serve(self, settings: Settings, tags: ModelTags, labels: Iterable[str]) -> None:
        """Tell what is served from now on, and start the counters of new labels at 0."""
        engine = (settings.engine, engine_version(settings.engine))
        self._state.served = (*engine, settings.runners, tags.cnn, tags.forest)
        for label in (*labels, "unknown"):
            self._labels.labels(label)

    def watch(
        self, batcher: MicroBatcher, health: Watched, recorder: Recorded | None, keeper: Keeping | None = None
    ) -> None:
        """Read these whenever the metrics are asked for, in place of those before; a recorder's counts are kept."""
        self._state.watched, self._state.keeper = (batcher, health), keeper
        if recorder is not None:
            self._state.follow(recorder)

    def reloaded(self, served: bool) -> None:
        """A new champion is served, or was refused."""
        self._reloads.labels("served" if served else "refused").inc()
        self._champion.set(served)

    def champion_is_served(self) -> None:
        """What is served is the champion, whatever was refused before."""
        self._champion.set(1)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)


class _State:
    """A collector of what is kept elsewhere, and of what is replaced with the pair."""

    def __init__(self) -> None:
        self.served: tuple[str, ...] | None = None
        self.watched: tuple[MicroBatcher, Watched] | None = None
        self.recorders: list[Recorded] = []
        self.past: Counts[str] = Counts()
        self.keeper: Keeping | None = None

    def follow(self, recorder: Recorded) -> None:
        """Read ``recorder`` too. Of those that have ended only the counts are kept, not the rows and the pair."""
        for old in [one for one in self.recorders if one.ended]:
            self.past.update(_counts(old))
            self.recorders.remove(old)
        self.recorders.append(recorder)

    def collect(self) -> Iterable[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        if self.served is not None:
            names = ("engine", "engine_version", "runners", "cnn", "forest")
            about = GaugeMetricFamily("cifar_served_info", "Always 1: what the labels say is served.", labels=names)
            about.add_metric(self.served, 1)
            yield about
        if self.watched is not None:
            batcher, health = self.watched
            yield GaugeMetricFamily("cifar_queue_photos", "Photos that wait for the network.", batcher.depth)
            yield GaugeMetricFamily(
                "cifar_feedback_available", "1 while feedback can be stored, else 0.", float(health.feedback_ok)
            )
        if keeper := self.keeper:
            text = "Photos kept although nobody gave feedback on them."
            yield CounterMetricFamily("cifar_photos_kept", text, keeper.kept)
            text = "Photos that should have been kept and were not: too many at once, or no store."
            yield CounterMetricFamily("cifar_photos_lost", text, keeper.lost)
        if not self.recorders:
            return
        ok = self.recorders[-1].last_error is None
        yield GaugeMetricFamily("cifar_monitoring_ok", "0 while windows cannot be flushed or sent, else 1.", float(ok))
        total = sum((_counts(one) for one in self.recorders), Counts(self.past))
        for name, text in _RECORDED.items():
            yield CounterMetricFamily(f"cifar_monitoring_{name.removesuffix('_recorded')}", text, total[name])


def engine_version(engine: str) -> str:
    """The installed version of ``engine``, by its package: this process need not load what a runner runs."""
    for package in _PACKAGES[engine]:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return "unknown"


def _counts(recorder: Recorded) -> Counts[str]:
    return Counts({name: getattr(recorder, name) for name in _RECORDED})


def _known(path: str) -> str:
    if path in PATHS or path in PROBES:
        return path
    first = "/" + path[1:].partition("/")[0]  # the rest may be anything
    return first if first in ("/ui", "/feedback") else "other"
