"""The fixtures of all tests: Azurite, and the app between it and a local Azure DevOps."""

import gc
import os
import tempfile

# Many processes import the same modules, so each module is compiled once.
os.environ["PYTHONDONTWRITEBYTECODE"] = ""
# Before the SDK is imported: it caches the locations of each server, and the next run may reuse a port.
os.environ["AZURE_DEVOPS_CACHE_DIR"] = tempfile.mkdtemp(prefix="azure-devops-tests-")

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from local import azurite
from local.azure_ml import AzureMl
from model_release.app import HOME
from tests.environment import Accounts, Environment

TESTS = HOME / "tests"
# --fast runs the tests in these folders and files that need neither Azurite nor a browser.
FAST = [TESTS / name for name in ("domain", "store", "web/test_api.py", "cli", "test_settings.py", "test_layout.py")]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="full numbers and all values, where the suite uses fewer")
    parser.addoption("--fast", action="store_true", help="pure tests only: no Azurite, no browser, no process")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    # Other tests are not even imported.
    is_near = any(
        path == collection_path or path in collection_path.parents or collection_path in path.parents for path in FAST
    )
    return None if is_near or not config.getoption("--fast") else True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = {item for item in items if not _is_selected(item, config)}
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish() -> None:
    # Modules and tests stay until the end. Each garbage collection would look at them again.
    gc.freeze()


def _is_selected(item: pytest.Item, config: pytest.Config) -> bool:
    if config.getoption("--fast") and not _is_fast(item):
        return False
    return config.getoption("--full") or not item.get_closest_marker("full")


def _is_fast(item: pytest.Item) -> bool:
    return not {"accounts", "env", "browser", "size"} & set(getattr(item, "fixturenames", ()))


@pytest.fixture
def size(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """Choose the smaller number for the suite, the larger one with --full."""
    return max if request.config.getoption("--full") else min


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a netrc file with a password for the local servers, which `requests` would use."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password another")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture(scope="session")
def accounts() -> Iterator[Accounts]:
    with ExitStack() as stack:
        yield Accounts(_unused_accounts(stack))


def _unused_accounts(stack: ExitStack) -> Iterator[tuple[str, str]]:
    """Yield accounts without an end: when those of one Azurite are used up, another one starts."""
    names = [f"account{number}" for number in range(500)]
    while True:
        url = stack.enter_context(azurite.running(accounts=names))
        yield from ((url, name) for name in names)


@pytest.fixture
def env(request: pytest.FixtureRequest) -> Iterator[Environment]:
    """The app with its rows in Azurite, or in memory where the test or its file says so; with --full never there."""
    stored = request.node.get_closest_marker("stored")
    in_memory = stored and stored.args == ("memory",) and not request.config.getoption("--full")
    account = None if in_memory else request.getfixturevalue("accounts").take()
    with Environment(account, getattr(request, "param", "release")) as env:
        yield env


@pytest.fixture
def azure_ml(env: Environment, monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureMl]:
    """Let the app confirm each version with this local Azure ML."""
    with env.confirming() as azure_ml:
        for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
            monkeypatch.setenv(name, env.settings()[name])
        yield azure_ml
