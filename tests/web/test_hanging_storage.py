"""Storage that accepts requests and never answers: a page asks it once, and shows that events are kept."""

import threading
from collections.abc import Iterator

import pytest

from local.functions_host import FunctionsHost
from local.serving import Server
from model_release.app import FOR_PAGES, build
from model_release.store.table import Patience
from tests.environment import Environment
from tests.web.test_api import KEPT, KEY, Api

IMPATIENT = Patience(connect=1, read=0.05, retries=FOR_PAGES.retries)
PROBLEM = f"storage cannot be reached: no answer in time. {KEPT}"


@pytest.fixture
def api(env: Environment) -> Iterator[Api]:
    """The app, whose storage hangs until the test ends."""
    over = threading.Event()
    env.storage.gate = lambda *_: over.wait()
    services = build(env.settings(), env.clock, env.clock.sleep, for_pages=IMPATIENT)
    host = FunctionsHost(env.function_app(services), key=KEY)
    with host, Server(host) as server:
        yield Api(server.url)
        over.set()


def test_one_question_of_a_page_lasts_less_than_six_seconds() -> None:
    # No pause is before the first retry.
    assert FOR_PAGES.retries <= 1
    assert (1 + FOR_PAGES.retries) * max(FOR_PAGES.connect, FOR_PAGES.read) < 5.5


@pytest.mark.parametrize("path", ["releases", "targets", "releases/sklearn_regression_model/20"])
def test_a_page_asks_storage_once_and_shows_that_events_are_kept(env: Environment, api: Api, path: str) -> None:
    answer = api.send(path)
    asked = len(env.storage.passed)
    page = api.page(path)

    assert (answer.status_code, page.answer.status_code) == (503, 503)
    assert answer.json() == {"error": PROBLEM}
    assert PROBLEM in page.texts
    assert [asked, len(env.storage.passed) - asked] == [1 + FOR_PAGES.retries] * 2


def test_health_asks_storage_once_and_still_reports_azure_devops(env: Environment, api: Api) -> None:
    answer = api.send("health")

    assert answer.status_code == 503
    assert [answer.json()[part] for part in ("storage", "sweep", "catch_up")] == [{"ok": False, "error": PROBLEM}] * 3
    assert answer.json()["azure_devops"]["ok"]
    assert len(env.storage.passed) == 1 + FOR_PAGES.retries
