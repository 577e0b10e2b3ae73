"""The fixtures of the pages: the app with its table in memory, and the browser."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser import find, running
from tests.environment_in_memory import env

__all__ = ["env"]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    path = find()
    if not path:
        pytest.skip("Chromium is not installed, and CHROMIUM_PATH does not name another browser")
    with running(path) as found:
        yield found
