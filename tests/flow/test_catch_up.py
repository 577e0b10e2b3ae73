"""Catch-up: starts registered versions that no event announced, and versions whose tags were added later."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from azure.core.exceptions import AzureError

from local.azure_devops_faults import Fault
from local.azure_ml import AzureMl as LocalAzureMl
from local.serving import Server
from model_release.azure_ml.items import ModelVersion
from model_release.azure_ml.models import AzureMl
from model_release.domain.claims import State
from model_release.domain.events import Workspace, parse
from model_release.errors import ClaimLeasedError
from model_release.flow.confirm import event_of
from model_release.reason import Reason, ReasonKind
from tests.environment import FULL, IN_AZURITE, IN_MEMORY, WORKSPACE, Environment, Size, event
from tests.flow.interruptions import Killed, at_azure_devops, claims_of, kill
from tests.in_memory import CREDENTIAL, at_once

pytestmark = IN_MEMORY

MODEL = "sklearn_regression_model"
ROUTES = """
version: 1
routes:
  - model: sklearn_*
    order: every
    tags: {stage: production}
    release: {project: fraud, definition: Deploy sklearn model}
  - model: churn
    release: {project: risk, definition: 42, variables: {Stage: test}}
"""


class ListedWorkspace:
    """A workspace in a local Azure ML, and the catch-up of the app."""

    def __init__(self, env: Environment, azure_ml: LocalAzureMl, url: str) -> None:
        self.env, self.azure_ml, self._url = env, azure_ml, url

    def register(self, version: int, model: str = MODEL, **tags: str) -> None:
        self.azure_ml.add_version(WORKSPACE, model, str(version), created=self.env.clock(), tags=tags)

    def catch_up(self, **later: float) -> list[State]:
        """Move the clock, and run catch-up."""
        self.env.clock.advance(**later)
        catch_up = replace(self.env.app.catch_up, azure_ml=AzureMl(CREDENTIAL, endpoint=self._url, pace=at_once()))
        return [entry.state for entry in catch_up.run()]

    def first_run(self) -> None:
        """Run catch-up for the first time, and move the clock by a minute."""
        self.catch_up()
        self.env.clock.advance(minutes=1)


@pytest.fixture
def workspace(env: Environment) -> Iterator[ListedWorkspace]:
    azure_ml = LocalAzureMl([WORKSPACE], page_size=75)
    with Server(azure_ml) as server:
        yield ListedWorkspace(env, azure_ml, server.url)


def test_versions_that_existed_before_the_first_run_are_not_started(
    env: Environment, workspace: ListedWorkspace
) -> None:
    workspace.register(1)

    assert workspace.catch_up(minutes=1) == []
    assert workspace.catch_up(hours=1) == []
    assert workspace.catch_up(days=15) == []
    assert env.history == []


@pytest.mark.parametrize("when", [{"minutes": 1}, {"days": 13, "hours": 23}])
def test_a_tag_that_is_added_to_an_existing_version_starts_it_once(
    env: Environment, workspace: ListedWorkspace, routes: Path, when: dict[str, float]
) -> None:
    workspace.register(20)
    env.clock.advance(days=400)
    workspace.first_run()

    env.clock.advance(**when)
    workspace.azure_ml.set_tags(WORKSPACE, MODEL, "20", {"stage": "production"})

    assert workspace.catch_up() == [State.STARTED]
    assert workspace.catch_up(hours=1) == []
    assert workspace.catch_up(days=15) == []
    assert env.versions == ["20"]


def test_another_tag_of_an_existing_version_that_matched_already_starts_nothing(
    env: Environment, workspace: ListedWorkspace, routes: Path
) -> None:
    workspace.register(20, stage="production")
    env.clock.advance(minutes=1)
    workspace.first_run()
    workspace.azure_ml.set_tags(WORKSPACE, MODEL, "20", {"stage": "production", "reviewed": "yes"})

    assert workspace.catch_up(hours=1) == []
    assert env.history == []


def test_a_changed_map_starts_no_version_that_existed_before_the_first_run(
    env: Environment, workspace: ListedWorkspace, routes: Path
) -> None:
    workspace.register(20)
    env.clock.advance(minutes=1)
    workspace.first_run()
    routes.write_text(ROUTES.replace("    tags: {stage: production}\n", ""))
    env.restart(RELEASE_MAP=str(routes))

    assert workspace.catch_up(hours=1) == []
    workspace.azure_ml.set_tags(WORKSPACE, MODEL, "20", {"stage": "production"})
    assert workspace.catch_up(hours=1) == []
    assert env.history == []


@pytest.mark.parametrize("state", ["Creating", "Updating"])
def test_a_version_whose_registration_has_not_ended_comes_with_a_later_run(
    env: Environment, workspace: ListedWorkspace, state: str
) -> None:
    workspace.first_run()
    workspace.register(20)
    workspace.azure_ml.set_state(WORKSPACE, MODEL, "20", state)
    assert workspace.catch_up(hours=1) == []
    workspace.azure_ml.misbehave(Fault(path="/models", status=403))
    workspace.catch_up(days=20)

    workspace.azure_ml.behave()
    workspace.azure_ml.set_state(WORKSPACE, MODEL, "20", "Succeeded")

    assert workspace.catch_up(hours=1) == [State.STARTED]


@pytest.mark.parametrize("state", ["Failed", "Canceled", "Deleting"])
def test_a_version_whose_registration_did_not_succeed_is_never_started(
    env: Environment, workspace: ListedWorkspace, state: str
) -> None:
    workspace.first_run()
    workspace.register(19)
    workspace.register(20)
    workspace.azure_ml.set_state(WORKSPACE, MODEL, "20", state)

    assert workspace.catch_up(hours=1) == [State.STARTED]
    assert env.versions == ["19"]
    assert env.app.catch_up.cursors.read(Workspace.parse(WORKSPACE)).complete == env.clock()


def test_a_missing_right_shows_at_the_first_run(
    env: Environment, workspace: ListedWorkspace, caplog: pytest.LogCaptureFixture
) -> None:
    workspace.azure_ml.misbehave(Fault(path="/models", status=403))

    workspace.catch_up()

    assert "the model versions of workspace prod cannot be read: " in caplog.text
    assert "grant this identity the actions" in caplog.text


def test_a_version_that_is_registered_after_a_first_run_that_failed_is_started(
    env: Environment, workspace: ListedWorkspace
) -> None:
    workspace.register(19)
    env.clock.advance(minutes=1)
    workspace.azure_ml.misbehave(Fault(path="/models", status=403))
    workspace.first_run()
    workspace.register(20)

    workspace.azure_ml.behave()

    assert workspace.catch_up(hours=1) == [State.STARTED]
    assert env.versions == ["20"]


def test_a_version_that_no_event_announced_is_started_once(env: Environment, workspace: ListedWorkspace) -> None:
    workspace.first_run()
    workspace.register(20)

    assert workspace.catch_up(hours=1) == [State.STARTED]
    assert workspace.catch_up(hours=1) == []
    assert env.versions == ["20"]


def test_a_version_that_an_event_announced_is_not_started_again(env: Environment, workspace: ListedWorkspace) -> None:
    workspace.first_run()
    workspace.register(20)
    env.registered(event(version=20))

    assert workspace.catch_up(hours=1) == []
    assert env.registered(event(version=20))[0].state is State.STARTED
    assert env.versions == ["20"]


def test_missed_versions_start_in_the_order_of_their_registration(env: Environment, workspace: ListedWorkspace) -> None:
    workspace.catch_up()
    for version in (8, 9, 10):
        env.clock.advance(minutes=1)
        workspace.register(version)

    assert workspace.catch_up(hours=1) == [State.STARTED] * 3
    assert env.versions == ["8", "9", "10"]


def test_a_missed_model_without_a_route_is_recorded_once(env: Environment, workspace: ListedWorkspace) -> None:
    workspace.first_run()
    workspace.register(1, model="unheard-of")

    assert workspace.catch_up(hours=1) == [State.IGNORED]
    assert workspace.catch_up(hours=1) == []
    assert [entry.reason for entry in env.history] == ["no route names the model unheard-of"]


@pytest.fixture
def routes(env: Environment, tmp_path: Path) -> Path:
    path = tmp_path / "map.yaml"
    path.write_text(ROUTES)
    env.restart(RELEASE_MAP=str(path))
    return path


@pytest.mark.parametrize("announced", [True, False])
def test_a_version_whose_new_tags_match_a_route_is_started_once(
    env: Environment, workspace: ListedWorkspace, routes: Path, *, announced: bool
) -> None:
    workspace.first_run()
    workspace.register(20)
    if announced:
        env.registered(event(version=20, ModelTags={}))
    workspace.catch_up(hours=1)
    assert env.versions == []

    workspace.azure_ml.set_tags(WORKSPACE, MODEL, "20", {"stage": "production"})

    assert workspace.catch_up(days=2) == [State.STARTED]
    assert workspace.catch_up(hours=1) == []
    assert env.versions == ["20"]


def test_new_tags_that_match_no_route_start_nothing(env: Environment, workspace: ListedWorkspace, routes: Path) -> None:
    workspace.first_run()
    workspace.register(20)
    workspace.catch_up(hours=1)

    workspace.azure_ml.set_tags(WORKSPACE, MODEL, "20", {"stage": "test"})

    assert workspace.catch_up(days=2) == []
    assert env.versions == []


def test_tags_that_are_added_after_14_days_start_nothing(
    env: Environment, workspace: ListedWorkspace, routes: Path
) -> None:
    workspace.first_run()
    workspace.register(20)
    workspace.catch_up(hours=1)
    workspace.catch_up(days=15)

    workspace.azure_ml.set_tags(WORKSPACE, MODEL, "20", {"stage": "production"})

    assert workspace.catch_up(hours=1) == []
    assert env.versions == []


def test_a_changed_map_does_not_start_earlier_versions(
    env: Environment, workspace: ListedWorkspace, routes: Path
) -> None:
    workspace.first_run()
    workspace.register(20)
    workspace.catch_up(hours=1)

    routes.write_text(ROUTES.replace("    tags: {stage: production}\n", ""))
    env.restart(RELEASE_MAP=str(routes))

    assert workspace.catch_up(hours=1) == []
    assert env.versions == []


def test_new_tags_that_match_a_second_target_do_not_start_the_first_one_again(
    env: Environment, workspace: ListedWorkspace, tmp_path: Path
) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(ROUTES.replace("model: churn", "model: sklearn_*"))
    env.restart(RELEASE_MAP=str(path))
    workspace.first_run()
    workspace.register(20)
    env.registered(event(version=20, ModelTags={}))

    workspace.azure_ml.set_tags(WORKSPACE, MODEL, "20", {"stage": "production"})
    workspace.catch_up(hours=1)
    workspace.catch_up(hours=1)

    assert [release["releaseDefinition"]["id"] for release in env.azure_devops.releases] == [42, 1]


EVERY = "{version: 1, routes: [{model: 'sklearn_*', order: every, release: {project: risk, definition: 42}}]}"


@IN_AZURITE
@FULL
def test_25_missed_versions_among_many_start_with_one_list_request_for_each_model(
    env: Environment, workspace: ListedWorkspace, tmp_path: Path, size: Size
) -> None:
    models = size(4, 40)
    (tmp_path / "map.yaml").write_text(EVERY)
    env.restart(RELEASE_MAP=str(tmp_path / "map.yaml"), AzureWebJobsStorage=env.direct_storage)
    workspace.catch_up()
    versions = [(f"sklearn_{number % models}", number) for number in range(75 * models)]
    for model, version in versions:
        env.clock.advance(seconds=1)
        workspace.register(version, model=model)
    missed = [str(version) for _, version in versions[7 :: 3 * models]]
    why = Reason(ReasonKind.MODEL_NOT_NAMED, "no route named it")
    for model, version in versions:
        if str(version) not in missed:
            env.claims.keep_ignored(parse(event(model=model, version=version)), why)
    before = len(workspace.azure_ml.requests)

    assert workspace.catch_up(hours=1) == [State.STARTED] * 25
    assert env.versions == missed
    assert len(workspace.azure_ml.requests) - before == 1 + models


@pytest.mark.parametrize("page", range(3))
def test_after_a_page_could_not_be_listed_the_next_run_starts_all_versions(
    env: Environment, workspace: ListedWorkspace, page: int
) -> None:
    workspace.azure_ml._page_size = 3
    workspace.catch_up()
    for version in range(1, 9):
        env.clock.advance(seconds=1)
        workspace.register(version)
    workspace.azure_ml.misbehave(Fault(path=f"skip=0x{3 * page:x}" if page else "/versions", status=403))
    assert workspace.catch_up(hours=1) == []

    workspace.azure_ml.behave()
    workspace.catch_up(hours=1)

    assert env.versions == [str(version) for version in range(1, 9)]


@IN_AZURITE
def test_versions_are_started_although_azure_ml_was_unavailable_for_weeks(
    env: Environment, workspace: ListedWorkspace
) -> None:
    workspace.first_run()
    workspace.register(20)
    workspace.azure_ml.misbehave(Fault(path="/models", status=403))
    for _ in range(4):
        assert workspace.catch_up(days=7) == []

    workspace.azure_ml.behave()

    assert workspace.catch_up(hours=1) == [State.STARTED]


@IN_AZURITE
def test_after_a_run_is_cut_off_by_storage_the_next_run_starts_the_rest(
    env: Environment, workspace: ListedWorkspace
) -> None:
    workspace.catch_up()
    for version in (1, 2, 3):
        env.clock.advance(seconds=1)
        workspace.register(version)
    env.storage.down_after = len(env.storage.passed) + 8
    with pytest.raises(AzureError):
        workspace.catch_up(hours=1)

    env.storage.down_after = None
    env.clock.advance(minutes=7)
    workspace.catch_up()

    assert env.versions == ["1", "2", "3"]


def test_a_claim_whose_process_died_is_started_without_another_event(
    env: Environment, workspace: ListedWorkspace
) -> None:
    workspace.first_run()
    workspace.register(20)
    env.claim(event(version=20))

    assert workspace.catch_up(hours=1) == [State.STARTED]
    assert env.versions == ["20"]


@pytest.mark.parametrize("announced", [False, True])
def test_a_missed_version_is_pending_before_it_is_claimed(
    env: Environment, workspace: ListedWorkspace, routes: Path, *, announced: bool
) -> None:
    workspace.first_run()
    workspace.register(20)
    if announced:
        env.registered(event(version=20, ModelTags={}))
    workspace.azure_ml.set_tags(WORKSPACE, MODEL, "20", {"stage": "production"})
    env.app = at_azure_devops(env.app, "before", "identify", kill)
    with pytest.raises(Killed):
        workspace.catch_up(minutes=1)
    assert env.app.sweep.pending.count().claims == 1

    assert [entry.state for entry in env.later(minutes=3)] == [State.STARTED]
    assert env.versions == ["20"]


def test_a_claim_under_a_name_that_an_unacknowledged_event_left_is_withdrawn(
    env: Environment, workspace: ListedWorkspace, routes: Path
) -> None:
    workspace.first_run()
    workspace.register(20, stage="production")
    body = event(version=20, ModelTags={"stage": "production"})
    with pytest.raises(Killed):
        at_azure_devops(env.app, "after", "create", kill).start_release.registered(body)
    routes.write_text(ROUTES.replace("Deploy sklearn model", "1"))
    env.restart(RELEASE_MAP=str(routes))
    with pytest.raises(ClaimLeasedError):
        env.registered(body)
    env.clock.advance(minutes=4)
    env.registered(body)

    workspace.catch_up(hours=1)

    assert {claim.state for claim in claims_of(env, 20)} == {State.STARTED, State.WITHDRAWN}
    assert env.versions == ["20"]


# In memory, test_promises.py lets storage fail at each moment.
@IN_AZURITE
@pytest.mark.parametrize("calls", [pytest.param(calls, marks=() if calls % 5 == 2 else FULL) for calls in range(20)])
def test_every_target_starts_once_wherever_storage_cuts_off_the_event(
    env: Environment, workspace: ListedWorkspace, tmp_path: Path, calls: int
) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(ROUTES.replace("churn", "sklearn_*").replace("    tags: {stage: production}\n", ""))
    env.restart(RELEASE_MAP=str(path))
    workspace.first_run()
    workspace.register(20)
    env.storage.down_after = len(env.storage.passed) + calls
    with suppress(AzureError):
        env.registered(event(version=20))

    env.storage.down_after = None
    for _ in range(3):
        workspace.catch_up(hours=1)
        env.sweep()

    assert sorted(release["releaseDefinition"]["id"] for release in env.azure_devops.releases) == [1, 42]
    assert workspace.catch_up(hours=1) == []


def test_a_model_that_azure_ml_does_not_have_is_reported_in_one_line_and_the_run_is_complete(
    env: Environment, workspace: ListedWorkspace, caplog: pytest.LogCaptureFixture
) -> None:
    workspace.first_run()
    workspace.register(3, model="a_model")
    workspace.register(20)
    workspace.azure_ml.misbehave(Fault(path="/a_model/versions", status=404))

    assert workspace.catch_up(hours=1) == [State.STARTED]
    assert [record.getMessage() for record in caplog.records if "a_model" in record.getMessage()] == [
        "model a_model in workspace prod has no versions: Azure Resource Manager answered 404 Not Found"
    ]
    assert env.app.catch_up.cursors.read(Workspace.parse(WORKSPACE)).complete == env.clock()


def test_a_version_that_is_not_as_documented_is_named_and_does_not_stop_the_others(
    env: Environment, workspace: ListedWorkspace, caplog: pytest.LogCaptureFixture
) -> None:
    workspace.first_run()
    for version in (19, 20, 21):
        workspace.register(version)
    workspace.azure_ml._version(WORKSPACE, MODEL, "20")["properties"]["tags"] = ["stage"]

    assert workspace.catch_up(hours=1) == [State.STARTED] * 2
    assert f"version 20 of {MODEL} in workspace prod is skipped" in caplog.text
    assert env.app.catch_up.cursors.read(Workspace.parse(WORKSPACE)).complete == env.clock()


def test_a_model_that_cannot_be_listed_does_not_stop_the_others(
    env: Environment, workspace: ListedWorkspace, caplog: pytest.LogCaptureFixture
) -> None:
    workspace.first_run()
    workspace.register(3, model="a_model")
    workspace.register(20)
    workspace.azure_ml.misbehave(Fault(path="/a_model/versions", status=500, headers={"Retry-After": "0.001"}))

    assert workspace.catch_up(hours=1) == [State.STARTED]
    assert "the versions of a_model in workspace prod cannot be read" in caplog.text

    workspace.azure_ml.behave()

    assert workspace.catch_up(hours=1) == [State.IGNORED]


def test_long_tags_in_any_script_do_not_make_an_event_too_long(env: Environment, workspace: ListedWorkspace) -> None:
    workspace.first_run()
    workspace.register(20, note="\u6a21" * 6000)

    assert workspace.catch_up(hours=1) == [State.STARTED]


def test_a_workspace_that_cannot_be_listed_does_not_stop_the_others(
    env: Environment, workspace: ListedWorkspace, caplog: pytest.LogCaptureFixture
) -> None:
    other = WORKSPACE.replace("prod", "gone")
    env.restart(AML_WORKSPACES=f"{other},{WORKSPACE}")
    workspace.first_run()
    workspace.register(20)

    assert workspace.catch_up(hours=1) == [State.STARTED]
    (problem,) = {record.getMessage() for record in caplog.records if "workspace gone" in record.getMessage()}
    assert problem.startswith("the model versions of workspace gone cannot be read: ")
    assert problem.endswith("; correct the workspace's resource ID, or remove the workspace from AML_WORKSPACES")


def test_a_version_whose_event_cannot_be_read_is_logged_and_does_not_stop_the_others(
    env: Environment, workspace: ListedWorkspace, caplog: pytest.LogCaptureFixture
) -> None:
    workspace.first_run()
    workspace.register(1, model="-odd-")
    workspace.register(20)

    assert workspace.catch_up(hours=1) == [State.STARTED]
    assert "-odd-:1 cannot be released: the model name is '-odd-'; expected" in caplog.text


def test_the_event_of_a_listed_version_is_read_like_one_of_azure_ml() -> None:
    version = ModelVersion(Workspace.parse(WORKSPACE), MODEL, "7", datetime.now(UTC), {"a": "b"}, {"c": "d"})

    read = parse(event_of(version))

    assert (read.workspace.name, read.model, read.version) == ("prod", MODEL, "7")
    assert (read.tags, read.properties) == ({"a": "b"}, {"c": "d"})
