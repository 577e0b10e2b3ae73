"""Spans from the delivery of an event to its release, if OpenTelemetry is installed; otherwise this does nothing.

https://opentelemetry.io/docs/languages/python/instrumentation/
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from model_release.domain.claims import Claim
from model_release.domain.events import ModelRegistered
from model_release.domain.history import HistoryEntry
from model_release.domain.targets import Plan

try:
    from opentelemetry import context as contexts
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    INSTALLED = False
else:
    INSTALLED = True
    _TRACER = trace.get_tracer("model_release")
    _W3C = TraceContextTextMapPropagator()

_P = ParamSpec("_P")
_R = TypeVar("_R")


def traced(name: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Run a function in a span with the model version, the target and the state of its arguments and result.

    Its parent is the current span, otherwise the span in which the claim among the arguments was inserted.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        @wraps(function)
        def spanned(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            # The text of an exception may repeat values of tags.
            with _TRACER.start_as_current_span(
                name, _parent(args), attributes=_attributes(args), record_exception=False, set_status_on_exception=False
            ) as span:
                try:
                    result = function(*args, **kwargs)
                except Exception as error:
                    span.set_status(trace.StatusCode.ERROR, type(error).__name__)
                    raise
                if isinstance(result, HistoryEntry):
                    span.set_attribute("state", result.state.value)
                return result

        return spanned if INSTALLED else function

    return decorate


@contextmanager
def continued(trace_parent: str) -> Iterator[None]:
    """Make spans children of the host's span, a W3C `traceparent`."""
    token = contexts.attach(_W3C.extract({"traceparent": trace_parent})) if INSTALLED else None
    try:
        yield
    finally:
        if token:
            contexts.detach(token)


def trace_parent() -> str:
    """Return the current span as a W3C `traceparent`, empty without a span."""
    carrier: dict[str, str] = {}
    if INSTALLED:
        _W3C.inject(carrier)
    return carrier.get("traceparent", "")


def _parent(args: tuple[object, ...]) -> Any:
    if trace.get_current_span().get_span_context().is_valid:
        return None
    return next((_W3C.extract({"traceparent": one.trace_parent}) for one in args if isinstance(one, Claim)), None)


def _attributes(args: tuple[object, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in args:
        if isinstance(one, (ModelRegistered, Claim)):
            found |= {"model": one.model, "version": one.version}
        if isinstance(one, (Plan, Claim)):
            found["target"] = str(one.target)
    return found
