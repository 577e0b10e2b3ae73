"""The client: it remembers targets, creates in time, and shows what it would send."""

import math
from types import SimpleNamespace

import pytest

from local.azure_devops_faults import Fault
from model_release.domain.events import parse
from model_release.errors import RefusedError, TemporaryError, UnknownOutcomeError
from tests.azure_devops.plans import MARKER, PLAN, client, create, entra_sign_in, release_plan
from tests.environment import BOTH, IN_MEMORY, Environment, event

pytestmark = IN_MEMORY

LATE = "^preparing the request used up the lease; trying again$"


def test_a_definition_is_remembered_for_five_minutes(env: Environment) -> None:
    seconds = [0.0]
    azure_devops = client(env, monotonic=lambda: seconds[0])

    def requests_to_create() -> int:
        before = len(env.azure_devops.requests)
        create(azure_devops, release_plan(2), model="another")
        return len(env.azure_devops.requests) - before

    env.azure_devops.add_definition("fraud", "Any", id=2, variables={"ModelVersion": ""})
    requests_to_create()
    assert requests_to_create() == 1
    seconds[0] = 299
    assert requests_to_create() == 1
    seconds[0] = 301
    assert requests_to_create() == 2


@BOTH
def test_a_refused_request_is_not_repeated_while_the_target_is_unchanged(env: Environment) -> None:
    azure_devops, plan = client(env), PLAN[env.target]()
    azure_devops.find(plan.target)
    env.azure_devops.misbehave(Fault(**env.requests.start, status=403, body={"message": "no"}))

    with pytest.raises(RefusedError, match=r"^no$"):
        create(azure_devops, plan)

    assert sum(request.method == "POST" for request in env.azure_devops.requests) == 1


def test_a_refused_request_is_not_sent_again_before_a_search_although_the_definition_changed(env: Environment) -> None:
    azure_devops = client(env)
    create(azure_devops, release_plan(), version=19)
    env.azure_devops._definitions[1]["artifacts"][0]["alias"] = "_renamed"

    with pytest.raises(UnknownOutcomeError, match="has changed meanwhile"):
        create(azure_devops, release_plan(), version=20)

    create(azure_devops, release_plan(), version=20)
    assert [release["artifacts"][0]["alias"] for release in env.azure_devops.releases[1:]] == ["_renamed"]


def give_the_name_away(env: Environment) -> None:
    """Rename the target of the plan, and add another one of its name."""
    if env.target == "release":
        env.azure_devops._definitions[1]["name"] = "Old"
        env.azure_devops.add_definition("fraud", "Deploy sklearn model", variables={"ModelVersion": "", "New": ""})
    else:
        env.azure_devops.pipelines.change(2, name="Old")
        env.azure_devops.add_pipeline("fraud", "Deploy sklearn model", parameters={"modelReleaseMarker": ""})


@BOTH
def test_nothing_is_sent_to_another_definition_than_the_one_that_was_identified(env: Environment) -> None:
    azure_devops, plan = client(env), PLAN[env.target]()
    identified = azure_devops.identify(plan.target).definition
    give_the_name_away(env)

    with pytest.raises(TemporaryError, match=r"has come to mean ID \d+ instead of"):
        client(env).create(plan, parse(event()), MARKER, math.inf, identified)

    assert env.started == []


def test_a_request_that_the_remembered_definition_refuses_is_not_sent_to_another_one_of_its_name(
    env: Environment,
) -> None:
    azure_devops, plan = client(env), release_plan(variables={"New": "x"})
    identified = azure_devops.identify(plan.target).definition
    give_the_name_away(env)

    with pytest.raises(TemporaryError, match=r"has come to mean ID \d+ instead of 1"):
        azure_devops.create(plan, parse(event()), MARKER, math.inf, identified)

    assert env.started == []


@BOTH
def test_the_request_that_is_shown_is_the_request_that_is_sent(env: Environment) -> None:
    azure_devops, plan = client(env), PLAN[env.target]()
    shown = azure_devops.request(plan, parse(event()), MARKER)

    create(azure_devops, plan)

    sent = env.azure_devops.requests[-1]
    assert (f"{env.azure_devops_url}{sent.path}", sent.body) == (shown.url, shown.body)


def test_nothing_is_sent_if_preparing_the_request_took_too_long(env: Environment) -> None:
    ticks = iter([0.0, 0.0, 61.0])

    with pytest.raises(TemporaryError, match=LATE):
        create(client(env, monotonic=lambda: next(ticks, 61.0)), release_plan(), deadline=60)

    assert env.azure_devops.releases == []


def test_nothing_is_sent_if_acquiring_the_token_took_too_long(env: Environment) -> None:
    seconds = [0]

    def get_token(_scope: str) -> SimpleNamespace:
        seconds[0] += 61 * bool(env.azure_devops.requests)
        return SimpleNamespace(token="a token")

    azure_devops = client(env, entra_sign_in(get_token), monotonic=lambda: seconds[0])
    azure_devops.find(release_plan().target)

    with pytest.raises(TemporaryError, match=LATE):
        create(azure_devops, release_plan(), deadline=60)

    assert env.azure_devops.releases == []


@BOTH
def test_a_probe_fails_only_if_the_sign_in_is_refused(env: Environment) -> None:
    target = PLAN[env.target]().target
    client(env).probe(target)

    env.azure_devops._pat = "another"
    with pytest.raises(RefusedError, match="does not accept the sign-in"):
        client(env).probe(target)
