"""Call the functions of an Azure Functions app as Azure's Python worker does."""

from __future__ import annotations

import inspect
import json
import logging
import os
import secrets
import threading
import typing
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import azure.functions as func
from azure.functions.meta import Datum

EVENT_GRID = "eventGridTrigger"
HTTP = "httpTrigger"
TIMER = "timerTrigger"

_thread_local_storage = threading.local()
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Function:
    """A function, and its trigger as the host reads it."""

    name: str
    call: Callable[..., Any]
    trigger: dict[str, Any]
    wants_text: bool
    wants_context: bool

    @property
    def kind(self) -> str:
        """The trigger's type, such as `timerTrigger`."""
        return str(self.trigger["type"])


@dataclass(frozen=True)
class Context:
    """The part of the invocation context that functions here use."""

    invocation_id: str
    function_name: str
    trace_context: SimpleNamespace


def index(app: func.FunctionApp) -> list[Function]:
    """Read an app's functions; raises ValueError for a function with another trigger."""
    return [_read(declared) for declared in app.get_functions()]


def _read(declared: func.Function) -> Function:
    name, call = str(declared.get_function_name()), declared.get_user_function()
    bindings = [json.loads(binding) for binding in declared.get_raw_bindings()]
    trigger = next((binding for binding in bindings if binding["type"] in (EVENT_GRID, HTTP, TIMER)), None)
    if trigger is None:
        raise ValueError(f"function {name} has none of the triggers {EVENT_GRID}, {HTTP} and {TIMER}")
    wants_text = typing.get_type_hints(call).get(trigger["name"]) is str
    return Function(name, call, trigger, wants_text, "context" in inspect.signature(call).parameters)


def _converter(kind: str) -> Any:
    return func.get_binding_registry().get(kind)  # type: ignore[no-untyped-call]


class Worker:
    """Runs functions on as many threads as the worker has."""

    def __init__(self) -> None:
        # Without a number, Python and the worker choose the same one: min(32, processors + 4).
        threads = os.environ.get("PYTHON_THREADPOOL_THREAD_COUNT")
        self._pool = ThreadPoolExecutor(int(threads) if threads else None, thread_name_prefix="function")

    def start(self, function: Function, datum: Datum) -> Future[Any]:
        """Begin an invocation; its result is what the function returns to the host."""
        return self._pool.submit(_call, function, datum)

    def stop(self) -> None:
        """Wait for running functions, and start no more."""
        self._pool.shutdown(cancel_futures=True)


def _call(function: Function, datum: Datum) -> Any:
    with _invocation(function) as context:
        value = datum.value if function.wants_text else _converter(function.kind).decode(datum, trigger_metadata={})
        arguments = {function.trigger["name"]: value} | ({"context": context} if function.wants_context else {})
        returned = function.call(**arguments)
        return _converter("http").encode(returned, expected_type=None) if function.kind == HTTP else None


@contextmanager
def _invocation(function: Function) -> Iterator[Context]:
    trace_parent = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    context = Context(
        invocation_id=str(uuid.uuid4()),
        function_name=function.name,
        trace_context=SimpleNamespace(trace_parent=trace_parent, trace_state="", attributes={}),
    )
    _thread_local_storage.invocation_id = context.invocation_id
    try:
        yield context
    except Exception:
        _log.exception("Executed 'Functions.%s' (Failed, Id=%s)", function.name, context.invocation_id)
        raise
    finally:
        _thread_local_storage.invocation_id = None
