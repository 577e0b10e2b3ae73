"""Delivers thousands of events while everything fails at once, then counts doubled, lost, backwards and pending ones.

Host processes are killed all the time. Azure DevOps throttles, fails after it has created the release, closes
connections, hangs, is unavailable twice, and is slow for a while. Storage fails before and after it has written, and is
unavailable once. Event Grid delivers late, twice, out of order, and some events never.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random

from bench.proxy import Forward, Proxy
from bench.soak_hosts import Hosts
from bench.soak_models import ModelVersion, Records, build_azure_devops, model_names, release_map
from bench.soak_run import Result, Soak, SoakOptions, listed
from local import azurite
from local.azure_devops import Fault
from local.azure_ml import WORKSPACE, AzureMl
from local.demo_scenes import WEBHOOK
from local.event_grid import EventGrid, Terms
from local.serving import Server

SETTINGS = {
    "AZURE_DEVOPS_PAT": "a token",
    "AML_WORKSPACES": WORKSPACE,
    "AZURE_DEVOPS_TIMEOUT_SECONDS": "1",
    "CLAIM_LEASE_SECONDS": "3",
    "FIRST_RETRY_SECONDS": "1",
    "IDENTITY_HEADER": "local",
}
# One second here is a minute of Event Grid, and three are its answer window.
TERMS = Terms(compression=60, answer_window=180, parallel=16, duplicates=0.05, disorder=300)
AZURE_DEVOPS_FAULTS = {
    "429": (1.7, Fault(status=429)),
    "429 with Retry-After": (1.7, Fault(status=429, headers={"Retry-After": "1"})),
    "500": (1.7, Fault(status=500)),
    "500 after processing": (1.7, Fault(status=500, apply=True)),
    "503": (1.6, Fault(status=503)),
    "503 after processing": (1.6, Fault(status=503, apply=True)),
    "closed after processing": (3, Fault(close="after")),
    "hung": (1, Fault(delay=1.5, close="before")),
    "hung, then processed": (1, Fault(delay=1.5, close="after")),
}
STORAGE_FAULTS = {
    "500": (0.25, Fault(status=500)),
    "500 after processing": (0.25, Fault(status=500, apply=True)),
    "503": (0.25, Fault(status=503)),
    "503 after processing": (0.25, Fault(status=503, apply=True)),
    "closed": (0.25, Fault(close="before")),
    "closed after processing": (0.25, Fault(close="after")),
}


def soak(options: SoakOptions) -> Result:
    """Start everything, run, stop, and count."""
    models = model_names(options.models)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        (folder / "map.yaml").write_text(release_map(models))
        tables = stack.enter_context(azurite.running())
        azure_devops = build_azure_devops(models)
        azure_devops_proxy = Proxy(azure_devops, AZURE_DEVOPS_FAULTS, f"{options.seed} Azure DevOps")
        storage_proxy = Proxy(Forward(tables), STORAGE_FAULTS, f"{options.seed} storage")
        azure_ml = AzureMl([WORKSPACE])
        azure_devops_server = stack.enter_context(Server(azure_devops_proxy))
        storage_server = stack.enter_context(Server(storage_proxy))
        azure_ml_url = stack.enter_context(Server(azure_ml)).url
        environment = {
            **SETTINGS,
            "TMPDIR": str(folder),
            "RELEASE_MAP": str(folder / "map.yaml"),
            "AzureWebJobsStorage": azurite.connection_string(storage_server.url),
            "AZURE_DEVOPS_URL": f"{azure_devops_server.url}/contoso",
            "AZURE_RESOURCE_MANAGER_URL": azure_ml_url,
            "IDENTITY_ENDPOINT": f"{azure_ml_url}/msi/token",
        }
        hosts = stack.enter_context(Hosts(options.hosts, environment, f"{options.seed} hosts", options.logs))
        grid = EventGrid(lambda: hosts.pick() + WEBHOOK, TERMS, random=Random(f"{options.seed} Event Grid"))
        run = Soak(
            options,
            azure_devops,
            azure_devops_proxy,
            azure_devops_server,
            storage_proxy,
            storage_server,
            azure_ml,
            hosts,
            stack.enter_context(grid),
            Records(azurite.connection_string(tables)),
        )
        return run.result(finished=run.run())


def report(result: Result, command: str) -> str:
    """Return the result as Markdown."""
    options, count = result.options, result.count
    rows: dict[str, object] = {
        "events": options.events,
        "models": options.models,
        "expected releases and runs": options.events - count.superseded,
        "created releases and runs": count.created,
        "superseded by a newer version": count.superseded,
        "**doubled**": _named(count.doubled),
        "**lost**": _named(count.lost),
        "**started backwards**": _named(count.backwards),
        "**pending at the end**": result.pending,
        "not acknowledged": result.unacknowledged,
        "claims by state": listed(result.states),
        **result.figures,
        "duration": f"{result.seconds:.0f} s, {options.events / result.seconds:.1f} events a second",
        "finished": "yes" if result.finished else f"no, stopped after {options.patience:.0f} s",
        "seed": options.seed,
        "command": f"`{command}`",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"# Soak\n\n{(__doc__ or '').strip()}\n\n| | |\n|---|---|\n{table}\n"


def _named(versions: Sequence[ModelVersion]) -> str:
    shown = ", ".join(f"{version.model}:{version.version}" for version in versions[:10])
    return f"{len(versions)} ({shown})" if versions else "0"


def main() -> int:
    """Run it; return 0 if nothing was doubled, lost, started backwards or left pending."""
    default = SoakOptions()
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=(__doc__ or "").partition("\n")[0])
    for name in ("events", "models", "seed", "hosts"):
        parser.add_argument(f"--{name}", type=int, default=getattr(default, name))
    for name in ("kill_every", "sweep_every", "outage", "patience"):
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=float, default=getattr(default, name), metavar="SECONDS"
        )
    parser.add_argument("--logs", type=Path, help="append the hosts' logs to this file")
    parser.add_argument("--write", type=Path, help="write the result to this Markdown file")
    given = vars(parser.parse_args())
    write = given.pop("write")
    # SIGTERM must end all processes.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    result = soak(SoakOptions(**given))
    text = report(result, " ".join(["python -m bench.soak", *sys.argv[1:]]))
    print(text)
    if write:
        write.write_text(text)
    return 0 if result.good else 1


if __name__ == "__main__":
    sys.exit(main())
