"""The test environment with its table in memory, for what Table storage does not decide."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from model_release.app import Services
from model_release.domain.targets import TargetKind
from tests.environment import Environment
from tests.proof.table import SimulatedTable

# A test with this mark runs over Azurite.
OVER_AZURITE = pytest.mark.usefixtures("accounts")


class EnvironmentInMemory(Environment):
    """The app between a table in memory and a local Azure DevOps; nothing answers for its storage account."""

    def __init__(self, target: TargetKind = "release") -> None:
        super().__init__(("http://127.0.0.1:9", "devstoreaccount1"), target)
        self._rows = SimulatedTable()

    def start(self, ahead: timedelta = timedelta(), **changes: str) -> Services:
        """Build the services as a new process does, with the same table."""
        services = super().start(ahead, **changes)
        for table in (services.sweep.history._table, services.records.history._table):
            table._client = self._rows
        return services


@pytest.fixture
def env(request: pytest.FixtureRequest) -> Iterator[Environment]:
    """The environment in memory, or with the mark OVER_AZURITE over Azurite."""
    with new_environment(request) as env:
        yield env


def new_environment(request: pytest.FixtureRequest) -> Environment:
    """Build the environment of a test, in memory unless it has the mark OVER_AZURITE."""
    target = getattr(request, "param", "release")
    if "accounts" in request.fixturenames:
        return Environment(request.getfixturevalue("accounts").take(), target)
    return EnvironmentInMemory(target)
