"""Unexpected failures: one target does not affect the others, and no failure is lost."""

import json
import traceback
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import AzureError

from local.azure_devops_faults import Fault
from model_release.azure_devops.client import AzureDevOps
from model_release.domain.claims import State
from model_release.domain.events import ModelRegistered
from model_release.domain.targets import Created, Plan
from model_release.errors import ClaimLeasedError
from model_release.flow.start_release import StartRelease
from tests.environment import IN_AZURITE, IN_MEMORY, Environment, event

pytestmark = IN_MEMORY

NAMES = ("Deploy sklearn model", "Second", "Third")


@dataclass
class PartlyBroken:
    """An Azure DevOps whose client has a bug for some release definitions."""

    azure_devops: AzureDevOps
    broken: Collection[str]

    def create(self, plan: Plan, registered: ModelRegistered, marker: str, *limits: float) -> Created:
        if plan.target.definition in self.broken:
            raise RuntimeError(f"bug of {plan.target.definition}")
        return self.azure_devops.create(plan, registered, marker, *limits)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.azure_devops, name)


def use_map(env: Environment, path: Path, *definitions: str) -> None:
    """Restart the app with a map that leads from each model to these release definitions."""
    routes = [{"model": "sklearn_*", "release": {"project": "fraud", "definition": name}} for name in definitions]
    path.write_text(json.dumps({"version": 1, "routes": routes}))
    env.restart(RELEASE_MAP=str(path))


@pytest.fixture
def three_targets(env: Environment, tmp_path: Path) -> Environment:
    """The environment with a map that leads from each model to three release definitions."""
    for name in NAMES[1:]:
        env.azure_devops.add_definition("fraud", name, variables={"ModelVersion": ""})
    use_map(env, tmp_path / "map.yaml", *NAMES)
    return env


def broken_for(env: Environment, *names: str) -> StartRelease:
    """Return the app whose Azure DevOps client is broken for these definitions."""
    start_release = env.app.start_release
    azure_devops = PartlyBroken(start_release.attempts.azure_devops, names)
    return replace(start_release, attempts=replace(start_release.attempts, azure_devops=azure_devops))


def started(env: Environment) -> list[str]:
    """Return the names of the definitions that have a release, in the order of their creation."""
    return [release["releaseDefinition"]["name"] for release in env.azure_devops.releases]


def reported(failure: BaseException, caplog: pytest.LogCaptureFixture) -> str:
    """Return what an operator sees: the log, and the raised failure as the Functions host logs it."""
    return caplog.text + "".join(traceback.format_exception(failure))


def test_all_failures_of_an_event_are_raised_and_reported_with_their_tracebacks(
    three_targets: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(RuntimeError) as caught:
        broken_for(three_targets, "Second", "Third").registered(event())

    raised = "".join(traceback.format_exception(caught.value))
    for name in ("Second", "Third"):
        assert f"RuntimeError: bug of {name}" in raised
    report = reported(caught.value, caplog)
    assert report.count('raise RuntimeError(f"bug of {plan.target.definition}")') >= 2


@pytest.mark.parametrize("failing", NAMES)
def test_a_target_is_recorded_although_the_others_fail(
    three_targets: Environment, caplog: pytest.LogCaptureFixture, failing: str
) -> None:
    env = three_targets
    others = [name for name in NAMES if name != failing]
    caplog.set_level("INFO", "model_release.log")

    with pytest.raises(RuntimeError, match=f"bug of {failing}"):
        broken_for(env, failing).registered(event())

    assert started(env) == others
    assert {entry.target: entry.state for entry in env.history} == {f"fraud/{name}": State.STARTED for name in others}
    lines = [json.loads(record.message) for record in caplog.records if record.name == "model_release.log"]
    assert [(line["target"], line["state"]) for line in lines] == [(f"fraud/{name}", "started") for name in others]


def test_a_redelivery_after_a_failure_starts_each_target_once(three_targets: Environment) -> None:
    env = three_targets
    with pytest.raises(RuntimeError):
        broken_for(env, "Deploy sklearn model", "Third").registered(event())
    env.clock.advance(minutes=7)

    env.registered(event())

    assert sorted(started(env)) == sorted(NAMES)
    assert [entry.state for entry in env.history] == [State.STARTED] * 3


@pytest.mark.parametrize("broken", NAMES[1:])
def test_a_leased_claim_does_not_hide_the_failure_of_another_target(
    three_targets: Environment, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    env = three_targets
    env.claim(event())

    with pytest.raises(RuntimeError, match=f"bug of {broken}") as caught:
        broken_for(env, broken).registered(event())

    assert "another worker is processing sklearn_regression_model:20 for fraud/Deploy sklearn model" in reported(
        caught.value, caplog
    )
    assert started(env) == [name for name in NAMES[1:] if name != broken]


@IN_AZURITE
def test_a_failure_of_storage_is_reported_with_the_failure_of_another_target(
    three_targets: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    env = three_targets
    env.registered(event(version=19))
    start_release = broken_for(env, "Deploy sklearn model")
    env.clock.advance(minutes=5)
    # Storage fails when the second target is claimed.
    env.storage.down_after = len(env.storage.passed) + 3

    with pytest.raises((AzureError, RuntimeError)) as caught:
        start_release.registered(event())

    assert "RuntimeError: bug of Deploy sklearn model" in reported(caught.value, caplog)
    assert "another target failed too: " in "".join(caught.value.__notes__)
    assert started(env) == list(NAMES)


def test_an_event_whose_claims_are_all_leased_is_delivered_again(three_targets: Environment) -> None:
    env = three_targets
    with pytest.raises(RuntimeError):
        broken_for(env, *NAMES).registered(event())

    with pytest.raises(ClaimLeasedError):
        env.registered(event())

    assert started(env) == []


def test_a_claim_is_not_withdrawn_before_its_version_starts_at_the_new_target(
    three_targets: Environment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    env = three_targets
    use_map(env, tmp_path / "map.yaml", "Second")
    env.azure_devops.misbehave(Fault(**env.requests.start, status=429, times=1))
    env.registered(event())
    use_map(env, tmp_path / "map.yaml", "Third")
    env.clock.advance(hours=1)

    assert replace(env.app.sweep, start_release=broken_for(env, "Third")).run() == []
    assert "RuntimeError: bug of Third" in caplog.text
    assert [(entry.target, entry.state) for entry in env.history] == [("fraud/Second", State.WAITING)]

    env.later(minutes=7)
    env.later(minutes=7)
    assert {entry.target: entry.state for entry in env.history} == {
        "fraud/Second": State.WITHDRAWN,
        "fraud/Third": State.STARTED,
    }
    assert started(env) == ["Third"]
