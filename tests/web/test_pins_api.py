"""The HTTP API of pins, and who asked: stated by the caller, or verified by the platform."""

from collections.abc import Iterator
from typing import Any

import pytest

from local.azure_devops_faults import Fault
from tests.environment import IN_MEMORY, Environment, register
from tests.web.test_api import BROWSER, IDEMPOTENCY_KEY, MODEL, POST, VERSION_20, Api, served

pytestmark = IN_MEMORY

PINS = f"pins/{MODEL}"
WHO = {"by": "alice", "comment": "21 regressed on EU"}
PRINCIPAL = {"X-MS-CLIENT-PRINCIPAL-NAME": "carol@contoso.com", "X-MS-CLIENT-PRINCIPAL-ID": "an-id"}
SIGNS_IN = pytest.mark.parametrize("signs_in", [True, False])


@pytest.fixture
def api(env: Environment) -> Iterator[Api]:
    with served(env) as api:
        yield api


def start(api: Api, status: int = 200, **body: str) -> dict[str, Any]:
    claim = api.get(VERSION_20)["model_versions"][0]["claims"][0]["claim"]
    return api.post(status=status, claim=claim, idempotency_key=IDEMPOTENCY_KEY, **body)


def test_a_pinned_start_holds_newer_versions_until_the_pin_is_removed(env: Environment, api: Api) -> None:
    register(env, 20, 21)

    (entry,) = start(api, pin="yes", **WHO)["entries"]
    register(env, 22, 23)

    assert (entry["by"], entry["by_verified"], entry["comment"]) == ("alice", False, "21 regressed on EU")
    (line,) = api.get(PINS)["lines"]
    assert (line["version"], line["is_kept"]) == ("20", True)
    assert [(one["version"], one["state"]) for one in line["pending"]] == [("22", "held"), ("23", "held")]
    claims = api.get(VERSION_20)["model_versions"][0]["claims"]
    assert [claim["pins"] for claim in claims] == [False, True]
    assert claims[1]["pin"] == line["pin"]
    assert claims[1]["newer"] == [{"version": "23", "state": "held"}, {"version": "22", "state": "held"}]
    done = api.post(PINS, unpin="yes", since=line["pin"]["since"], by="bob", comment="fixed")["entries"]
    assert [(one["version"], one["state"]) for one in done[1:]] == [("23", "started"), ("22", "superseded")]
    assert env.versions == ["20", "21", "20", "23"]


def test_what_is_out_is_pinned_and_kept(env: Environment, api: Api) -> None:
    register(env, 20)
    api.post(PINS, pin="yes", **WHO)
    register(env, 21)

    version_21 = f"releases/{MODEL}/21"
    claim = api.get(version_21)["model_versions"][0]["claims"][0]["claim"]
    refused = api.post(version_21, 409, claim=claim)
    done = api.post(PINS, unpin="keep", **WHO)["entries"]

    assert refused["error"].startswith("20 is pinned since ")
    assert [one["state"] for one in done] == ["started", "superseded"]
    assert env.versions == ["20"]


def test_a_plain_start_on_a_pinned_line_is_refused(env: Environment, api: Api) -> None:
    register(env, 20, 21)
    api.post(PINS, pin="yes", **WHO)

    error = start(api, 409)["error"]

    assert error.startswith("21 is pinned since ")
    assert error.endswith("; remove the pin with `unpin`, or move it: start this version with a pin")
    assert env.versions == ["20", "21"]


def test_a_pin_that_changed_since_a_person_saw_it_is_not_removed(env: Environment, api: Api) -> None:
    register(env, 20)
    api.post(PINS, pin="yes", **WHO)

    assert "another person" in api.post(PINS, 409, unpin="yes", since="2020-01-01T00:00:00Z", **WHO)["error"]
    assert api.get(PINS)["lines"][0]["pin"]


def test_all_problems_of_a_request_are_reported_at_once(env: Environment, api: Api) -> None:
    register(env, 20)

    assert start(api, 400, pin="on")["error"] == (
        "by: '' is not 1 to 100 printable characters; comment: '' is not 1 to 500 printable characters; "
        "pin: 'on' is not 'yes'"
    )
    assert start(api, 400, by="x" * 101, comment="a\tb")["error"].startswith("by: 'xxx")
    assert api.post(PINS, 400, unpin="no")["error"].startswith("unpin: 'no' is not 'yes' or 'keep'; by: ''")
    assert api.post(PINS, 400, pin="yes", unpin="yes", **WHO)["error"] == "set either `pin` or `unpin`"
    assert api.post(PINS, 404, pin="yes", target="p/x", **WHO)["error"] == f"{MODEL} has no claim on p/x"
    assert api.send("pins/churn").status_code == 404
    assert api.post(PINS, 409, unpin="yes", **WHO)["error"].startswith(f"{MODEL} is not pinned at ")
    assert env.versions == ["20"]


def test_a_page_of_another_site_changes_no_pin(env: Environment, api: Api) -> None:
    register(env, 20)

    answer = api.send(PINS, "POST", json={"pin": "yes", **WHO}, headers={"Sec-Fetch-Site": "cross-site"})

    assert answer.status_code == 403
    assert api.get(PINS)["lines"][0]["pin"] is None


def test_a_form_leads_to_the_model_version(env: Environment, api: Api) -> None:
    register(env, 20)

    answer = api.send(PINS, "POST", data={"pin": "yes", **WHO}, headers={"Accept": BROWSER})

    assert answer.status_code == 303
    assert api.page(f"pins/{answer.headers['Location']}").answer.status_code == 200


def test_the_page_names_newer_versions_and_the_pin_and_can_remove_it(env: Environment, api: Api) -> None:
    register(env, 20)
    start(api, pin="yes", **WHO)
    register(env, 21)

    text = " ".join(api.page(VERSION_20).text.split())

    assert "Newer versions are pending here: 21 (held). They are held while the pin remains." in text
    assert "is pinned here since" in text
    assert "by alice (stated): 21 regressed on EU" in text
    assert "Remove the pin, and start nothing" in text


@SIGNS_IN
def test_the_person_is_verified_only_if_the_platform_signs_people_in(env: Environment, *, signs_in: bool) -> None:
    register(env, 20)
    with served(env, WEBSITE_AUTH_ENABLED=str(signs_in)) as api:
        api.headers |= PRINCIPAL

        (entry,) = start(api, **WHO)["entries"]

    assert (entry["by"], entry["by_verified"]) == (("carol@contoso.com", True) if signs_in else ("alice", False))


def test_a_header_of_the_caller_counts_as_stated(env: Environment, api: Api) -> None:
    register(env, 20)
    api.headers |= PRINCIPAL

    (entry,) = start(api)["entries"]

    assert (entry["by"], entry["by_verified"]) == ("carol@contoso.com", False)


def test_a_person_without_a_verified_name_is_stated(env: Environment) -> None:
    register(env, 20)
    with served(env, WEBSITE_AUTH_ENABLED="true") as api:
        (entry,) = start(api, **WHO)["entries"]

    assert (entry["by"], entry["by_verified"]) == ("alice", False)


def test_a_pin_holds_before_its_release_is_created(env: Environment, api: Api) -> None:
    register(env, 20)
    env.azure_devops.misbehave(Fault(**POST, status=429, times=1))

    assert start(api, pin="yes", **WHO)["entries"][0]["state"] == "waiting"

    (line,) = api.get(PINS)["lines"]
    assert (line["pin"]["version"], line["is_kept"]) == ("20", False)
    register(env, 21)
    env.later(minutes=2)
    assert env.versions == ["20", "20"]
    assert api.get(PINS)["lines"][0]["is_kept"]
