"""Spans from the delivery of an event to its release, and nothing at all without OpenTelemetry."""

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
from model_release import app as wiring
from model_release.tracing import continued
from tests.environment import World, event
from tests.test_app import deliver, served

HOST = f"00-{'a' * 32}-{'b' * 16}-01"


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


def ours(spans: InMemorySpanExporter) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.instrumentation_scope.name == "model_release"]


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in ours(spans) if span.name == name]


def test_an_event_is_one_trace_from_the_hosts_span_to_the_record(world: World, spans: InMemorySpanExporter) -> None:
    with continued(HOST):
        world.app.registered(event())

    assert [span.name for span in ours(spans)] == ["decide", "claim", "start", "record", "attempt", "event"]
    assert {f"{span.context.trace_id:032x}" for span in ours(spans)} == {"a" * 32}
    (delivered,) = named(spans, "event")
    assert f"{delivered.parent.span_id:016x}" == "b" * 16
    (recorded,) = named(spans, "record")
    assert dict(recorded.attributes) == {
        "model": "sklearn_regression_model",
        "version": "20",
        "target": "fraud/Deploy sklearn model",
        "decision": "started",
    }


def test_what_the_sweep_does_later_belongs_to_the_trace_of_the_event(world: World, spans: InMemorySpanExporter) -> None:
    world.azure_devops.misbehave(Fault(method="POST", path="/releases", status=429, times=1))
    with continued(HOST):
        world.app.registered(event())

    world.later(minutes=1)

    assert [span.attributes["decision"] for span in named(spans, "record")] == ["waiting", "started"]
    assert {f"{span.context.trace_id:032x}" for span in ours(spans)} == {"a" * 32}


def test_the_hosts_span_reaches_the_flow(world: World, spans: InMemorySpanExporter) -> None:
    with served(world.function_app()) as host:
        deliver(host, event())

    assert named(spans, "event")[0].parent


def test_an_answer_that_is_an_error_is_told_in_its_span(world: World, spans: InMemorySpanExporter) -> None:
    world.azure_devops.misbehave(Fault(method="POST", path="/releases", status=403, times=1))

    world.app.registered(event())

    (started,) = named(spans, "start")
    assert started.status.status_code is trace.StatusCode.ERROR
    assert named(spans, "attempt")[0].status.status_code is not trace.StatusCode.ERROR


def test_without_opentelemetry_nothing_of_it_is_imported_and_functions_stay_as_they_are(world: World) -> None:
    program = """
import sys
sys.modules["opentelemetry"] = None
from model_release import tracing
from model_release import app as wiring
from model_release.store.ledger import Ledger
app = wiring.build().start_release
with tracing.continued("00-00-00-01"):
    assert tracing.trace_parent() == ""
assert not hasattr(Ledger.close, "__wrapped__")
assert not [name for name in sys.modules if name.startswith("opentelemetry.")]
print(app.registered(sys.argv[1])[0].state)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, event()],
        env=os.environ | world.environment(),
        cwd=wiring.HOME,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.stderr) == ("started\n", "")
