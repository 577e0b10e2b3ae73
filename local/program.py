"""Python programs that run in a process of their own and print their address when they are ready."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Self

HOME = Path(__file__).parent.parent


class Program:
    """A running program; `ready_after` is in seconds. Raises RuntimeError if it prints no address."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        log: IO[str] | None = None,
        *,
        python: Sequence[str] = (sys.executable,),
        folder: Path = HOME,
    ) -> None:
        """Run `python ARGUMENTS` with these additions to the environment; its log is lost without a file."""
        self.began = time.monotonic()
        self._process = subprocess.Popen(
            [*python, *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log or subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout
        address = re.search(r"http://127\.0\.0\.1:\d+", self._process.stdout.readline())
        self.ready_after = time.monotonic() - self.began
        if not address:
            raise RuntimeError(f"`python {' '.join(arguments)}` does not start; run it to see the reason")
        self.url = address[0]
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._process.communicate()

    def kill(self) -> None:
        """End the process with SIGKILL."""
        self._process.kill()
        self._process.communicate()


def functions_host(
    environment: Mapping[str, str],
    app: Path = HOME,
    log: IO[str] | None = None,
    *,
    port: int = 0,
    timers: bool = False,
) -> Program:
    """Serve the app in this folder with the local Functions host; it ends if this process dies."""
    options = ["--port", str(port), "--app-dir", str(app), "--until-stdin-ends"]
    return Program(["-m", "local.functions_host", *options, *([] if timers else ["--no-timers"])], environment, log)


def end_with_stdin() -> None:
    """Terminate this process when its standard input ends: the process that opened it died."""

    def wait() -> None:
        # A read of sys.stdin would hold a lock that the interpreter needs when it ends.
        os.read(0, 1)
        while True:
            os.kill(os.getpid(), signal.SIGTERM)
            # The exception of a signal is lost if it is raised in a destructor.
            time.sleep(1)

    threading.Thread(target=wait, daemon=True).start()
