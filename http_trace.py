"""OpenTelemetry spans of requests, decoding and scoring, where the owner asked for them; else next to no cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from starlette.types import Scope

from settings import BadSettingError, Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer


class Span(Protocol):
    """What we need of a span."""

    def set_attribute(self, key: str, value: int) -> None: ...


class _NoSpan:
    def set_attribute(self, key: str, value: int) -> None:
        pass


_NO_SPAN = _NoSpan()
_tracer: Tracer | None = None


def start_tracing(settings: Settings) -> TracerProvider | None:
    """Send the spans of this process where ``settings.traces`` says; call its ``shutdown`` at the end. None when off.

    The usual ``OTEL_`` variables name the collector and the sampler.

    Raises:
        BadSettingError: the exporter is not installed.
    """
    global _tracer
    if settings.traces == "off":
        _tracer = None
        return None
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter

    exporter: SpanExporter
    if settings.traces == "console":
        exporter = ConsoleSpanExporter()
    else:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        except ImportError:
            message = "CIFAR_TRACES: otlp needs the package opentelemetry-exporter-otlp-proto-http."
            raise BadSettingError(message) from None
        exporter = OTLPSpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": "cifar"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = provider.get_tracer("cifar")
    return provider


@contextmanager
def request_span(scope: Scope) -> Iterator[Span]:
    """The span of a request; a child of the caller's where the header ``traceparent`` names one."""
    if _tracer is None:
        yield _NO_SPAN
        return
    from opentelemetry.propagate import extract
    from opentelemetry.trace import SpanKind

    carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    attributes = {"http.request.method": scope["method"], "url.path": scope["path"]}
    with _tracer.start_as_current_span(
        scope["method"], context=extract(carrier), kind=SpanKind.SERVER, attributes=attributes
    ) as span:
        yield span


@contextmanager
def step(name: str, photos: int) -> Iterator[None]:
    """The span of one step of the current request."""
    if _tracer is None:
        yield
        return
    with _tracer.start_as_current_span(name, attributes={"photos": photos}):
        yield
