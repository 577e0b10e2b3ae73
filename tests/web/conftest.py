"""The browser of the page tests."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser import find, running


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    path = find()
    if not path:
        pytest.skip("Chromium is not installed, and CHROMIUM_PATH does not name another browser")
    with running(path) as found:
        yield found
