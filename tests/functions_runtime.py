"""An app as Microsoft's own worker library sees it: `python -m tests.functions_runtime APP_DIR [FUNCTION]`.

Each call runs in its own process, because the library keeps one app for the life of a process. The library is
azure-functions-runtime, the worker of Python 3.13 and later: https://github.com/Azure/azure-functions-python-worker
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

HOME = Path(__file__).parent.parent
_INVOCATION = "an invocation"
TIMER_INFO = '{"Schedule":{"AdjustForDST":true},"ScheduleStatus":null,"IsPastDue":false}'


@dataclass(frozen=True)
class IndexedFunction:
    """What the worker reports to the host about a function."""

    name: str
    bindings: list[dict[str, Any]]

    @property
    def trigger(self) -> str:
        """The type of the function's trigger."""
        return next(str(binding["type"]) for binding in self.bindings if binding["type"].endswith("Trigger"))


@dataclass(frozen=True)
class Invocation:
    """The end of an invocation: the message of a failure, and the log that the host would keep."""

    ok: bool
    message: str
    logs: list[str]


class FunctionsRuntime:
    """An app indexed by the worker; raises RuntimeError with the worker's message."""

    def __init__(self, app_dir: Path, env: Mapping[str, str] | None = None) -> None:
        self._app_dir = app_dir
        self._env = os.environ | (env or {})
        answer = self._run()
        if answer["failure"]:
            raise RuntimeError(answer["failure"])
        self.functions = {name: IndexedFunction(name, bindings) for name, bindings in answer["functions"].items()}

    def invoke(self, name: str, trigger: str | None = None) -> Invocation:
        """Invoke an Event Grid function with the JSON text of an event, or a timer function without."""
        kind = self.functions[name].trigger
        if kind not in ("eventGridTrigger", "timerTrigger"):
            raise ValueError(f"{name} has a {kind}")
        answer = self._run(name, content=TIMER_INFO if trigger is None else trigger)
        failure = answer["failure"]
        return Invocation(ok=failure is None, message=failure or "", logs=answer["logs"])

    def _run(self, *names: str, content: str = "") -> dict[str, Any]:
        command = [sys.executable, "-m", __name__, str(self._app_dir.resolve()), *names]
        answer = subprocess.run(
            command,
            cwd=HOME,
            env=self._env,
            input=content,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        if answer.returncode:
            raise RuntimeError(answer.stderr)
        return dict(json.loads(answer.stdout))


class _Message(SimpleNamespace):
    """A protobuf message of any type, with the given fields."""

    def WhichOneof(self, _: str) -> str | None:  # noqa: N802  protobuf's name
        return next(iter(vars(self)), None)


class _StatusResult(_Message):
    Failure, Success = 0, 1


class _BindingInfo(_Message):
    undefined = None  # azure-functions has None for a binding without data type
    out, inout = 1, 2


class _Protos:
    """The worker's generated protobuf classes."""

    StatusResult = _StatusResult
    BindingInfo = _BindingInfo

    def __getattr__(self, _: str) -> type[_Message]:
        return _Message


async def _index(worker: Any, app_dir: Path) -> dict[str, Any]:
    worker.start_threadpool_executor()
    init = _Message(capabilities={}, function_app_directory=str(app_dir))
    properties = {"host": "127.0.0.1", "protos": _Protos()}
    started = await worker.worker_init_request(
        _Message(request=_Message(worker_init_request=init), properties=properties)
    )
    if failure := _failure(started):
        return {"failure": failure}
    indexed = (await worker.functions_metadata_request(_Message())).function_metadata_results or []
    for function in indexed:
        load = _Message(function_id=function.function_id)
        await worker.function_load_request(_Message(request=_Message(function_load_request=load)))
    return {
        "failure": None,
        "functions": {function.name: [json.loads(text) for text in function.raw_bindings] for function in indexed},
        "ids": {function.name: function.function_id for function in indexed},
    }


async def _invoke(worker: Any, app_dir: Path, name: str, content: str) -> dict[str, Any]:
    answer = await _index(worker, app_dir)
    if answer["failure"]:
        return answer
    (parameter,) = (binding["name"] for binding in answer["functions"][name])
    invocation = _Message(
        invocation_id=_INVOCATION,
        function_id=answer["ids"][name],
        input_data=[_ParameterBinding(name=parameter, data=_Message(json=content))],
        trigger_metadata={},
        trace_context=_Message(trace_parent=f"00-{'a' * 32}-{'b' * 16}-01", trace_state="", attributes={}),
        retry_context=_Message(retry_count=0, max_retry_count=0, exception=None),
    )
    logs = _Logs(worker.invocation_id_cv)
    logging.getLogger().addHandler(logs)
    ended = await worker.invocation_request(_Message(request=_Message(invocation_request=invocation)))
    return {"failure": _failure(ended), "logs": logs.kept}


class _Logs(logging.Handler):
    """Keeps the records of the invocation; the host drops the others."""

    def __init__(self, invocation_id: ContextVar[str | None]) -> None:
        super().__init__()
        self.kept: list[str] = []
        self._invocation_id = invocation_id

    def emit(self, record: logging.LogRecord) -> None:
        if self._invocation_id.get() == _INVOCATION:
            self.kept.append(self.format(record))


class _ParameterBinding(_Message):
    def WhichOneof(self, _: str) -> str:  # noqa: N802  protobuf's name
        return "data"


def _failure(answer: Any) -> str | None:
    return str(answer.result.exception.message) if answer.result.status == _StatusResult.Failure else None


def main(app_dir: str, *names: str) -> None:
    """Print as JSON how the worker indexes the app, or runs a function with the content of stdin."""
    sys.path.insert(0, app_dir)
    os.chdir(app_dir)
    debug = os.environ.get("PYTHON_ENABLE_DEBUG_LOGGING") == "1"
    logging.getLogger().setLevel(logging.DEBUG if debug else logging.INFO)
    worker = importlib.import_module("azure_functions_runtime")
    folder = Path(app_dir)
    content = sys.stdin.buffer.read().decode()
    call = _invoke(worker, folder, names[0], content) if names else _index(worker, folder)
    with redirect_stdout(sys.stderr):
        answer = asyncio.run(call)
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
