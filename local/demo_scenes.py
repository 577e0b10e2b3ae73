"""The scenes of the demo: each delivers an event as Event Grid does, and checks what came of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import requests

from local.azure_devops import AzureDevOps
from local.azure_ml import WORKSPACE, AzureMl
from local.serving import Server
from model_release.domain.claims import State
from model_release.domain.history import HistoryEntry, HistoryQuery
from model_release.store.history import History

WEBHOOK = "/runtime/webhooks/EventGrid?functionName=model_registered"
_PATIENCE_SECONDS = 10
_WIDTH = 80


def model_registered(model: str, version: int) -> dict[str, Any]:
    """Return the event as Azure ML's documentation shows it."""
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
class Report:
    """Prints each result, and collects failed checks."""

    scenes: int = 0
    failed: list[str] = field(default_factory=list)

    def begin(self, title: str) -> None:
        """Print the title of the next scene."""
        self.scenes += 1
        print(f"\n{self.scenes}. {title}")

    def check(self, name: str, text: str, *, ok: bool) -> None:
        """Print one result."""
        print(f"   {name:<10} {text}" + ("" if ok else "   <- failed"), flush=True)
        if not ok:
            self.failed.append(f"{self.scenes}. {name}: {text}")


@dataclass
class Stage:
    """The host with the app, the local Azure ML and Azure DevOps, and the history."""

    host: str
    azure_ml: AzureMl
    azure_devops: AzureDevOps
    azure_devops_server: Server
    history: History
    report: Report = field(default_factory=Report)

    def register(self, model: str, version: int) -> HistoryEntry:
        """Register a version, and deliver its event."""
        self.add(model, version)
        return self.deliver(model, version)

    def add(self, model: str, version: int) -> None:
        """Add a version to the local Azure ML."""
        data = model_registered(model, version)["data"]
        created = datetime.now(UTC)
        self.azure_ml.add_version(
            WORKSPACE, model, str(version), created=created, tags=data["ModelTags"], properties=data["ModelProperties"]
        )

    def deliver(self, model: str, version: int) -> HistoryEntry:
        """Deliver one event as Event Grid does, and return its history entry."""
        before = time.perf_counter()
        answer = requests.post(
            self.host + WEBHOOK,
            json=[model_registered(model, version)],
            headers={"aeg-event-type": "Notification"},
            timeout=30,
        )
        seconds = time.perf_counter() - before
        accepted = answer.status_code == requests.codes.accepted
        self.report.check("answered", f"{answer.status_code} in {seconds:.2f} s", ok=accepted)
        return self.entry(model, version)

    def entry(self, model: str, version: int) -> HistoryEntry:
        """Return the history entry of a model version."""
        subject = f"models/{model}:{version}"
        return next(
            entry for entry in self.history.page(HistoryQuery(ignored=True)).entries if entry.subject == subject
        )

    def expect(self, entry: HistoryEntry, state: State, releases: int) -> None:
        """Check the state of an entry and the number of releases in Azure DevOps."""
        reason = entry.reason if len(entry.reason) <= _WIDTH else f"{entry.reason[:_WIDTH]}…"
        self.report.check("state", f"{entry.state}: {reason}", ok=entry.state is state)
        count = len(self.azure_devops.releases)
        self.report.check("releases", f"{count} in Azure DevOps", ok=count == releases)

    def read_back(self, entry: HistoryEntry, version: str) -> None:
        """Check the model version that Azure DevOps shows in the release."""
        url = f"{self.azure_devops_server.url}/contoso/{entry.target.partition('/')[0]}"
        release = requests.get(
            f"{url}/_apis/release/releases/{entry.release_id}", auth=("", "a token"), timeout=10
        ).json()
        artifact = release["artifacts"][0]
        passed = {
            artifact["alias"]: artifact["definitionReference"]["version"]["name"],
            "ModelVersion": release["variables"]["ModelVersion"]["value"],
        }
        self.report.check("created", f"{release['name']}, ID {release['id']}: {entry.release_url}", ok=True)
        shown = ", ".join(f"{name} = {value}" for name, value in passed.items())
        self.report.check("read back", shown, ok=set(passed.values()) == {version})

    def run(self, timer: str) -> None:
        """Run a timer function now."""
        requests.post(f"{self.host}/admin/functions/{timer}", json={}, timeout=30)

    def sweep_until(self, model: str, version: int, state: State) -> HistoryEntry:
        """Run the sweep, as the timer does every minute, until the model version is in this state."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            self.run("unfinished_releases")
            entry = self.entry(model, version)
            if entry.state is state or time.monotonic() > until:
                return entry
            time.sleep(0.2)


def play(stage: Stage) -> list[str]:
    """Play all scenes, and return the failed checks."""
    report = stage.report
    model = "sklearn_regression_model"

    report.begin(f"Azure ML registers {model}, version 20")
    entry = stage.register(model, 20)
    stage.expect(entry, State.STARTED, 1)
    stage.read_back(entry, "20")

    report.begin("Event Grid delivers the same event again")
    stage.expect(stage.deliver(model, 20), State.STARTED, 1)

    report.begin("The event of version 19 arrives late")
    stage.expect(stage.register(model, 19), State.SUPERSEDED, 1)

    report.begin("Azure ML registers a model that no route names")
    stage.expect(stage.register("churn", 1), State.IGNORED, 1)

    report.begin("Somebody sends an event of version 999, which is not registered")
    stage.expect(stage.deliver(model, 999), State.WAITING, 1)

    report.begin("Azure DevOps is unavailable while version 21 is registered")
    stage.azure_devops_server.stop()
    stage.expect(stage.register(model, 21), State.WAITING, 1)

    report.begin("Azure DevOps comes back, and the sweep runs")
    stage.azure_devops_server.start()
    entry = stage.sweep_until(model, 21, State.STARTED)
    stage.expect(entry, State.STARTED, 2)
    stage.read_back(entry, "21")
    return report.failed
