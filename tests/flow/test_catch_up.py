"""Catching up: registered models that no event told of, and tags that were added later."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import AzureError

from local.azure_devops_faults import Fault
from local.azure_ml import AzureMl as LocalAzureMl
from local.serving import Server
from model_release.azure_ml.models import AzureMl, ModelVersion
from model_release.domain.claims import State, digest
from model_release.domain.events import Workspace, parse
from model_release.domain.release_map import judge, starts
from model_release.flow.catch_up import CatchUp, event_of
from tests.environment import WORKSPACE, World, event

MODEL = "sklearn_regression_model"
CREDENTIAL = SimpleNamespace(get_token=lambda *_scopes, **_options: AccessToken("token", 2**31))
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


class Azure:
    """A workspace in a local Azure ML, and the app's way of catching up with it."""

    def __init__(self, world: World, azure_ml: LocalAzureMl, url: str) -> None:
        self.world, self.azure_ml, self._url = world, azure_ml, url

    def register(self, version: int, model: str = MODEL, **tags: str) -> None:
        self.azure_ml.add_version(WORKSPACE, model, str(version), created=self.world.clock(), tags=tags)

    def catch_up(self) -> CatchUp:
        app = self.world.app
        return CatchUp(AzureMl(CREDENTIAL, endpoint=self._url), app, app.ledger, self.world.clock)

    def missed(self, **later: float) -> list[State]:
        self.world.clock.advance(**later)
        return [decision.state for decision in self.catch_up().missed()]


@pytest.fixture
def azure(world: World) -> Iterator[Azure]:
    azure_ml = LocalAzureMl([WORKSPACE], page_size=75)
    with Server(azure_ml) as server:
        yield Azure(world, azure_ml, server.url)


def test_the_first_look_starts_nothing_and_notes_where_it_begins(world: World, azure: Azure) -> None:
    azure.register(1)

    assert azure.missed(minutes=1) == []
    assert azure.missed(hours=1) == []
    assert world.history == []


def test_a_version_that_no_event_told_of_is_released(world: World, azure: Azure) -> None:
    azure.missed()
    world.clock.advance(minutes=1)
    azure.register(20)

    assert azure.missed(hours=1) == [State.STARTED]
    assert azure.missed(hours=1) == []
    assert world.versions == ["20"]


def test_a_version_that_an_event_told_of_is_left_alone(world: World, azure: Azure) -> None:
    azure.missed()
    world.clock.advance(minutes=1)
    azure.register(20)
    world.app.registered(event(version=20))

    assert azure.missed(hours=1) == []
    assert world.app.registered(event(version=20))[0].state is State.STARTED
    assert world.versions == ["20"]


def test_missed_versions_start_in_the_order_of_their_registration(world: World, azure: Azure) -> None:
    azure.missed()
    for version in (8, 9, 10):
        world.clock.advance(minutes=1)
        azure.register(version)

    assert azure.missed(hours=1) == [State.STARTED] * 3
    assert world.versions == ["8", "9", "10"]


def test_a_missed_model_without_a_route_is_recorded_once(world: World, azure: Azure) -> None:
    azure.missed()
    world.clock.advance(minutes=1)
    azure.register(1, model="unheard-of")

    assert azure.missed(hours=1) == [State.IGNORED]
    assert azure.missed(hours=1) == []
    assert [line.reason for line in world.history] == ["no route names unheard-of"]


@pytest.fixture
def routes(world: World, tmp_path: Path) -> Path:
    path = tmp_path / "map.yaml"
    path.write_text(ROUTES)
    world.app = world.start(RELEASE_MAP=str(path))
    return path


@pytest.mark.parametrize("told_by_an_event", [True, False])
def test_a_version_whose_tags_come_to_match_is_released(
    world: World, azure: Azure, routes: Path, *, told_by_an_event: bool
) -> None:
    azure.missed()
    world.clock.advance(minutes=1)
    azure.register(20)
    if told_by_an_event:
        world.app.registered(event(version=20, ModelTags={}))
    azure.missed(hours=1)
    assert world.versions == []

    azure.azure_ml.set_tags(WORKSPACE, MODEL, "20", {"stage": "production"})

    assert azure.missed(days=2) == [State.STARTED]
    assert azure.missed(hours=1) == []
    assert world.versions == ["20"]


def test_tags_that_match_no_route_release_nothing(world: World, azure: Azure, routes: Path) -> None:
    azure.missed()
    world.clock.advance(minutes=1)
    azure.register(20)
    azure.missed(hours=1)

    azure.azure_ml.set_tags(WORKSPACE, MODEL, "20", {"stage": "test"})

    assert azure.missed(days=2) == []
    assert world.versions == []


def test_tags_that_come_after_the_set_number_of_days_release_nothing(world: World, azure: Azure, routes: Path) -> None:
    azure.missed()
    world.clock.advance(minutes=1)
    azure.register(20)
    azure.missed(hours=1)
    azure.missed(days=15)

    azure.azure_ml.set_tags(WORKSPACE, MODEL, "20", {"stage": "production"})

    assert azure.missed(hours=1) == []
    assert world.versions == []


def test_a_new_route_does_not_release_what_was_registered_before_it(world: World, azure: Azure, routes: Path) -> None:
    azure.missed()
    world.clock.advance(minutes=1)
    azure.register(20)
    azure.missed(hours=1)

    routes.write_text(ROUTES.replace("    tags: {stage: production}\n", ""))
    world.app = world.start(RELEASE_MAP=str(routes))

    assert azure.missed(hours=1) == []
    assert world.versions == []


def test_a_tag_that_promotes_to_a_second_target_leaves_the_first_alone(
    world: World, azure: Azure, tmp_path: Path
) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(ROUTES.replace("model: churn", "model: sklearn_*"))
    world.app = world.start(RELEASE_MAP=str(path))
    azure.missed()
    world.clock.advance(minutes=1)
    azure.register(20)
    world.app.registered(event(version=20, ModelTags={}))

    azure.azure_ml.set_tags(WORKSPACE, MODEL, "20", {"stage": "production"})
    azure.missed(hours=1)
    azure.missed(hours=1)

    assert [release["releaseDefinition"]["id"] for release in world.azure_devops.releases] == [42, 1]


EVERY = "{version: 1, routes: [{model: 'sklearn_*', order: every, release: {project: risk, definition: 42}}]}"


def test_of_3000_versions_over_40_pages_exactly_the_25_that_were_missed_are_looked_at(
    world: World, azure: Azure, tmp_path: Path
) -> None:
    (tmp_path / "map.yaml").write_text(EVERY)
    world.app = world.start(RELEASE_MAP=str(tmp_path / "map.yaml"), AzureWebJobsStorage=world.direct_storage)
    azure.missed()
    versions = [(f"sklearn_{number % 40}", number) for number in range(3000)]
    for model, version in versions:
        world.clock.advance(seconds=1)
        azure.register(version, model=model)
    missed = [str(version) for _, version in versions[7::120]]
    _make_known(world, [(model, version) for model, version in versions if str(version) not in missed])
    before = len(azure.azure_ml.requests)

    assert azure.missed(hours=1) == [State.STARTED] * 25
    assert world.versions == missed
    assert len(azure.azure_ml.requests) - before == 1 + 40


def _make_known(world: World, versions: list[tuple[str, int]]) -> None:
    table = world.app.ledger._table.client
    for model in {model for model, _ in versions}:
        rows = [
            {
                "PartitionKey": f"claim {digest(WORKSPACE.lower())} {model}",
                "RowKey": f"{version} ignored",
                "event": event(model=model, version=version),
                "created": world.clock(),
                "reason": "no route named it",
            }
            for named, version in versions
            if named == model
        ]
        table.submit_transaction([("create", row) for row in rows])


@pytest.mark.parametrize("page", range(3))
def test_a_look_that_fails_at_any_page_is_taken_up_again(world: World, azure: Azure, page: int) -> None:
    azure.azure_ml._page_size = 3
    azure.missed()
    for version in range(1, 9):
        world.clock.advance(seconds=1)
        azure.register(version)
    azure.azure_ml.misbehave(Fault(path=f"skip=0x{3 * page:x}" if page else "/versions", status=403))
    assert azure.missed(hours=1) == []

    azure.azure_ml.behave()
    azure.missed(hours=1)

    assert world.versions == [str(version) for version in range(1, 9)]


def test_what_was_registered_while_azure_ml_was_away_for_weeks_is_released(world: World, azure: Azure) -> None:
    azure.missed()
    world.clock.advance(minutes=1)
    azure.register(20)
    azure.azure_ml.misbehave(Fault(path="/models", status=403))
    for _ in range(4):
        assert azure.missed(days=7) == []

    azure.azure_ml.behave()

    assert azure.missed(hours=1) == [State.STARTED]


def test_a_look_that_is_cut_off_by_storage_is_taken_up_again(world: World, azure: Azure) -> None:
    azure.missed()
    for version in (1, 2, 3):
        world.clock.advance(seconds=1)
        azure.register(version)
    world.storage.down_after = len(world.storage.passed) + 8
    with pytest.raises(AzureError):
        azure.missed(hours=1)

    world.storage.down_after = None
    world.clock.advance(minutes=5)
    azure.missed()

    assert world.versions == ["1", "2", "3"]


def test_a_claim_that_a_process_died_at_is_found_although_no_event_comes_again(world: World, azure: Azure) -> None:
    azure.missed()
    world.clock.advance(minutes=1)
    azure.register(20)
    registered = parse(event(version=20))
    (start,) = starts(judge(world.app.release_map, registered), registered)
    world.app.ledger.claim(start, registered)

    assert azure.missed(hours=1) == [State.STARTED]
    assert world.versions == ["20"]


@pytest.mark.parametrize("calls", range(12))
def test_a_target_that_was_never_claimed_is_found_wherever_its_event_was_cut_off(
    world: World, azure: Azure, tmp_path: Path, calls: int
) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(ROUTES.replace("churn", "sklearn_*").replace("    tags: {stage: production}\n", ""))
    world.app = world.start(RELEASE_MAP=str(path))
    azure.missed()
    world.clock.advance(minutes=1)
    azure.register(20)
    world.storage.down_after = len(world.storage.passed) + calls
    with suppress(AzureError):
        world.app.registered(event(version=20))

    world.storage.down_after = None
    for _ in range(3):
        azure.missed(hours=1)
        world.app.unfinished()

    assert sorted(release["releaseDefinition"]["id"] for release in world.azure_devops.releases) == [1, 42]
    assert azure.missed(hours=1) == []


@pytest.mark.parametrize("status", [404, 500])
def test_a_model_that_cannot_be_listed_does_not_stop_the_others(
    world: World,
    azure: Azure,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    azure.missed()
    world.clock.advance(minutes=1)
    azure.register(3, model="a_model")
    azure.register(20)
    azure.azure_ml.misbehave(Fault(path="/a_model/versions", status=status, headers={"Retry-After": "0.001"}))

    assert azure.missed(hours=1) == [State.STARTED]
    assert "the versions of a_model in workspace prod cannot be read" in caplog.text

    azure.azure_ml.behave()

    assert azure.missed(hours=1) == [State.IGNORED]


def test_tags_in_any_script_do_not_make_an_event_too_long(world: World, azure: Azure) -> None:
    azure.missed()
    world.clock.advance(minutes=1)
    azure.register(20, note="\u6a21" * 6000)

    assert azure.missed(hours=1) == [State.STARTED]


def test_a_workspace_that_cannot_be_listed_does_not_stop_the_others(world: World, azure: Azure, caplog) -> None:  # noqa: ANN001
    other = WORKSPACE.replace("prod", "gone")
    world.app = world.start(AML_WORKSPACES=f"{other},{WORKSPACE}")
    azure.missed()
    world.clock.advance(minutes=1)
    azure.register(20)

    assert azure.missed(hours=1) == [State.STARTED]
    assert "workspace gone cannot be read: is the workspace there" in caplog.text


def test_what_is_no_model_version_of_ours_is_told_and_left(world: World, azure: Azure, caplog) -> None:  # noqa: ANN001
    azure.missed()
    world.clock.advance(minutes=1)
    azure.register(1, model="-odd-")
    azure.register(20)

    assert azure.missed(hours=1) == [State.STARTED]
    assert "-odd- 1 is no model version to release" in caplog.text


def test_an_event_made_of_a_model_version_is_read_like_one_of_azure_ml() -> None:
    version = ModelVersion(Workspace.parse(WORKSPACE), MODEL, "7", datetime.now(UTC), {"a": "b"}, {"c": "d"})

    read = parse(event_of(version))

    assert (read.workspace.name, read.model, read.version) == ("prod", MODEL, "7")
    assert (read.tags, read.properties) == ({"a": "b"}, {"c": "d"})
