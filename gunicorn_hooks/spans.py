"""Spans of the requests that the gateway sampled (compose/traces.yaml), to OTEL_EXPORTER_OTLP_ENDPOINT: the view, and each SQL statement.

Any other request costs a look at its traceparent. OpenTelemetry's own variables (OTEL_SERVICE_NAME, OTEL_BSP_*) hold.
"""

import sys
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

SAMPLED = "-01"
_parent = TraceContextTextMapPropagator().extract
_tracer = trace.get_tracer("gunicorn_hooks")


def install(worker: Any) -> None:
    """Record what this worker does. Its thread that sends is made here, after the fork."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    worker.wsgi = recorded(worker.wsgi)
    if "sqlalchemy" in sys.modules:
        from sqlalchemy import Engine, event

        event.listen(Engine, "before_cursor_execute", _begin_statement)
        event.listen(Engine, "after_cursor_execute", _end_statement)
        event.listen(Engine, "handle_error", lambda failed: _end_statement(*[None] * 4, failed.execution_context, error=failed))


def recorded(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Wrap the application: a sampled request has a span until its body ends."""

    def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("HTTP_TRACEPARENT", "").endswith(SAMPLED):
            return record(environ, start_response)
        return application(environ, start_response)

    def record(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        told = {"http.request.method": method, "url.path": environ.get("PATH_INFO", ""), "request_id": environ.get("HTTP_X_REQUEST_ID", "")}
        context = _parent({"traceparent": environ["HTTP_TRACEPARENT"]})
        with _tracer.start_as_current_span(method, context, trace.SpanKind.SERVER, told) as span:

            def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
                if rule := getattr(environ.get("werkzeug.request"), "url_rule", None):
                    span.update_name(f"{method} {rule.rule}")
                    span.set_attribute("http.route", rule.rule)
                span.set_attribute("http.response.status_code", int(status[:3]))
                if status[0] == "5":
                    span.set_status(trace.StatusCode.ERROR)
                return start_response(status, headers, *rest)

            body = application(environ, start)
            try:
                yield from body
            finally:
                getattr(body, "close", lambda: None)()

    return call


def _begin_statement(_connection: Any, _cursor: Any, statement: str, _parameters: Any, context: Any, *_: Any) -> None:
    if trace.get_current_span().is_recording():  # what views were given is in parameters, and in no span
        told = {"db.system.name": context.dialect.name, "db.query.text": statement}
        context.kit_span = _tracer.start_span(statement.split(None, 1)[0], kind=trace.SpanKind.CLIENT, attributes=told)


def _end_statement(*arguments: Any, error: Any = None) -> None:
    if span := getattr(arguments[4], "kit_span", None):
        if error:
            span.set_status(trace.StatusCode.ERROR, type(error.original_exception).__name__)
        span.end()
