"""Each alert fires, and each saved query finds its rows, over lines that the app logs through the local host."""

import logging
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import requests

from local.azure_devops_faults import Fault
from local.azure_ml import AzureMl
from local.functions_host import FunctionsHost
from local.serving import Server
from model_release.app import Services, build, build_or_report
from tests.environment import WORKSPACE, Environment, event
from tests.infra.log_analytics import Logs, ask, fires, workspace
from tests.infra.templates import predicted

MODEL = "sklearn_regression_model"
OTHER = WORKSPACE.replace("workspaces/prod", "workspaces/lab")
SWEEP, CATCH_UP, EVENT = "unfinished_releases", "missed_models", "model_registered"
RULES = {
    one["name"].removeprefix("alert-two-workspaces-"): one["properties"]
    for one in predicted("two-workspaces", "Microsoft.Insights/scheduledQueryRules")
}
QUERIES = {
    one["name"].rpartition("/")[2]: one["properties"]["query"]
    for one in predicted("plain", "Microsoft.OperationalInsights/workspaces/savedSearches")
}


@dataclass
class Days:
    """A good day and each kind of trouble, one after the other."""

    env: Environment
    logs: Logs
    host: str = ""
    ends: dict[str, datetime] = field(default_factory=dict)

    def deliver(self, model: str = MODEL, version: int = 20) -> None:
        url = f"{self.host}/runtime/webhooks/EventGrid?functionName={EVENT}"
        headers = {"aeg-event-type": "Notification"}
        body = event(model, version).encode()
        self.logs.call(EVENT, lambda: requests.post(url, data=body, headers=headers).status_code)

    def run(self, timer: str) -> None:
        url = f"{self.host}/admin/functions/{timer}"
        self.logs.call(timer, lambda: requests.post(url, json={}).status_code)

    def pass_time(self, minutes: int, *timers: str) -> None:
        """Let time pass; each timer runs, the sweep as every ten minutes."""
        for minute in range(minutes):
            self.env.clock.advance(minutes=1)
            if SWEEP in timers and minute % 10 == 4:
                self.run(SWEEP)
            if CATCH_UP in timers and minute % 15 == 7:
                self.run(CATCH_UP)

    def end(self, name: str) -> None:
        self.ends[name] = self.env.clock()
        self.env.clock.advance(seconds=1)

    def firing(self, name: str, *rules: str) -> dict[str, list[Any]]:
        """Return which of these rules fire at the end of that name, each with its dimensions; of all by default."""
        found = {rule: fires(RULES[rule], self.logs, self.ends[name]) for rule in rules or RULES}
        return {rule: dimensions for rule, dimensions in found.items() if dimensions}

    def find(self, query: str) -> list[dict[str, Any]]:
        return ask(query, self._workspace)

    @cached_property
    def _workspace(self) -> Any:
        return workspace(self.logs.rows)


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Days]:
    azure_ml = AzureMl([WORKSPACE, OTHER])
    with Environment(None) as env, Server(azure_ml) as azure, pytest.MonkeyPatch.context() as patch:
        patch.setenv("IDENTITY_ENDPOINT", f"{azure.url}/msi/token")
        patch.setenv("IDENTITY_HEADER", "local")
        days = Days(env, Logs(env.clock))
        logger, root = logging.getLogger("model_release"), logging.getLogger()
        level = logger.level
        logger.setLevel(logging.INFO)
        root.addHandler(days.logs)
        try:
            _live(
                days,
                env.start(AZURE_RESOURCE_MANAGER_URL=azure.url, AML_WORKSPACES=f"{WORKSPACE},{OTHER}"),
                tmp_path_factory.mktemp("map") / "map.yaml",
            )
        finally:
            root.removeHandler(days.logs)
            logger.setLevel(level)
        yield days


def _live(days: Days, services: Services, wrong_map: Path) -> None:
    with ExitStack() as stack:
        days.host = _serve(stack, days.env, services)
        _a_good_day(days)
        _a_refusal(days)
        days.pass_time(31, CATCH_UP)
        days.end("no sweep")
        days.pass_time(35, SWEEP)
        days.end("no catch-up")
        days.pass_time(10, SWEEP, CATCH_UP)
        working, days.host = days.host, _serve(stack, days.env, build(days.env.settings()))
        days.deliver(version=22)
        days.host = working
        days.pass_time(5)
        days.deliver(version=22)
        days.end("failed delivery")
    wrong_map.write_text("version: 2")
    with ExitStack() as stack:
        days.host = _serve(stack, days.env, build_or_report(days.env.settings(RELEASE_MAP=str(wrong_map))))
        days.run(SWEEP)
        days.pass_time(4)
        days.end("cannot start")
    days.env.clock.advance(minutes=30)
    days.logs.add("no functions")
    days.logs.add("exception of the worker")
    days.pass_time(4)
    days.end("no functions")


def _serve(stack: ExitStack, env: Environment, services: Services) -> str:
    host = stack.enter_context(FunctionsHost(env.function_app(services)))
    return stack.enter_context(Server(host)).url


def _a_good_day(days: Days) -> None:
    days.pass_time(61, SWEEP, CATCH_UP)
    days.deliver(version=20)
    days.deliver(version=20)
    days.deliver(version=19)
    days.deliver("churn", 1)
    days.pass_time(5, SWEEP)
    days.end("good day")


def _a_refusal(days: Days) -> None:
    days.env.azure_devops.misbehave(Fault(**days.env.requests.start, status=403, times=100))
    days.deliver(version=21)
    days.pass_time(5, SWEEP)
    days.end("refusal")
    days.pass_time(65, SWEEP, CATCH_UP)
    days.end("an hour later")


def test_a_good_day_fires_no_alert(days: Days) -> None:
    assert len(days.logs.rows) > 100
    assert days.firing("good day") == {}


def test_a_refused_release_fires_for_its_target(days: Days) -> None:
    assert days.firing("refusal") == {
        "refused-release": [(WORKSPACE.lower(), MODEL, "fraud/1")],
    }


def test_a_claim_that_is_pending_for_over_an_hour_fires(days: Days) -> None:
    assert "pending-claim" not in days.firing("refusal", "pending-claim")
    assert "pending-claim" in days.firing("an hour later", "pending-claim")


@pytest.mark.parametrize(
    ("trouble", "rule"),
    [
        ("no sweep", "no-sweep"),
        ("no catch-up", "no-catch-up"),
        ("cannot start", "cannot-start"),
        ("no functions", "no-functions"),
    ],
)
def test_a_rule_fires_in_its_trouble_and_not_on_the_day_before(days: Days, trouble: str, rule: str) -> None:
    assert rule in days.firing(trouble, rule)
    assert rule not in days.firing("refusal", rule)


def test_each_alert_for_the_whole_app_is_severe_and_evaluated_within_the_time_that_its_description_has() -> None:
    assert {name for name, rule in RULES.items() if rule["severity"] == 1} == {
        "no-sweep",
        "no-catch-up",
        "cannot-start",
        "no-functions",
    }
    for name in ("cannot-start", "no-functions"):
        assert (RULES[name]["evaluationFrequency"], RULES[name]["windowSize"]) == ("PT5M", "PT5M")


def test_the_history_entries_have_every_field_and_no_other_line_is_found(days: Days) -> None:
    found = days.find(QUERIES["history-entries"])

    started = next(one for one in found if one["state"] == "started")
    assert [name for name, value in started.items() if value in (None, "")] == []
    assert (started["model"], started["version"], started["attempt"]) == (MODEL, "20", 1)
    assert {"started", "superseded", "ignored", "refused"} <= {one["state"] for one in found}
    assert found == sorted(found, key=lambda one: one["TimeGenerated"], reverse=True)


def test_the_entries_of_one_model_are_its_own(days: Days) -> None:
    found = days.find(QUERIES["one-model"].replace("MODEL", "churn"))

    assert [(one["model"], one["state"]) for one in found] == [("churn", "ignored")]


def test_pending_claims_are_found_by_their_latest_state(days: Days) -> None:
    states = {one["version"]: one["state"] for one in days.find(QUERIES["pending-or-abandoned"])}

    assert states["21"] == "refused"
    assert not {"19", "20"} & states.keys()


def test_durations_count_the_entries_of_an_hour(days: Days) -> None:
    found = days.find(QUERIES["durations"])

    assert sum(one["total"] for one in found) == len(days.find(QUERIES["history-entries"]))
    assert sum(one["started"] for one in found) >= 1
    assert all(one["p95"] >= one["p50"] for one in found)


def test_catch_ups_are_listed_without_sweeps(days: Days) -> None:
    found = days.find(QUERIES["catch-ups"])

    assert len(found) >= 4
    assert {one["complete"] for one in found} == {True}
    assert {one["workspace"] for one in found} == {WORKSPACE.lower(), OTHER.lower()}
    assert [name for name in found[0] if found[0][name] is None] == []


def test_a_failed_delivery_is_one_row_with_its_cause(days: Days) -> None:
    found = days.find(QUERIES["failed-deliveries"])

    assert len(found) == 1
    assert "Exception: Service" in found[0]["reason"]
    assert found[0]["DurationMs"] > 0


TEXTS = {**QUERIES, **{name: rule["criteria"]["allOf"][0]["query"] for name, rule in RULES.items()}}
# The queries over history entries share one projection.
FIELDS = [
    (name, part)
    for name, query in TEXTS.items()
    if name == "history-entries" or '"history_entry"' not in query
    for part in sorted(set(re.findall(r"\bline\.\w+|\bProperties\.\w+", query)))
]


@pytest.mark.parametrize(("name", "part"), FIELDS)
def test_a_misspelled_field_changes_what_is_found(days: Days, name: str, part: str) -> None:
    misspelled = re.sub(rf"{re.escape(part)}\b", f"{part}x", TEXTS[name])

    assert days.find(misspelled) != days.find(TEXTS[name])
