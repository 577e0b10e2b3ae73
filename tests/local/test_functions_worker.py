"""The local Functions host indexes and calls functions as the real worker does."""

from pathlib import Path

import azure.functions as func
import pytest

from local.functions_host import FunctionsHost
from tests.local.recording_app import RecordingApp
from tests.local.test_functions_event_grid import deliver


def test_a_function_gets_its_context(recording: RecordingApp, url: str) -> None:
    assert deliver(url, "with_context", {}).status_code == 202

    (context,) = recording.calls
    assert context.function_name == "with_context"
    assert context.function_directory == str(Path(__file__).parent)
    assert context.invocation_id
    assert context.trace_context.trace_parent.startswith("00-")
    assert context.retry_context.retry_count == 0


def test_a_coroutine_function_gets_its_event_and_its_context(recording: RecordingApp, url: str) -> None:
    assert deliver(url, "coroutine", {}).status_code == 202

    ((event, name, invocation),) = recording.calls
    assert (event, name) == ("{}", "coroutine")
    assert invocation


@pytest.mark.parametrize("names", [["host"], ["1st"], ["a b"], ["a" * 129], ["good", "GOOD"]])
def test_a_name_that_the_real_host_refuses_is_refused(names: list[str]) -> None:
    app = func.FunctionApp()
    for name in names:

        @app.function_name(name)
        @app.event_grid_trigger(arg_name="event")
        def function(event: str) -> None: ...

    with pytest.raises(ValueError, match="function name"):
        FunctionsHost(app)


def test_an_annotation_that_the_trigger_does_not_provide_is_refused() -> None:
    app = func.FunctionApp()

    @app.event_grid_trigger(arg_name="event")
    def function(event: dict) -> None: ...  # type: ignore[type-arg]

    with pytest.raises(ValueError, match=r"cannot load the function function: .* does not match its Python annotation"):
        FunctionsHost(app)


def test_a_parameter_without_a_binding_is_refused() -> None:
    app = func.FunctionApp()

    @app.event_grid_trigger(arg_name="event")
    def function(event: str, other: str) -> None: ...

    with pytest.raises(ValueError, match=r"\['other'\] must be both a parameter and a binding"):
        FunctionsHost(app)


def test_a_trigger_that_is_not_supported_here_is_refused() -> None:
    app = func.FunctionApp()

    @app.queue_trigger(arg_name="message", queue_name="queue", connection="AzureWebJobsStorage")
    def function(message: str) -> None: ...

    with pytest.raises(ValueError, match=r"function function has the bindings .'queueTrigger'."):
        FunctionsHost(app)
