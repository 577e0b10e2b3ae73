"""Interruptions: something happens just before or just after one call of a process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import requests
from azure.core.exceptions import ServiceResponseError

from local.azure_devops_faults import Fault
from model_release.app import Services
from model_release.domain.claims import Claim
from model_release.domain.events import parse
from model_release.domain.history import HistoryEntry
from tests.environment import Environment, event

IDEMPOTENCY_KEY = "5f0c9d3e-0d53-4d0e-9a53-3d1f6f3f2b11"
When = Literal["before", "after"]
Happens = Callable[[], object]


class Killed(BaseException):
    """The process was killed."""


def kill() -> None:
    """Kill the process."""
    raise Killed


def lose_the_answer() -> None:
    """Let the connection to storage break."""
    raise ServiceResponseError("the answer is lost")


@dataclass
class Interrupted:
    """A client; something happens once, before or after a call whose arguments contain a text."""

    client: Any
    when: When
    call: str
    happens: Happens
    text: str = ""

    def __getattr__(self, name: str) -> Any:
        call = getattr(self.client, name)
        if name != self.call:
            return call

        def interrupted(*arguments: Any, **options: Any) -> Any:
            if self.text not in str(arguments):
                return call(*arguments, **options)
            happens, self.call = self.happens, ""
            if self.when == "before":
                happens()
            answer = call(*arguments, **options)
            if self.when == "after":
                happens()
            return answer

        return interrupted


def at_azure_devops(app: Services, when: When, call: str, happens: Happens) -> Services:
    """Return the services, interrupted at a call of the Azure DevOps client."""
    azure_devops = Interrupted(app.start_release.attempts.azure_devops, when, call, happens)
    start_release = app.start_release
    start_release = replace(start_release, attempts=replace(start_release.attempts, azure_devops=azure_devops))
    sweep, catch_up = (
        replace(app.sweep, start_release=start_release),
        replace(app.catch_up, start_release=start_release),
    )
    return app._replace(start_release=start_release, sweep=sweep, catch_up=catch_up)


def at_storage(app: Services, when: When, call: str, happens: Happens, text: str) -> None:
    """Interrupt the services at a call of the table client whose arguments contain the text."""
    table = app.sweep.history._table
    vars(table)["client"] = Interrupted(table.client, when, call, happens, text)


def lose_the_request(env: Environment) -> None:
    """Let the next request that creates something get no answer; it is not carried out, unless it lands."""
    env.azure_devops.misbehave(Fault(**env.requests.start, close="before", times=1))


def land(env: Environment) -> None:
    """Carry out the latest request that creates something."""
    lost = [request for request in env.azure_devops.requests if request.method == "POST"][-1]
    url = f"{env.azure_devops_url}{lost.path}?{lost.query}"
    headers = {"Authorization": "Basic any", "Content-Type": "application/json"}
    requests.post(url, lost.body, headers=headers, timeout=10).raise_for_status()


def claims_of(env: Environment, version: int) -> tuple[Claim, ...]:
    """Read the claims of a model version, oldest first."""
    registered = parse(event(version=version))
    return env.claims.recorded(registered.workspace, registered.model, str(version))[str(version)].claims


def restart(env: Environment, version: int, key: str = IDEMPOTENCY_KEY, app: Services | None = None) -> HistoryEntry:
    """Start a version again, as a person does."""
    return (app or env.app).start_release.restart(claims_of(env, version)[0], key)[-1]
