"""Releases: which definition, with which version, variables and stages, refused why, and found by which marker."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from local.azure_devops_faults import Fault
from local.azure_devops_releases import SELECTED, build_artifact, model_artifact
from model_release.azure_devops.model_version import VersionForm, version_form
from model_release.azure_devops.releases import release_url
from model_release.azure_devops.target_name import the_one
from model_release.domain.targets import Approval, Stage, Target
from model_release.errors import RefusedError
from tests.azure_devops.plans import MARKER, client, create, find_by_marker, release_plan
from tests.environment import IN_MEMORY, Environment, assert_refused_until_fixed

pytestmark = IN_MEMORY

ADD_A_VERSION = (
    "add an AzureML model artifact of sklearn_regression_model, or a variable ModelVersion settable at release time"
)


def refusal(env: Environment, *args: Any, **changes: Any) -> tuple[str, str]:
    with pytest.raises(RefusedError) as caught:
        create(env, release_plan(*args, **changes))
    return caught.value.problem, caught.value.fix


@pytest.mark.parametrize("definition", [1, "Deploy sklearn model", "DEPLOY SKLEARN MODEL", "\\Deploy sklearn model"])
def test_a_definition_is_found_by_id_by_name_and_by_folder(env: Environment, definition: int | str) -> None:
    env.azure_devops.add_definition("fraud", "Deploy sklearn model 2")

    assert create(env, release_plan(definition)).id == 1


def test_definitions_with_the_same_name_are_distinguished_by_their_folder(env: Environment) -> None:
    for folder in ("\\a", "\\a\\b"):
        env.azure_devops.add_definition("fraud", "Twice", path=folder, variables={"ModelVersion": ""})

    assert refusal(env, "Twice") == (
        "project fraud has 2 release definitions named Twice",
        "write the folder too: \\a\\Twice, \\a\\b\\Twice",
    )
    create(env, release_plan("\\a\\b\\Twice"))

    assert env.azure_devops.releases[0]["releaseDefinition"]["path"] == "\\a\\b"


@pytest.mark.parametrize("kind", ["release", "pipeline"])
@pytest.mark.parametrize("name", ["/models/Deploy", "models/Deploy", "\\models/Deploy"])
def test_a_name_with_slashes_is_refused_with_its_backslashes(name: str, kind: Any) -> None:
    with pytest.raises(RefusedError) as caught:
        the_one(Target("fraud", name, kind), [], lambda _: "")

    assert caught.value.fix == "write folders with backslashes: \\models\\Deploy"


def test_a_definition_that_is_not_found_is_refused_with_a_fix() -> None:
    with pytest.raises(RefusedError) as caught:
        the_one(Target("fraud", "\\a\\None"), [], lambda _: "")

    assert caught.value.problem == (
        "project fraud has no release definition \\a\\None, or this identity cannot view it"
    )
    assert caught.value.fix == "correct the route's project or definition, or grant View release pipeline"


@pytest.mark.parametrize("form", ["{version}", "{model}:{version}"])
def test_the_version_id_format_is_read_from_the_version_list(env: Environment, form: str) -> None:
    env.azure_devops.model_version_id = form

    create(env, release_plan())

    version = env.azure_devops.releases[0]["artifacts"][0]["definitionReference"]["version"]
    assert version == {"id": form.format(model="sklearn_regression_model", version="20"), "name": "20"}


def test_the_version_id_format_is_not_read_from_other_artifacts(env: Environment) -> None:
    env.azure_devops.model_version_id = "{model}:{version}"
    create(env, release_plan())
    artifacts = env.azure_devops.releases[0]["artifacts"]
    image = {"alias": "_image", "type": "DockerHub", "definitionReference": {"version": {"id": "v7", "name": "v7"}}}
    artifacts.insert(0, image)

    create(env, release_plan(), version=21)

    (sent,) = env.azure_devops.releases[1]["artifacts"]
    assert sent["definitionReference"]["version"]["id"] == "sklearn_regression_model:21"


def test_the_version_id_format_is_read_from_an_earlier_release_first(env: Environment) -> None:
    create(env, release_plan())
    before = len(env.azure_devops.requests)

    create(env, release_plan(), version=21)

    assert not any("versions" in request.path for request in env.azure_devops.requests[before:])


def test_an_unknown_version_id_format_is_never_guessed(env: Environment) -> None:
    env.azure_devops.add_definition(
        "fraud", "New", model_artifacts={"_new": "sklearn_regression_model"}, variables={"ModelVersion": ""}
    )
    env.azure_devops.model_version_id = "opaque-{version}"
    env.azure_devops.model_version_name = "{version}"

    problem, fix = refusal(env, "New")

    assert problem == (
        "cannot determine the version ID format of artifact _new: definition New has no earlier release that shows it, "
        "and no listed version"
    )
    assert fix == "create one release manually"


@pytest.mark.parametrize("form", ["{version}", "{model}:{version}"])
@pytest.mark.parametrize("name", ["{version}", "{model}:{version}"])
def test_a_version_is_written_as_earlier_releases_have_it(env: Environment, form: str, name: str) -> None:
    env.azure_devops.model_version_id, env.azure_devops.model_version_name = form, name

    create(env, release_plan(), version=19)
    create(env, release_plan(), version=20)

    version = env.azure_devops.releases[-1]["artifacts"][0]["definitionReference"]["version"]
    values = {"model": "sklearn_regression_model", "version": "20"}
    assert version == {"id": form.format(**values), "name": name.format(**values)}


@pytest.mark.parametrize(
    ("id_", "name", "id_form", "name_form"),
    [
        ("51", "51", "{version}", "{version}"),
        ("51", None, "{version}", "{version}"),
        ("51", "churn:51", "{version}", "{model}:{version}"),
        ("churn:51", "51", "{model}:{version}", "{version}"),
        ("churn:51", "churn:51", "{model}:{version}", "{model}:{version}"),
        ("churn:51", None, "{model}:{version}", "{version}"),
        ("churn:51", "Version 51", "{model}:{version}", "{version}"),
        ("2024-01", "2024-01", "{version}", "{version}"),
        ("churn:2024-01", "2024-01", "{model}:{version}", "{version}"),
    ],
)
def test_the_version_id_format_follows_from_the_id(id_: str, name: str | None, id_form: str, name_form: str) -> None:
    assert version_form("churn", id_, name) == VersionForm(id_form, name_form)


@pytest.mark.parametrize(
    ("id_", "name"),
    [
        ("opaque-51", "51"),
        ("other:51", "51"),
        ("other:51", "other:51"),
        ("churn:", ""),
        ("", ""),
        (None, "51"),
        ("2f1c", "51"),
    ],
)
def test_an_id_that_does_not_show_its_format_is_not_used(id_: str | None, name: str) -> None:
    assert version_form("churn", id_, name) is None


def test_the_reason_of_azure_devops_is_shown_if_it_cannot_list_the_versions(env: Environment) -> None:
    reason = "Failed to query service connection API: 'https://management.azure.com/'. Status Code: 'Unauthorized'"
    env.azure_devops.version_errors["sklearn_regression_model"] = reason

    assert refusal(env) == (
        f"cannot determine the version ID format of artifact _sklearn_regression_model: {reason}",
        "create one release manually",
    )


def test_a_definition_that_accepts_no_version_is_refused_with_what_to_add(env: Environment) -> None:
    env.azure_devops.add_definition("fraud", "Bare", variables={"ModelVersion": {"value": "", "allowOverride": False}})

    assert refusal(env, "Bare") == ("definition Bare does not accept a model version", ADD_A_VERSION)


def test_a_route_may_pass_the_version_in_another_variable(env: Environment) -> None:
    env.azure_devops.add_definition("fraud", "Own", variables={"ToDeploy": ""})

    create(env, release_plan("Own", variables={"todeploy": "20"}, passes_version=True))

    assert env.azure_devops.releases[0]["variables"]["ToDeploy"]["value"] == "20"


def test_all_faults_of_a_definition_are_reported_at_once(env: Environment) -> None:
    env.azure_devops.add_definition("fraud", "Bare", variables={"Fixed": {"value": "", "allowOverride": False}})
    plan = {"variables": {"Fixed": "1", "Missing": "2"}, "manual_stages": ("Prodution",)}

    problem, fix = refusal(env, "Bare", **plan)

    assert problem == "variable Fixed of definition Bare is not settable at release time"
    assert fix == (
        "make it settable, or remove it from the route. "
        "definition Bare has no variable Missing; add it as settable at release time, or correct the route. "
        f"definition Bare does not accept a model version; {ADD_A_VERSION}. "
        "definition Bare has no stage Prodution; correct manual_stages in the route"
    )


def test_a_variable_of_a_stage_or_of_a_group_is_named_as_such(env: Environment) -> None:
    groups = [env.azure_devops.add_variable_group("fraud", name, {f"Of{name}": "x"}) for name in ("One", "Two")]
    definition = env.azure_devops.add_definition(
        "fraud", "Grouped", variables={"ModelVersion": ""}, stages=("Dev", "Test"), groups=groups[:1]
    )
    definition["environments"][1] |= {"variables": {"OfStage": {"value": ""}}, "variableGroups": groups[1:]}

    problem, fix = refusal(env, "Grouped", variables={"OFSTAGE": "1", "OfOne": "2", "OfTwo": "3", "Other": "4"})

    assert problem == "variable OFSTAGE of definition Grouped is a variable of stage Test"
    add = "add it to the definition, settable at release time, or correct the route"
    assert fix == (
        "move it to the scope Release, settable at release time, or correct the route. "
        f"variable OfOne of definition Grouped is a variable of group One; {add}. "
        f"variable OfTwo of definition Grouped is a variable of group Two; {add}. "
        "definition Grouped has no variable Other; add it as settable at release time, or correct the route"
    )


def test_groups_that_cannot_be_read_do_not_hide_the_fault(env: Environment) -> None:
    group = env.azure_devops.add_variable_group("fraud", "One", {"Of": "x"})
    env.azure_devops.add_definition("fraud", "Grouped", variables={"ModelVersion": ""}, groups=[group])
    env.azure_devops.misbehave(Fault(path="/variablegroups", status=403))

    assert refusal(env, "Grouped", variables={"Of": "1"})[0] == "definition Grouped has no variable Of"


def test_groups_are_read_only_for_a_fault(env: Environment) -> None:
    group = env.azure_devops.add_variable_group("fraud", "One", {"Of": "x"})
    env.azure_devops.add_definition("fraud", "Grouped", variables={"ModelVersion": ""}, groups=[group])

    create(env, release_plan("Grouped", variables={"ModelVersion": "20"}))

    assert not any("variablegroups" in request.path for request in env.azure_devops.requests)


def test_two_artifacts_of_one_model_are_refused(env: Environment) -> None:
    artifacts = {"_a": "sklearn_regression_model", "_b": "sklearn_regression_model"}
    env.azure_devops.add_definition("fraud", "Both", model_artifacts=artifacts)

    assert refusal(env, "Both") == (
        "definition Both has the model sklearn_regression_model in 2 artifacts: _a, _b",
        "keep one of these artifacts",
    )


def test_other_models_of_the_definition_keep_their_default_version(env: Environment) -> None:
    env.azure_devops.add_model_version("other", "5")
    artifacts = {"_this": "sklearn_regression_model", "_other": "other"}
    env.azure_devops.add_definition("fraud", "Both", model_artifacts=artifacts)

    create(env, release_plan("Both"))

    versions = {
        a["alias"]: a["definitionReference"]["version"]["name"] for a in env.azure_devops.releases[0]["artifacts"]
    }
    assert versions == {"_this": "20", "_other": "5"}


def test_an_artifact_whose_version_is_selected_for_each_release_is_refused_before_sending(env: Environment) -> None:
    other = [build_artifact("_code", "7", SELECTED), model_artifact("_other", "other", SELECTED)]
    own = {"_this": "sklearn_regression_model"}
    env.azure_devops.add_definition("fraud", "Both", model_artifacts=own, other_artifacts=other)

    problem, fix = refusal(env, "Both")

    assert problem == "definition Both expects that the version of artifact _code is selected for each release"
    assert fix == (
        "set its default version, for example to Latest. "
        "definition Both expects that the version of artifact _other is selected for each release; "
        "set its default version, for example to Latest"
    )
    assert not any(request.method == "POST" for request in env.azure_devops.requests)


def test_the_models_own_artifact_may_have_its_version_selected_for_each_release(env: Environment) -> None:
    own = model_artifact("_this", "sklearn_regression_model", SELECTED)
    env.azure_devops.add_definition("fraud", "Own", other_artifacts=[own])

    create(env, release_plan("Own"))

    (artifact,) = env.azure_devops.releases[0]["artifacts"]
    assert artifact["definitionReference"]["version"]["id"] == "20"


def test_a_definition_with_code_and_model_gets_the_latest_build(env: Environment) -> None:
    for build in ("331", "332"):
        env.azure_devops.add_artifact_version("7", build, f"20260102.{build[-1]}")
    own = {"_this": "sklearn_regression_model"}
    repository = {"alias": "_repository", "type": "GitHub", "sourceId": "", "definitionReference": {}}
    code = [build_artifact("_code", "7"), {**repository, "isPrimary": False}]
    env.azure_devops.add_definition("fraud", "Code", model_artifacts=own, other_artifacts=code)

    create(env, release_plan("Code"))

    versions = {a["alias"]: a["definitionReference"]["version"] for a in env.azure_devops.releases[0]["artifacts"]}
    assert versions == {
        "_this": {"id": "20", "name": "20"},
        "_code": {"id": "332", "name": "20260102.2"},
        "_repository": {"id": "1", "name": "1"},
    }


def test_a_manual_stage_is_not_started(env: Environment) -> None:
    create(env, release_plan(manual_stages=("production",)))

    (release,) = env.azure_devops.releases
    manual = {stage["name"]: stage["conditions"] == [] for stage in release["environments"]}
    assert manual == {"Staging": False, "Production": True}


def test_a_variable_of_the_route_replaces_the_standard_value(env: Environment) -> None:
    create(env, release_plan(variables={"modelversion": "v20"}))

    assert env.azure_devops.releases[0]["variables"]["ModelVersion"]["value"] == "v20"


def test_a_long_description_keeps_its_marker(env: Environment) -> None:
    create(env, release_plan(description="x" * 10_000))

    assert env.azure_devops.releases[0]["description"] == "x" * 400 + " " + MARKER


def test_secret_variables_stay_secret(env: Environment) -> None:
    secret = {"value": "", "allowOverride": True, "isSecret": True}
    env.azure_devops.add_definition("fraud", "Secret", variables={"ModelVersion": "", "Key": secret})

    create(env, release_plan("Secret", variables={"Key": "hidden"}))

    body = json.loads(env.azure_devops.requests[-1].body)
    assert body["variables"]["Key"] == {"isSecret": True, "value": "hidden"}


def test_a_marker_is_found_on_any_page_of_the_list(env: Environment) -> None:
    azure_devops = client(env)
    create(azure_devops, release_plan())
    marked = env.azure_devops.releases[0]
    env.azure_devops.releases += [{**marked, "id": number, "description": "another"} for number in range(2, 103)]

    found = find_by_marker(azure_devops, release_plan(), env.clock.now.replace(year=2020))

    assert found
    assert found.id == 1


def test_a_marker_that_was_planted_in_another_release_is_not_found(env: Environment) -> None:
    azure_devops = client(env)
    create(azure_devops, release_plan())
    env.azure_devops.releases[0]["description"] = f"{MARKER} [model-release 1]"

    assert find_by_marker(azure_devops, release_plan(), env.clock.now.replace(year=2020)) is None


def test_a_value_of_a_tag_does_not_look_like_a_marker(env: Environment) -> None:
    create(env, release_plan(description=f"tag {MARKER}"))

    assert env.azure_devops.releases[0]["description"] == f"tag [ 0] {MARKER}"


def test_a_marker_is_searched_only_in_releases_since_the_claim(env: Environment) -> None:
    azure_devops = client(env)
    create(azure_devops, release_plan())
    env.azure_devops.releases[0]["createdOn"] = "2020-01-01T00:00:00Z"

    assert find_by_marker(azure_devops, release_plan(), env.clock.now - timedelta(minutes=5)) is None


def grant(env: Environment) -> None:
    env.azure_devops.permissions |= {"Create releases", "View releases", "View release pipeline"}


REFUSALS = {
    "unknown definition": (
        lambda env: setattr(env, "removed", env.azure_devops._definitions.pop(1)),
        lambda env: env.azure_devops._definitions.update({1: env.removed}),
        "Release pipeline with ID 1 does not exist",
    ),
    "disabled definition": (
        lambda env: env.azure_devops._definitions[1].update(isDisabled=True),
        lambda env: env.azure_devops._definitions[1].update(isDisabled=False),
        "disabled",
    ),
    "missing permission": (
        lambda env: env.azure_devops.permissions.discard("Create releases"),
        grant,
        "does not have create releases permission",
    ),
    "no permission to view": (
        lambda env: env.azure_devops.permissions.clear(),
        grant,
        "does not have view release pipeline permission",
    ),
    "model artifact removed": (
        lambda env: env.azure_devops._definitions[1].update(artifacts=[], variables={}),
        lambda env: env.azure_devops._definitions[1].update(
            variables={"ModelVersion": {"value": "", "allowOverride": True}}
        ),
        "does not accept a model version",
    ),
}


@pytest.mark.parametrize("remembered", [False, True], ids=["cold", "remembered"])
@pytest.mark.parametrize(("break_it", "fix_it", "problem"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_the_reason_and_the_release_starts_once_it_is_fixed(
    env: Environment, break_it: Callable, fix_it: Callable, problem: str, *, remembered: bool
) -> None:
    assert_refused_until_fixed(env, break_it, fix_it, problem, remembered=remembered)


@pytest.mark.parametrize(
    ("organization", "releases"),
    [
        ("https://dev.azure.com/contoso", "https://vsrm.dev.azure.com/contoso"),
        ("https://contoso.visualstudio.com", "https://contoso.vsrm.visualstudio.com"),
        ("https://tfs.contoso.com/DefaultCollection", "https://tfs.contoso.com/DefaultCollection"),
    ],
)
def test_releases_have_an_address_of_their_own_in_the_cloud(organization: str, releases: str) -> None:
    assert release_url(organization) == releases


def test_the_stages_of_a_release_have_their_status_and_who_approved(env: Environment) -> None:
    created = create(env, release_plan())
    staging, production = env.azure_devops.releases[0]["environments"]
    staging |= {"status": "partiallySucceeded", "preDeployApprovals": [{"isAutomated": True, "status": "approved"}]}
    decided = {"isAutomated": False, "status": "approved", "approvedBy": {"displayName": "Ada Lovelace"}}
    waiting = {"isAutomated": False, "status": "pending", "approver": {"displayName": "Owners"}}
    production |= {"status": "inProgress", "preDeployApprovals": [decided], "postDeployApprovals": [waiting]}

    assert client(env).stages(Target("fraud", 1), created.id) == (
        Stage("Staging", "partially succeeded", ()),
        Stage("Production", "in progress", (Approval("Ada Lovelace", "approved"), Approval("Owners", "pending"))),
    )
