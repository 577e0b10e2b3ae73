"""Microsoft's own worker library runs a small app."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest

from tests.functions_runtime import FunctionsRuntime

pytest.importorskip("azure_functions_runtime", reason="the worker is a library from Python 3.13 on")

APP = """
import os
from pathlib import Path

import azure.functions as func

app = func.FunctionApp()


@app.event_grid_trigger(arg_name="event")
def keep(event: str) -> None:
    print("a print does no harm")
    Path(os.environ["KEEP_IN"]).write_text(f"{type(event).__name__} {event}", encoding="utf-8")


@app.event_grid_trigger(arg_name="event")
def fail(event: str) -> None:
    raise ValueError("no room")


@app.event_grid_trigger(arg_name="event")
def answer(event: str) -> str:
    return "done"


@app.timer_trigger(arg_name="timer", schedule="0 */5 * * * *")
def tick(timer: func.TimerRequest) -> None:
    Path(os.environ["KEEP_IN"]).write_text(f"{type(timer).__name__} {timer.past_due}")


@app.route("things/{id}", methods=["GET"])
def things(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("here")
"""
EVENTS = [
    {"id": "1", "topic": "/t", "subject": "größe", "eventType": "A.B", "data": {"a": 1}, "eventTime": "2026-01-01"},
    {"specversion": "1.0", "id": "1", "source": "/t", "type": "A.B", "data": {"a": [1]}, "extension": "kept"},
]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "kept.txt"


@pytest.fixture
def runtime(tmp_path: Path, kept: Path) -> FunctionsRuntime:
    (tmp_path / "function_app.py").write_text(APP)
    return FunctionsRuntime(tmp_path, {"KEEP_IN": str(kept)})


def test_the_worker_indexes_every_function_with_its_trigger(runtime: FunctionsRuntime) -> None:
    triggers = {name: function.trigger for name, function in runtime.functions.items()}

    assert triggers == {
        "keep": "eventGridTrigger",
        "fail": "eventGridTrigger",
        "answer": "eventGridTrigger",
        "tick": "timerTrigger",
        "things": "httpTrigger",
    }


@pytest.mark.parametrize("event", EVENTS, ids=["Event Grid's schema", "CloudEvents"])
def test_a_function_with_a_str_parameter_gets_the_whole_event_in_both_schemas(
    runtime: FunctionsRuntime, kept: Path, event: dict[str, object]
) -> None:
    text = json.dumps(event, separators=(",", ":"), ensure_ascii=False)

    ended = runtime.invoke("keep", text)

    assert ended.ok, ended.message
    assert kept.read_text(encoding="utf-8") == f"str {text}"


def test_a_timer_gets_its_timer_request(runtime: FunctionsRuntime, kept: Path) -> None:
    ended = runtime.invoke("tick")

    assert ended.ok, ended.message
    assert kept.read_text() == "TimerRequest False"


def test_an_exception_is_a_failure_with_its_message(runtime: FunctionsRuntime) -> None:
    ended = runtime.invoke("fail", "{}")

    assert not ended.ok
    assert ended.message == "ValueError: no room"


def test_an_event_grid_function_that_returns_something_fails(runtime: FunctionsRuntime) -> None:
    ended = runtime.invoke("answer", "{}")

    assert not ended.ok
    assert "returned a non-None value" in ended.message


@pytest.mark.parametrize(
    ("app", "message"),
    [
        ("raise RuntimeError('a setting is missing')", "a setting is missing"),
        ("import nothing_of_this_name", "nothing_of_this_name"),
        ("", "Could not find top level function app instances"),
        (
            """
            import azure.functions as func
            app = func.FunctionApp()
            @app.event_grid_trigger(arg_name="event")
            def refused(event: dict) -> None: ...
            """,
            "does not match its Python annotation",
        ),
    ],
    ids=["an error while importing", "a missing module", "no app", "an annotation that the trigger does not give"],
)
def test_an_app_that_cannot_be_indexed_is_reported_with_the_workers_message(
    tmp_path: Path, app: str, message: str
) -> None:
    (tmp_path / "function_app.py").write_text(dedent(app))

    with pytest.raises(RuntimeError, match=message):
        FunctionsRuntime(tmp_path)
