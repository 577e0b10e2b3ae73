"""Run everything on this machine, deliver events as Event Grid does, and print the results."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass

from local import azurite
from local.azure_devops import sample
from local.azure_ml import WORKSPACE, AzureMl
from local.demo_scenes import Stage, play
from local.program import functions_host
from local.serving import Server, is_free
from local.what_to_try import what_to_try
from model_release import app as app_module
from model_release.errors import ConfigurationError


@dataclass(frozen=True)
class Ports:
    """The port of each server; 0 is a free one. The defaults are the usual ones."""

    functions_host: int = 7071
    azure_devops: int = 7080
    azure_ml: int = 7081
    blobs: int = 10000
    queues: int = 10001
    tables: int = 10002


@contextmanager
def set_up(ports: Ports) -> Iterator[Stage]:
    """Start Azurite, the local Azure ML and Azure DevOps and the host with its timers, and stop them at the end."""
    with ExitStack() as stack:
        tables = stack.enter_context(azurite.running((ports.blobs, ports.queues, ports.tables)))
        azure_devops = sample()
        server = stack.enter_context(Server(azure_devops, ports.azure_devops))
        azure_ml = AzureMl([WORKSPACE])
        azure_ml_url = stack.enter_context(Server(azure_ml, ports.azure_ml)).url
        settings = {
            "AzureWebJobsStorage": azurite.connection_string(tables),
            "AZURE_DEVOPS_URL": f"{server.url}/contoso",
            "AZURE_DEVOPS_PAT": "a token",
            "AML_WORKSPACES": WORKSPACE,
            "AZURE_RESOURCE_MANAGER_URL": azure_ml_url,
            "IDENTITY_ENDPOINT": f"{azure_ml_url}/msi/token",
            "IDENTITY_HEADER": "local",
            "FIRST_RETRY_SECONDS": "1",
        }
        # A fault of the map ends the demo before the host starts.
        history = app_module.build({**os.environ, **settings}).sweep.history
        host = stack.enter_context(functions_host(settings, port=ports.functions_host, timers=True))
        yield Stage(host.url, azure_ml, azure_devops, server, history)


def main() -> int:
    """Play the demo; return 0 if all checks passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="keep it running, and print what to try")
    arguments = parser.parse_args()
    # Everything that runs is stopped, also if the demo is terminated, or began with SIGINT ignored in the background.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.default_int_handler)
    print("Model Release on this machine: Azurite, a local Azure ML and Azure DevOps, the Functions host.")
    try:
        return _show(keep=arguments.keep)
    except KeyboardInterrupt:
        return 1
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 1


def _show(*, keep: bool) -> int:
    began = time.perf_counter()
    with set_up(available(Ports())) as stage:
        failed = play(stage)
        seconds = time.perf_counter() - began
        print(f"\n{f'{len(failed)} checks failed' if failed else 'All checks passed'} in {seconds:.1f} s.")
        print(*failed, sep="\n", end="\n" if failed else "")
        if keep:
            _keep(stage)
    return bool(failed)


def available(usual: Ports) -> Ports:
    """Return these ports, with free ones in place of those that are in use, which are printed."""
    used = [port for port in astuple(usual) if not is_free(port)]
    if used:
        print(f"These ports are in use, so free ones replace them: {', '.join(map(str, used))}.")
    return Ports(*(0 if port in used else port for port in astuple(usual)))


def _keep(stage: Stage) -> None:
    # The first catch-up of a workspace starts nothing that exists already.
    stage.run("missed_models")
    stage.add("sklearn_regression_model", 22)
    print(what_to_try(stage.host, stage.azure_devops_server.url), flush=True)
    stage.azure_devops_server.wait()


if __name__ == "__main__":
    sys.exit(main())
