"""The world that the tests share: Azurite, a local Azure DevOps, and the app between them."""

import os
import tempfile

# Before the SDK is imported: it keeps what it learns of a server, and ports come back in the next run.
os.environ["AZURE_DEVOPS_CACHE_DIR"] = tempfile.mkdtemp(prefix="azure-devops-tests-")

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local import azurite
from tests.environment import Accounts, World


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="full numbers, where the suite else takes fewer")
    parser.addoption("--pictures", action="store_true", help="take the README's pictures anew")


@pytest.fixture
def size(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """Choose the smaller number for the suite, the larger one with --full."""
    return max if request.config.getoption("--full") else min


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a password for this machine where `requests` looks for one."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password another")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture(scope="session")
def accounts() -> Iterator[Accounts]:
    names = [f"account{number}" for number in range(500)]
    with azurite.running(accounts=names) as url:
        yield Accounts(url, iter(names))


@pytest.fixture
def world(accounts: Accounts, request: pytest.FixtureRequest) -> Iterator[World]:
    with World(accounts.take(), getattr(request, "param", "release")) as world:
        yield world
