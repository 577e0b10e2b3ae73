"""Start everything on this machine, send events as Event Grid does, and tell what happened."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import requests
from werkzeug.wrappers import Response

from local import azurite
from local.azure_devops import AzureDevOps, sample
from local.serving import Server
from model_release import app as wiring
from model_release.domain.claims import Decision, State
from model_release.store.history import History, Wanted

WORKSPACE = (
    "/subscriptions/5ac1d0de-0000-4000-8000-3b1f0e2d9c11/resourceGroups/ml-prod"
    "/providers/Microsoft.MachineLearningServices/workspaces/prod"
)
WEBHOOK = "/runtime/webhooks/EventGrid?functionName=model_registered"
_PATIENCE_SECONDS = 10
_WIDTH = 80


def model_registered(model: str, version: int) -> dict[str, Any]:
    """The event as Azure ML's documentation prints it."""
    return {
        "id": f"{model}-{version}",
        "topic": WORKSPACE,
        "subject": f"models/{model}:{version}",
        "eventType": "Microsoft.MachineLearningServices.ModelRegistered",
        "eventTime": "2026-11-20T18:41:00.9584103Z",
        "dataVersion": "",
        "metadataVersion": "1",
        "data": {
            "ModelName": model,
            "ModelVersion": version,
            "ModelTags": {"area": "diabetes"},
            "ModelProperties": {"type": "test"},
        },
    }


@dataclass
class Story:
    """Tells line by line, and knows at the end whether all of it was true."""

    chapter: int = 0
    wrong: list[str] = field(default_factory=list)

    def begin(self, title: str) -> None:
        """Open the next chapter."""
        self.chapter += 1
        print(f"\n{self.chapter}. {title}")

    def tell(self, what: str, text: str, *, true: bool) -> None:
        """Tell one thing that must be true."""
        print(f"   {what:<10} {text}" + ("" if true else "   <- this is wrong"), flush=True)
        if not true:
            self.wrong.append(f"{self.chapter}. {what}: {text}")


@dataclass
class Stage:
    """What plays: the host with the app, the local Azure DevOps, and the ledger between them."""

    host: str
    azure_devops: AzureDevOps
    azure_devops_server: Server
    history: History
    story: Story = field(default_factory=Story)

    def deliver(self, model: str, version: int) -> Decision:
        """Deliver one event as Event Grid does, and tell what was answered and decided."""
        before = time.perf_counter()
        answer = requests.post(
            self.host + WEBHOOK,
            json=[model_registered(model, version)],
            headers={"aeg-event-type": "Notification"},
            timeout=30,
        )
        seconds = time.perf_counter() - before
        accepted = requests.codes.accepted
        self.story.tell("answered", f"{answer.status_code} in {seconds:.2f} s", true=answer.status_code == accepted)
        return self.decision(model, version)

    def decision(self, model: str, version: int) -> Decision:
        """What the history says of a model version."""
        subject = f"models/{model}:{version}"
        return next(line for line in self.history.page(Wanted(ignored=True)).decisions if line.subject == subject)

    def expect(self, decision: Decision, state: State, releases: int) -> None:
        """Tell the decision and how many releases there are."""
        reason = decision.reason if len(decision.reason) <= _WIDTH else f"{decision.reason[:_WIDTH]}…"
        self.story.tell("decided", f"{decision.state}: {reason}", true=decision.state is state)
        count = len(self.azure_devops.releases)
        self.story.tell("releases", f"{count} in Azure DevOps", true=count == releases)

    def read_back(self, decision: Decision, version: str) -> None:
        """Tell what Azure DevOps itself says of the release."""
        url = f"{self.azure_devops_server.url}/contoso/{decision.target.partition('/')[0]}"
        release = requests.get(
            f"{url}/_apis/release/releases/{decision.release_id}", auth=("", "a token"), timeout=10
        ).json()
        artifact = release["artifacts"][0]
        handed_over = {
            artifact["alias"]: artifact["definitionReference"]["version"]["name"],
            "ModelVersion": release["variables"]["ModelVersion"]["value"],
        }
        self.story.tell("started", f"{release['name']}, id {release['id']}: {decision.release_url}", true=True)
        told = ", ".join(f"{name} = {value}" for name, value in handed_over.items())
        self.story.tell("read back", told, true=set(handed_over.values()) == {version})

    def sweep_until(self, model: str, version: int, state: State) -> Decision:
        """Run the sweep, as the timer does every minute, until the model version has come there."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            requests.post(f"{self.host}/admin/functions/unfinished_releases", json={}, timeout=30)
            decision = self.decision(model, version)
            if decision.state is state or time.monotonic() > until:
                return decision
            time.sleep(0.2)


def play(stage: Stage) -> list[str]:
    """The whole story; returns what was wrong in it."""
    story = stage.story
    model = "sklearn_regression_model"

    story.begin(f"Azure ML registers {model}, version 20")
    decision = stage.deliver(model, 20)
    stage.expect(decision, State.STARTED, 1)
    stage.read_back(decision, "20")

    story.begin("Event Grid delivers the same event again")
    stage.expect(stage.deliver(model, 20), State.STARTED, 1)

    story.begin("Version 19 comes late")
    stage.expect(stage.deliver(model, 19), State.SUPERSEDED, 1)

    story.begin("A model that no route names")
    stage.expect(stage.deliver("churn", 1), State.IGNORED, 1)

    story.begin("Azure DevOps is away while version 21 is registered")
    stage.azure_devops_server.stop()
    stage.expect(stage.deliver(model, 21), State.WAITING, 1)

    story.begin("Azure DevOps is back, and the sweep runs")
    stage.azure_devops_server.start()
    decision = stage.sweep_until(model, 21, State.STARTED)
    stage.expect(decision, State.STARTED, 2)
    stage.read_back(decision, "21")
    return story.wrong


@contextmanager
def set_up(port: int = 0) -> Iterator[Stage]:
    """Start Azurite, the local Azure DevOps and the host, and stop them at the end."""
    with ExitStack() as stack:
        tables = stack.enter_context(azurite.running())
        azure_devops = sample()
        server = stack.enter_context(Server(azure_devops, port))
        settings = {
            "AzureWebJobsStorage": azurite.connection_string(tables),
            "AZURE_DEVOPS_URL": f"{server.url}/contoso",
            "AZURE_DEVOPS_PAT": "a token",
            "AML_WORKSPACES": WORKSPACE,
            "FIRST_RETRY_SECONDS": "1",
        }
        host = stack.enter_context(_host(os.environ | settings))
        yield Stage(host, azure_devops, server, wiring.build(settings).history)


@contextmanager
def _host(environment: dict[str, str]) -> Iterator[str]:
    with Server(lambda _: Response()) as free:
        url = free.url
    command = [sys.executable, "-m", "local.functions_host", "--port", url.rpartition(":")[2], "--no-timers"]
    log = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=wiring.HOME, env=environment, stdout=log, stderr=log) as process:
        try:
            _wait_for(f"{url}/admin/host/status", process)
            yield url
        finally:
            process.terminate()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with suppress(requests.ConnectionError):
            requests.get(url, timeout=5)
            return
        time.sleep(0.05)
    msg = "the Functions host did not start; run `python -m local.functions_host` to see why"
    raise RuntimeError(msg)


def main() -> int:
    """Play it; 0 when all of it was true."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave it running, and tell what to try")
    arguments = parser.parse_args()
    began = time.perf_counter()
    print("Model Release on this machine alone: Azurite, a local Azure DevOps, the Functions host.")
    with set_up() as stage:
        wrong = play(stage)
        seconds = time.perf_counter() - began
        print(f"\n{'All of it is true.' if not wrong else 'This was wrong:'} It took {seconds:.1f} s.")
        print(*wrong, sep="\n", end="\n" if wrong else "")
        if arguments.keep:
            _keep(stage)
    return bool(wrong)


def _keep(stage: Stage) -> None:
    event = json.dumps(model_registered("sklearn_regression_model", 22))
    print(f"""
It goes on running; Ctrl-C stops it. Try:

  see what happened     {stage.host}/api/releases
  see the releases      {stage.azure_devops_server.url}
  register version 22   curl -i '{stage.host}{WEBHOOK}' -H 'aeg-event-type: Notification' \\
                          -d '{event}'
  run the sweep         curl -i -X POST {stage.host}/admin/functions/unfinished_releases -d '{{}}'""")
    stage.azure_devops_server.wait()


if __name__ == "__main__":
    sys.exit(main())
