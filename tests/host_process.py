"""The app in a process of its own, forked from one that has imported what the app imports."""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Self

from local.functions_host import FunctionsHost
from local.serving import Server

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__, "model_release.app", "triggers.releases", "azure.identity"])


class HostProcess:
    """The app with these settings in a new process, served by the local host."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._settings = settings

    def __enter__(self) -> Self:
        url, ready = _FORKS.Pipe(duplex=False)
        self.process = _FORKS.Process(target=_serve, args=(self._settings, ready))
        self.process.start()
        ready.close()
        with url:
            self.url = url.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.join()


def _serve(settings: Mapping[str, str], ready: Connection) -> None:
    os.environ.update(settings)
    logging.disable()
    host = FunctionsHost(importlib.import_module("function_app").app)
    with host, Server(host) as server:
        ready.send(server.url)
        server.wait()
