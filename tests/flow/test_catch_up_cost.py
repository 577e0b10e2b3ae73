"""What a catch-up costs: reads of Azure Resource Manager, time at its pace, and memory; --full has the full numbers."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from local.azure_ml import AzureMl as LocalAzureMl
from local.serving import Server
from model_release.azure_ml.models import AzureMl
from model_release.azure_ml.pace import Pace
from model_release.domain.events import Workspace
from tests.environment import Size
from tests.in_memory import CREDENTIAL, HOUR, MINUTE, NOON, TARGET, WORKSPACE, Process, a_map

REGISTRY = Workspace.parse(WORKSPACE.id.replace("workspaces/prod", "registries/Shared"))
_PAGE = 30


class Sources:
    """A workspace and a registry in a local Azure ML, and the catch-up of an app whose clock only pauses move."""

    def __init__(self, azure_ml: LocalAzureMl, url: str) -> None:
        self.azure_ml = azure_ml
        self.process = Process(order="every")
        self.process.start_release = replace(
            self.process.start_release,
            release_map=a_map(TARGET, model="m*", order="every", tags={"stage": "production"}),
            workspaces=frozenset([WORKSPACE, REGISTRY]),
        )
        self.client = AzureMl(CREDENTIAL, endpoint=url, pace=Pace(self.process.monotonic, self.process.sleep))

    def add(self, source: Workspace, models: int, versions: int = 1, **tags: str) -> None:
        for model in range(models):
            for version in range(1, versions + 1):
                created = NOON - timedelta(days=40, seconds=-version)
                self.azure_ml.add_version(source.id, f"m{model}", str(version), created=created, tags=tags)

    def run(self) -> tuple[list[str], int]:
        """Return the versions that were started, and the number of reads."""
        self.azure_ml.requests.clear()
        entries = self.process.catch_up(self.client).run()
        return [entry.subject.partition("/")[2] for entry in entries], len(self.azure_ml.requests)


@pytest.fixture
def sources() -> Iterator[Sources]:
    azure_ml = LocalAzureMl([WORKSPACE.id, REGISTRY.id], page_size=_PAGE)
    with Server(azure_ml) as server:
        yield Sources(azure_ml, server.url)


def test_a_run_without_changes_reads_the_pages_of_the_models_only_and_a_change_starts_in_the_next_run(
    sources: Sources, size: Size
) -> None:
    models = size(61, 2000)
    sources.add(WORKSPACE, models)
    pages = -(-models // _PAGE) + 1
    assert sources.run() == ([], pages + models)
    sources.process.later(5 * MINUTE)
    assert sources.run() == ([], pages)

    sources.azure_ml.set_tags(WORKSPACE.id, "m7", "1", {"stage": "production"})
    shared = {"created": sources.process.clock(), "tags": {"stage": "production"}}
    sources.azure_ml.add_version(REGISTRY.id, "m8", "1", **shared)
    sources.process.later(5 * MINUTE)

    assert sources.run() == (["m8:1", "m7:1"], pages + 2)
    sources.process.later(5 * MINUTE)
    assert sources.run() == ([], pages)


def test_a_tag_of_a_model_whose_time_does_not_follow_starts_within_an_hour(sources: Sources) -> None:
    sources.azure_ml.containers_follow = False
    sources.add(WORKSPACE, 2)
    sources.run()
    sources.azure_ml.set_tags(WORKSPACE.id, "m1", "1", {"stage": "production"})
    started = []
    for _ in range(12):
        sources.process.later(5 * MINUTE)
        started.append(sources.run()[0])

    assert started == [[]] * 11 + [["m1:1"]]


def test_an_hourly_run_keeps_the_pace_and_ends_in_time(sources: Sources, size: Size, record_property: Any) -> None:
    models = size(40, 5000)
    sources.add(WORKSPACE, models, versions=4)
    for _ in range(2):
        began = sources.process.monotonic()
        tracemalloc.start()
        _, reads = sources.run()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        took = sources.process.monotonic() - began
        record_property(f"{4 * models} versions", f"{reads} reads in {took:.0f} s, at most {peak / 2**20:.1f} MiB")
        assert reads == -(-models // _PAGE) + 1 + models
        assert took == pytest.approx(reads / 10, abs=0.2)
        assert took < 540
        cursor = sources.process.cursors.read(WORKSPACE)
        assert cursor
        assert (cursor.problem, len(sources.process.cursors.listed(WORKSPACE))) == ("", models)
        sources.process.later(HOUR)
