"""Spans from the delivery of an event to its release, and none without OpenTelemetry."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from local.azure_devops_faults import Fault
from model_release.app import HOME
from model_release.tracing import continued
from tests.environment import Environment, event
from tests.test_app import deliver, served

HOST_SPAN = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.fixture(scope="module")
def exporter() -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    yield exporter
    provider.shutdown()


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    exporter.clear()
    return exporter


def own(spans: InMemorySpanExporter) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.instrumentation_scope.name == "model_release"]


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in own(spans) if span.name == name]


def test_an_event_is_one_trace_from_the_hosts_span_to_the_record(env: Environment, spans: InMemorySpanExporter) -> None:
    with continued(HOST_SPAN):
        env.registered(event())

    assert [span.name for span in own(spans)] == ["match", "claim", "create", "record", "attempt", "event"]
    assert {f"{span.context.trace_id:032x}" for span in own(spans)} == {"a" * 32}
    (delivered,) = named(spans, "event")
    assert f"{delivered.parent.span_id:016x}" == "b" * 16
    (recorded,) = named(spans, "record")
    assert dict(recorded.attributes) == {
        "model": "sklearn_regression_model",
        "version": "20",
        "target": "fraud/Deploy sklearn model",
        "state": "started",
    }


def test_an_attempt_of_the_sweep_belongs_to_the_trace_of_the_event(
    env: Environment, spans: InMemorySpanExporter
) -> None:
    env.azure_devops.misbehave(Fault(method="POST", path="/releases", status=429, times=1))
    with continued(HOST_SPAN):
        env.registered(event())

    env.later(minutes=1)

    assert [span.attributes["state"] for span in named(spans, "record")] == ["waiting", "started"]
    assert {f"{span.context.trace_id:032x}" for span in own(spans)} == {"a" * 32}


def test_the_span_of_a_delivery_is_a_child_of_the_hosts_span(env: Environment, spans: InMemorySpanExporter) -> None:
    with served(env.function_app()) as host:
        deliver(host, event())

    assert named(spans, "event")[0].parent


def test_a_failed_request_sets_the_error_status_of_its_span(env: Environment, spans: InMemorySpanExporter) -> None:
    env.azure_devops.misbehave(Fault(method="POST", path="/releases", status=403, times=1))

    env.registered(event())

    (created,) = named(spans, "create")
    assert created.status.status_code is trace.StatusCode.ERROR
    assert named(spans, "attempt")[0].status.status_code is not trace.StatusCode.ERROR


def test_without_opentelemetry_the_app_works_and_its_functions_are_not_wrapped(env: Environment) -> None:
    program = """
import sys
sys.modules["opentelemetry"] = None
from model_release import tracing
from model_release.app import build
from model_release.store.claims import Claims
start_release = build().start_release
with tracing.continued("00-00-00-01"):
    assert tracing.trace_parent() == ""
assert not hasattr(Claims.insert, "__wrapped__")
assert not [name for name in sys.modules if name.startswith("opentelemetry.")]
print(start_release.registered(sys.argv[1])[0].state)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, event()],
        env=os.environ | env.settings(),
        cwd=HOME,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.stderr) == ("started\n", "")
