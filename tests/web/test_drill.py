"""A drill for people on call: ten situations, each answered on the first page or after at most two clicks."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from local.azure_devops_faults import Fault
from model_release.domain.claims import Attempt, State
from model_release.domain.events import Workspace, parse
from model_release.domain.history import ByHand
from model_release.domain.targets import Target
from model_release.flow.steer import pin_what_is_out, read_lines
from model_release.reason import ReasonKind
from model_release.store.targets import Resolved
from tests.browser import Visitor
from tests.environment import IN_MEMORY, REQUESTS, WORKSPACE, Environment, event, register
from tests.in_memory import a_plan
from tests.web.test_pages import NOW, release_map, rows, served

pytestmark = IN_MEMORY

MODELS = ("pricing", "credit", "loans", "stock", "orders", "risk", "demand", "vision")
MOST_CLICKS, GREEN_ROWS = 2, 52
ROLLBACK = ByHand("Ada Lovelace", comment="24 misprices the EU")
PIN = ByHand("Grace Hopper", comment="31 fails the audit")
DENIED = "VS402965: Access denied. Model Release needs Create releases permissions."
APPROVAL = {"approver": {"displayName": "Joan Clarke"}, "status": "approved", "isAutomated": False}


class OnCall:
    """A person on call, who begins at the first page and clicks at most twice."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._clicks = 0

    def row(self, model: str) -> Locator:
        return rows(self.page).filter(has=self.page.get_by_text(model, exact=True))

    def click(self, text: str, model: str = "") -> None:
        """Follow the link that shows this text, in the row of this model if one is given."""
        self._clicks += 1
        assert self._clicks <= MOST_CLICKS, f"{text}: click {self._clicks}"
        place = self.row(model) if model else self.page
        place.locator("a").filter(has_text=re.compile(rf"^\s*{re.escape(text)}\s*$")).click()

    def reads(self, *texts: str | re.Pattern[str], model: str = "") -> None:
        """Expect texts that are visible: neither folded nor in a title."""
        place = self.row(model) if model else self.page.locator("body")
        for text in texts:
            expect(place).to_contain_text(text, use_inner_text=True)


def which_version_is_out_since_when_and_who_started_it(person: OnCall, _: Environment) -> None:
    person.reads("20 Release-3 2 min ago by Ada Lovelace (stated)", model="pricing")


def why_does_the_newest_version_not_start(person: OnCall, _: Environment) -> None:
    why = r"30 is pinned since \d{4}-\d\d-\d\d \d\d:\d\d UTC by Grace Hopper: 31 fails the audit"
    person.reads("held 31", re.compile(why), model="credit")


def what_must_a_person_do_now(person: OnCall, _: Environment) -> None:
    person.reads("refused 7", DENIED, model="loans")
    person.click("7", "loans")
    person.reads("Needs a person.", "Azure DevOps refused the request.", "Follow its words below, then try it now.")


def which_models_does_a_renamed_definition_affect(person: OnCall, _: Environment) -> None:
    for model in ("churn_eu", "churn_us"):
        person.reads("refused 2 project shop has no release definition Deploy churn", model=model)
    person.click("2", "churn_eu")
    person.reads("Correct the map, or assign the right to view the target, then try it now.")


def until_when_does_azure_devops_throttle_and_must_a_person_act(person: OnCall, env: Environment) -> None:
    until = env.app.records.throttle.throttled_until()
    person.reads(f"Azure DevOps throttles requests until {until:%Y-%m-%d %H:%M:%S} UTC")
    person.click("7", "stock")
    person.reads("Azure DevOps asked for a pause. Do nothing, or try it now despite the pause.")


def may_a_release_exist_twice_after_a_lost_answer(person: OnCall, _: Environment) -> None:
    person.click("7", "orders")
    person.reads(
        "the release may exist",
        "searches for the release before it sends another request",
        "Next attempt\nwithin a minute",
    )


def why_did_nothing_happen_after_a_registration(person: OnCall, _: Environment) -> None:
    person.click("ignored events")
    person.reads("tag stage is 'Production', not 'production'", model="risk:7")


def which_version_supersedes_a_newer_one_and_how_is_it_set_back(person: OnCall, _: Environment) -> None:
    person.click("demand")
    person.reads("superseded version 99999 was sent first", model="demand:26")
    person.click("demand:26")
    person.reads("If the newer version was a mistake, set the high-water mark back", "Set the high-water mark back")


def how_many_versions_need_a_person_and_which(person: OnCall, _: Environment) -> None:
    person.reads("3 refused: need a person")
    person.click("3 refused: need a person")
    expect(rows(person.page)).to_have_count(3)
    for version in ("loans:7", "churn_eu:2", "churn_us:2"):
        person.reads("refused", model=version)


def did_the_release_reach_production_and_who_approved_it(person: OnCall, env: Environment) -> None:
    # Azure DevOps is not asked during a pause.
    env.clock.advance(minutes=4)
    person.click("7", "vision")
    person.click("Show the stages of the release in Azure DevOps")
    person.reads("Stage Staging: succeeded", "Stage Production: in progress; approval approved: Joan Clarke")


SITUATIONS: list[Callable[[OnCall, Environment], None]] = [
    which_version_is_out_since_when_and_who_started_it,
    why_does_the_newest_version_not_start,
    what_must_a_person_do_now,
    which_models_does_a_renamed_definition_affect,
    until_when_does_azure_devops_throttle_and_must_a_person_act,
    may_a_release_exist_twice_after_a_lost_answer,
    why_did_nothing_happen_after_a_registration,
    which_version_supersedes_a_newer_one_and_how_is_it_set_back,
    how_many_versions_need_a_person_and_which,
    did_the_release_reach_production_and_who_approved_it,
]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Environment, str]]:
    """All situations in one app, two minutes after the last of them."""
    with Environment(None) as env:
        churn = _with_definitions(env)
        env.restart(RELEASE_MAP=release_map(tmp_path_factory.mktemp("drill"), *_routes()))
        _on_a_good_day(env)
        env.clock.advance(hours=2)
        churn["name"] = "Deploy churn to all"
        _on_a_bad_day(env)
        env.sweep()
        env.clock.advance(minutes=2)
        with served(env) as url:
            yield env, url


def _routes() -> list[dict[str, Any]]:
    tags = {"risk": {"tags": {"stage": "production"}}}
    return [
        {"model": model, "release": {"project": "shop", "definition": f"Deploy {model.rstrip('_*')}"}}
        | tags.get(model, {})
        for model in (*MODELS, "churn_*")
    ]


def _with_definitions(env: Environment) -> Any:
    """Add the definition of each route, and return the one that is renamed later."""
    for name in (*MODELS, "churn"):
        definition = env.azure_devops.add_definition(
            "shop", f"Deploy {name}", variables={"ModelVersion": ""}, stages=("Staging", "Production")
        )
    return definition


def _on_a_good_day(env: Environment) -> None:
    register(env, 20, 24, model="pricing")
    register(env, 30, model="credit")
    register(env, 25, model="demand")
    for model in ("churn_eu", "churn_us"):
        register(env, 1, model=model)
    for number in range(GREEN_ROWS):
        _start_in_the_records(env, number)


def _start_in_the_records(env: Environment, number: int) -> None:
    """Write the history entry of a started version; the sweep reads no more of it."""
    name = f"forecast_{number}"
    plan = a_plan(Target("shop", f"Deploy {name}"))
    claim = env.claims.new(plan, parse(event(name)), Resolved(f"{number:016d}", 1000 + number), (), "").claim
    started = replace(
        claim,
        state=State.STARTED,
        reason_kind=ReasonKind.ROUTE_MATCHED,
        release_id=1000 + number,
        release_name=f"Release-{1000 + number}",
        attempts=(Attempt(1, env.clock(), State.STARTED, ""),),
    )
    env.app.sweep.history.write(started)


def _on_a_bad_day(env: Environment) -> None:
    create = REQUESTS["release"].start
    workspace = Workspace.parse(WORKSPACE)
    start_release = env.app.start_release
    (claim,) = env.claims.recorded(workspace, "pricing", "20")["20"].claims
    start_release.restart(claim, "a-key-of-ada", ROLLBACK)
    (line,) = read_lines(workspace, "credit", start_release.recorder)
    pin_what_is_out(line, PIN, start_release)
    register(env, 31, model="credit")
    register(env, 99999, 26, model="demand")
    for model in ("churn_eu", "churn_us"):
        register(env, 2, model=model)
    register(env, 7, model="vision")
    staging, production = env.azure_devops.releases[-1]["environments"]
    staging["status"], production["status"] = "succeeded", "inProgress"
    production["preDeployApprovals"].append(APPROVAL)
    env.registered(event("risk", 7, ModelTags={"stage": "Production"}))
    env.azure_devops.misbehave(Fault(**create, status=403, body={"message": DENIED}, times=1))
    register(env, 7, model="loans")
    env.azure_devops.misbehave(Fault(**create, close="after", times=1))
    register(env, 7, model="orders")
    env.azure_devops.misbehave(Fault(**create, status=429, headers={"Retry-After": "300"}, times=1))
    register(env, 7, model="stock")


def test_a_person_on_call_finds_the_answer_to_each_of_ten_situations_within_two_clicks(
    browser: Browser, planted: tuple[Environment, str], subtests: pytest.Subtests
) -> None:
    env, url = planted
    with Visitor(browser, url) as visitor:
        for answers in SITUATIONS:
            visitor.open(NOW)
            with subtests.test(answers.__name__):
                answers(OnCall(visitor.page), env)
