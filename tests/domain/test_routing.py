"""Routing: which routes match a model version and why, and what is planned."""

from dataclasses import replace
from typing import Any
from unittest.mock import ANY

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_release.domain.events import ModelRegistered, Workspace, parse
from model_release.domain.map_file import MapFile
from model_release.domain.release_map import ReleaseMap, build_map
from model_release.domain.routing import Routing, match, route
from model_release.domain.targets import ReleasePlan, RunPlan, Target
from model_release.text import shorten
from tests.environment import event

RELEASE = {"project": "fraud", "definition": "Deploy"}
PIPELINE = {"project": "fraud", "pipeline": "Deploy"}


def a_map(*routes: dict[str, Any]) -> ReleaseMap:
    """Return a map of these routes; by default a route matches every model and has a release."""
    return build_map(
        MapFile(
            {
                "version": 1,
                "routes": [
                    {"model": "*"} | ({} if "pipeline" in one else {"release": RELEASE}) | one for one in routes
                ],
            }
        )
    )


def an_event(**data: object) -> ModelRegistered:
    return parse(event(**data))


def routing(release_map: ReleaseMap, registered: ModelRegistered) -> Routing:
    """Route an event of a workspace of the app."""
    return route(release_map, {registered.workspace}, registered)


@pytest.mark.parametrize(
    ("options", "data", "reason"),
    [
        ({"model": "fraud-*"}, {"model": "churn"}, "no route names the model churn"),
        ({"model": "Churn"}, {"model": "churn"}, "no route names the model churn"),
        ({"name": "to production", "enabled": False}, {}, "route to production is disabled"),
        ({"version": ">=3"}, {"version": 2}, "version '2' does not match '>=3'"),
        ({"version": "<3"}, {"version": 3}, "version '3' does not match '<3'"),
        ({"version": "> 3"}, {"version": "4a"}, "version '4a' does not match '> 3'"),
        ({"version": "1.*"}, {"version": "2.0"}, "version '2.0' does not match '1.*'"),
        ({"version": 3}, {"version": 2}, "version '2' does not match '3'"),
        ({"workspace": "dev"}, {}, "workspace is 'prod', not 'dev'"),
        ({"tags": {"stage": "production"}}, {}, "tag stage is missing"),
        (
            {"tags": {"stage": "production"}},
            {"ModelTags": {"stage": "Production"}},
            "tag stage is 'Production', not 'production'",
        ),
        (
            {"tags": {"stage": "production"}},
            {"ModelTags": {"stage": "test"}},
            "tag stage is 'test', not 'production'",
        ),
        ({"properties": {"run": "x"}}, {"ModelProperties": None}, "property run is missing"),
        ({"properties": {"run": "x"}}, {"ModelProperties": {"run": "y"}}, "property run is 'y', not 'x'"),
        (
            {"release": RELEASE | {"description": "{tags.ticket}"}},
            {},
            "route * uses {tags.ticket}, for which this version has no value",
        ),
        (
            {"release": RELEASE | {"variables": {"Stage": "{tags.stage}"}}},
            {},
            "route * uses {tags.stage}, for which this version has no value",
        ),
    ],
)
def test_a_mismatch_has_a_reason_with_the_found_and_the_wanted_value(
    options: dict[str, Any], data: dict[str, Any], reason: str
) -> None:
    routed = routing(a_map(options), an_event(**data))

    assert (routed.plans, routed.why_nothing.text) == ((), reason)


@pytest.mark.parametrize(
    ("options", "data"),
    [
        ({"model": "fraud-[ab]*"}, {"model": "fraud-b2"}),
        ({"version": "<=3"}, {"version": "3"}),
        ({"version": ">9"}, {"version": "10"}),
        ({"version": "2.*"}, {"version": "2.1"}),
        ({"workspace": "PROD"}, {}),
        ({"tags": {"GITHUB_REF": "main"}}, {"ModelTags": {"githuB_REF": "main"}}),
        ({"tags": {"a": "exact"}}, {"ModelTags": {"a": "exact", "A": "other"}}),
    ],
)
def test_a_route_matches_the_versions_it_describes(options: dict[str, Any], data: dict[str, Any]) -> None:
    release_map, registered = a_map(options), an_event(**data)

    (matched,) = match(release_map, registered)

    assert matched.matches
    assert matched.reason == f"route {release_map.routes[0].title} matches {registered.model}:{registered.version}"
    assert len(routing(release_map, registered).plans) == 1


def test_each_route_has_its_own_reason_and_the_reasons_of_those_that_name_the_model_are_joined() -> None:
    release_map = a_map({"model": "fraud"}, {"version": ">=3"}, {"tags": {"stage": "production"}})

    registered = an_event(model="churn", version=2, ModelTags={"stage": "test"})

    assert [(one.matches, one.reason) for one in match(release_map, registered)] == [
        (False, "model 'churn' does not match 'fraud'"),
        (False, "version '2' does not match '>=3'"),
        (False, "tag stage is 'test', not 'production'"),
    ]
    assert routing(release_map, registered).why_nothing.text == (
        "version '2' does not match '>=3'; tag stage is 'test', not 'production'"
    )


OTHER_VALUES = st.text().filter(lambda value: value != "expected")


@settings(deadline=None)
@given(OTHER_VALUES, OTHER_VALUES)
def test_the_log_text_of_a_mismatch_has_no_tag_or_property_value(tag: str, value: str) -> None:
    release_map = a_map({"tags": {"stage": "expected"}}, {"properties": {"run": "expected"}})

    why = routing(release_map, an_event(ModelTags={"stage": tag}, ModelProperties={"run": value})).why_nothing

    assert (
        why.text == f"tag stage is {shorten(tag)!r}, not 'expected'; property run is {shorten(value)!r}, not 'expected'"
    )
    assert why.log == "tag stage has another value; property run has another value"
    assert why.for_log == why.log


VARIABLE = {"release": RELEASE | {"variables": {"Stage": "to {tags.stage}"}}}
DESCRIPTION = {"release": RELEASE | {"description": "{tags.stage}"}}
PARAMETER = {"pipeline": PIPELINE | {"parameters": {"version": "{version}", "stage": "{tags.stage}"}}}
HARMFUL = [
    "$(password)",
    "##vso[task.setvariable]",
    'a"b',
    "a'b",
    "a;b",
    "a`b",
    "a\nb",
    "a\n",
    "\xe4",
    "a\u202eb",
    "a" * 257,
]


@pytest.mark.parametrize("options", [VARIABLE, DESCRIPTION, PARAMETER], ids=["variable", "description", "parameter"])
@pytest.mark.parametrize("value", HARMFUL)
def test_a_route_does_not_match_a_version_whose_value_is_not_harmless(options: dict[str, Any], value: str) -> None:
    routed = routing(a_map(options), an_event(ModelTags={"stage": value}))

    assert routed.plans == ()
    assert routed.why_nothing.text == (
        "route * uses {tags.stage}, whose value does not match [A-Za-z0-9 ._:/@+,=-]{0,256}; "
        "change it, or add `allow` to the route"
    )
    assert routed.why_nothing.for_log == routed.why_nothing.text


@pytest.mark.parametrize("value", ["", "prod", "https://host/a_b", "a b", "a@b.c:1+2,3=4-5", "a" * 256])
def test_a_harmless_value_is_passed(value: str) -> None:
    (planned,) = routing(a_map(VARIABLE), an_event(ModelTags={"stage": value})).plans

    assert planned.variables["Stage"] == f"to {value}"


def test_a_value_that_is_not_passed_may_be_anything() -> None:
    assert routing(a_map({}), an_event(ModelTags={"stage": "$(password)"})).plans


@pytest.mark.parametrize(
    ("allow", "value", "matches"),
    [
        ({"tags.stage": r"[\w äöü!]+"}, "für alle!", True),
        ({"tags.STAGE": r"a\$b"}, "a$b", True),
        ({"tags.stage": "dev|prod"}, "test", False),
        ({"tags.stage": "dev|prod"}, "prod$(x)", False),
        ({"tags.stage": "dev|prod"}, "prod\n", False),
        ({"tags.stage": "[a-z$]+", "tags.Stage": "[a-z]+"}, "a$b", False),
    ],
)
def test_allow_replaces_what_a_whole_value_must_match(allow: dict[str, str], value: str, *, matches: bool) -> None:
    routed = routing(a_map(VARIABLE | {"allow": allow}), an_event(ModelTags={"stage": value}))

    assert bool(routed.plans) is matches
    if not matches:
        reason = "route * uses {tags.stage}, whose value does not match the route's `allow`"
        assert routed.why_nothing.text == reason


def test_a_value_that_the_route_requires_is_passed() -> None:
    release_map = a_map(VARIABLE | {"tags": {"Stage": "R&D (west)"}})

    assert routing(release_map, an_event(ModelTags={"stage": "R&D (west)"})).plans
    # The condition finds another tag than the placeholder.
    assert not routing(release_map, an_event(ModelTags={"Stage": "R&D (west)", "stage": "$(password)"})).plans


def test_a_workspace_that_is_not_configured_matches_nothing() -> None:
    registered = an_event()
    other = Workspace.parse(registered.workspace.id.replace("prod", "dev"))

    routed = route(a_map({}), {other}, registered)

    assert (routed.plans, routed.why_nothing.text) == (
        (),
        f"workspace {registered.workspace.id} is not in AML_WORKSPACES",
    )


def test_every_matching_route_plans_its_target_and_two_routes_to_one_target_plan_it_once() -> None:
    named = RELEASE | {"definition": "Deploy änd"}
    other = RELEASE | {"definition": 42}
    same = {"project": "FRAUD", "definition": "dePLOY ÄND"}

    plans = routing(a_map({"name": "first", "release": named}, {"release": other}, {"release": same}), an_event()).plans

    assert [(plan.route, str(plan.target)) for plan in plans] == [("first", "fraud/Deploy änd"), ("*", "fraud/42")]


def test_an_id_and_a_name_of_the_same_digits_are_two_targets() -> None:
    release_map = a_map({"release": RELEASE | {"definition": 42}}, {"release": RELEASE | {"definition": "42"}})

    assert len(routing(release_map, an_event()).plans) == 2


def test_a_definition_and_a_pipeline_of_one_name_are_two_targets() -> None:
    release, pipeline = Target("fraud", "Deploy"), Target("fraud", "Deploy", "pipeline")

    assert (str(release), str(pipeline)) == ("fraud/Deploy", "fraud/Deploy (pipeline)")
    assert release.key != pipeline.key == Target("FRAUD", "deploy", "pipeline").key


def test_the_key_of_a_target_does_not_change_because_stored_claims_contain_its_digest() -> None:
    assert Target("fraud", "Deploy").key == '["release", "fraud", "deploy"]'
    assert Target("Fraud", 42, "pipeline").key == '["pipeline", "fraud", 42]'


def test_the_plan_of_a_release_has_the_rendered_variables_and_description() -> None:
    variables = {"A": "{model}/{version}", "B": "{tags.Area}"}
    release = RELEASE | {"variables": variables, "description": "of {model}", "manual_stages": ["Production"]}

    (plan,) = routing(a_map({"release": release}), an_event(version=7)).plans

    assert plan == ReleasePlan(
        target=Target("fraud", "Deploy"),
        route="*",
        newest_only=True,
        variables={"A": "sklearn_regression_model/7", "B": "diabetes"},
        passes_version=True,
        manual_stages=("Production",),
        description="of sklearn_regression_model",
    )


@pytest.mark.parametrize(("order", "newest_only"), [("newest", True), ("every", False)])
def test_the_order_of_the_route_decides_whether_older_versions_start(order: str, *, newest_only: bool) -> None:
    plans = routing(a_map({"order": order}, {"order": order, "pipeline": PIPELINE}), an_event()).plans

    assert [plan.newest_only for plan in plans] == [newest_only, newest_only]


def test_the_plan_of_a_run_passes_model_and_version_or_the_parameters_of_the_route() -> None:
    own = {"parameters": {"v": "{version}", "of": "{tags.Area}"}, "branch": "refs/heads/x", "stages_to_skip": ["Test"]}
    release_map = a_map({"pipeline": PIPELINE}, {"pipeline": PIPELINE | {"pipeline": 7} | own})

    default, configured = routing(release_map, an_event(version=7)).plans

    assert isinstance(default, RunPlan)
    assert default.parameters == {"modelName": "sklearn_regression_model", "modelVersion": "7"}
    assert (default.branch, default.stages_to_skip) == ("", ())
    assert isinstance(configured, RunPlan)
    assert configured.parameters == {"v": "7", "of": "diabetes"}
    assert (configured.branch, configured.stages_to_skip) == ("refs/heads/x", ("Test",))
    assert routing(release_map, an_event(ModelTags={})).plans == (replace(default, parameters=ANY),)
