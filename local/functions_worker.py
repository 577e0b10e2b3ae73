"""Call the functions of an Azure Functions app as Azure's Python worker does.

https://github.com/Azure/azure-functions-python-worker
"""

import asyncio
import inspect
import json
import logging
import os
import re
import secrets
import threading
import typing
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import azure.functions as func
from azure.functions.meta import Datum

EVENT_GRID = "eventGridTrigger"
HTTP = "httpTrigger"
TIMER = "timerTrigger"

# The host's own rule: https://github.com/Azure/azure-functions-host, Utility.IsValidFunctionName.
_NAME = re.compile(r"(?!host$)[a-z][a-z0-9_-]{0,127}", re.IGNORECASE)
_HTTP_RESULT = "http"
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
    """The context of an invocation, with the fields of azure.functions.Context."""

    invocation_id: str
    function_name: str
    function_directory: str
    thread_local_storage: threading.local
    trace_context: SimpleNamespace
    retry_context: SimpleNamespace


def index(app: func.FunctionApp) -> list[Function]:
    """Read an app's functions; raises ValueError, because one invalid function disables the whole app in Azure."""
    functions = [_read(declared) for declared in app.get_functions()]
    names = [function.name.lower() for function in functions]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"Function {name} does not have a unique function name; rename one of the functions")
    return functions


def _read(declared: func.Function) -> Function:
    name, call = str(declared.get_function_name()), declared.get_user_function()
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a valid function name; use a letter, then letters, digits, - and _")
    trigger = _trigger(name, [json.loads(binding) for binding in declared.get_raw_bindings()])
    parameters = set(inspect.signature(call).parameters)
    if wrong := {trigger["name"]} ^ (parameters - {"context"}):
        raise ValueError(f"cannot load the {name} function: {sorted(wrong)} must be both a parameter and a binding")
    annotation = typing.get_type_hints(call).get(trigger["name"])
    wants_text = annotation in (str, bytes)
    if annotation and not wants_text and not _accepts(trigger["type"], annotation):
        raise ValueError(
            f"cannot load the {name} function: type of {trigger['name']} binding in the binding decorator"
            f' "{trigger["type"]}" does not match its Python annotation {annotation!r}'
        )
    return Function(name, call, trigger, wants_text, "context" in parameters)


def _trigger(name: str, bindings: list[dict[str, Any]]) -> dict[str, Any]:
    kinds = {binding["type"]: binding for binding in bindings}
    for kind in (EVENT_GRID, HTTP, TIMER):
        if kind in kinds and kinds.keys() <= {kind, _HTTP_RESULT}:
            return kinds[kind]
    raise ValueError(f"function {name} has the bindings {sorted(kinds)}; supported here: {EVENT_GRID}, {HTTP}, {TIMER}")


def _accepts(kind: str, annotation: Any) -> bool:
    return isinstance(annotation, type) and bool(_converter(kind).check_input_type_annotation(annotation))


def _converter(kind: str) -> Any:
    return func.get_binding_registry().get(kind)  # type: ignore[no-untyped-call]


class Worker:
    """Runs functions on as many threads as the worker has, and coroutine functions on one event loop."""

    def __init__(self) -> None:
        # Without a number, Python and the worker choose the same one: min(32, processors + 4).
        threads = os.environ.get("PYTHON_THREADPOOL_THREAD_COUNT")
        self._pool = ThreadPoolExecutor(int(threads) if threads else None, thread_name_prefix="function")

    def start(self, function: Function, datum: Datum) -> Future[Any]:
        """Begin an invocation; its result is what the function returns to the host."""
        if inspect.iscoroutinefunction(function.call):
            return asyncio.run_coroutine_threadsafe(_call_async(function, datum), self._loop)
        return self._pool.submit(_call, function, datum)

    def stop(self) -> None:
        """Wait for running functions, and start no more."""
        self._pool.shutdown(cancel_futures=True)
        if "_loop" in vars(self):
            self._loop.call_soon_threadsafe(self._loop.stop)

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()

        def serve() -> None:
            loop.run_forever()
            loop.close()

        threading.Thread(target=serve, name="event loop", daemon=True).start()
        return loop


def _call(function: Function, datum: Datum) -> Any:
    with _invocation(function) as context:
        return _result(function, function.call(**_arguments(function, datum, context)))


async def _call_async(function: Function, datum: Datum) -> Any:
    with _invocation(function) as context:
        return _result(function, await function.call(**_arguments(function, datum, context)))


@contextmanager
def _invocation(function: Function) -> Iterator[Context]:
    trace_parent = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    context = Context(
        invocation_id=str(uuid.uuid4()),
        function_name=function.name,
        function_directory=str(Path(inspect.getfile(function.call)).parent),
        thread_local_storage=_thread_local_storage,
        trace_context=SimpleNamespace(trace_parent=trace_parent, trace_state="", attributes={}),
        retry_context=SimpleNamespace(retry_count=0, max_retry_count=0, rpc_exception=None),
    )
    _thread_local_storage.invocation_id = context.invocation_id
    try:
        yield context
    except Exception:
        _log.exception("Executed 'Functions.%s' (Failed, Id=%s)", function.name, context.invocation_id)
        raise
    finally:
        _thread_local_storage.invocation_id = None


def _arguments(function: Function, datum: Datum, context: Context) -> dict[str, Any]:
    value = datum.value if function.wants_text else _converter(function.kind).decode(datum, trigger_metadata={})
    return {function.trigger["name"]: value} | ({"context": context} if function.wants_context else {})


def _result(function: Function, returned: Any) -> Any:
    if function.kind == HTTP:
        return _http_result(returned)
    if returned is not None:
        raise RuntimeError(f"function {function.name!r} without a $return binding returned a non-None value")
    return None


def _http_result(returned: Any) -> Any:
    try:
        return _converter(_HTTP_RESULT).encode(returned, expected_type=None)
    except NotImplementedError:
        kind = type(returned).__name__
        raise TypeError(f"unable to encode outgoing TypedData: the function returned a {kind}") from None
