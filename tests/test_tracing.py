"""Spans from the delivery of an event to its release, and none without OpenTelemetry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from local.azure_devops_faults import Fault
from model_release.app import HOME
from model_release.tracing import continued
from tests.environment import Accounts, Environment, event
from tests.test_app import deliver, served

HOST_SPAN = f"00-{'a' * 32}-{'b' * 16}-01"


def one_event(env: Environment) -> None:
    with continued(HOST_SPAN):
        env.registered(event())


def an_event_and_a_sweep(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(method="POST", path="/releases", status=429, times=1))
    with continued(HOST_SPAN):
        env.registered(event())
    env.later(minutes=1)


def a_delivery(env: Environment) -> None:
    with served(env.function_app()) as host:
        deliver(host, event())


def a_refusal(env: Environment) -> None:
    body = {"message": "the value planted-tag-value is wrong; Bearer planted-token-1234"}
    env.azure_devops.misbehave(Fault(method="POST", path="/releases", status=403, body=body, times=1))
    env.registered(event(ModelTags={"stage": "planted-tag-value"}))


ACTS = (one_event, an_event_and_a_sweep, a_delivery, a_refusal)
Spans = list[dict[str, Any]]


def main(azurite: str, *accounts: str) -> None:
    """Print the spans of each act, which has an account of its own, as JSON."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    spans: dict[str, Spans] = {}
    for act, account in zip(ACTS, accounts, strict=True):
        with Environment((azurite, account)) as env:
            act(env)
        finished = exporter.get_finished_spans()
        own = [span for span in finished if span.instrumentation_scope.name == "model_release"]
        spans[act.__name__] = [json.loads(span.to_json()) for span in own]
        exporter.clear()
    print(json.dumps(spans))  # noqa: T201  read by the fixture


@pytest.fixture(scope="module")
def spans(accounts: Accounts) -> dict[str, Spans]:
    """The spans of each act; a process can have only one tracer provider, so this one gets none."""
    urls, names = zip(*(accounts.take() for _ in ACTS), strict=True)
    command = [sys.executable, "-m", __name__, urls[0], *names]
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def named(spans: Spans, name: str) -> Spans:
    return [span for span in spans if span["name"] == name]


def test_an_event_is_one_trace_from_the_hosts_span_to_the_record(spans: dict[str, Spans]) -> None:
    own = spans["one_event"]

    assert [span["name"] for span in own] == ["match", "claim", "create", "record", "attempt", "event"]
    assert {span["context"]["trace_id"] for span in own} == {"0x" + "a" * 32}
    (delivered,) = named(own, "event")
    assert delivered["parent_id"] == "0x" + "b" * 16
    (recorded,) = named(own, "record")
    assert recorded["attributes"] == {
        "model": "sklearn_regression_model",
        "version": "20",
        "target": "fraud/1",
        "state": "started",
    }


def test_an_attempt_of_the_sweep_belongs_to_the_trace_of_the_event(spans: dict[str, Spans]) -> None:
    own = spans["an_event_and_a_sweep"]

    assert [span["attributes"]["state"] for span in named(own, "record")] == ["waiting", "started"]
    assert {span["context"]["trace_id"] for span in own} == {"0x" + "a" * 32}


def test_the_span_of_a_delivery_is_a_child_of_the_hosts_span(spans: dict[str, Spans]) -> None:
    assert named(spans["a_delivery"], "event")[0]["parent_id"]


def test_a_failed_request_sets_the_error_status_of_its_span(spans: dict[str, Spans]) -> None:
    own = spans["a_refusal"]

    (created,) = named(own, "create")
    assert created["status"]["status_code"] == "ERROR"
    assert named(own, "attempt")[0]["status"]["status_code"] != "ERROR"
    assert "planted" not in json.dumps(own)


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


if __name__ == "__main__":
    main(*sys.argv[1:])
