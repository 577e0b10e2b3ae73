"""Placeholders in the texts of a route."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_release.domain.events import NAME, Workspace, parse
from model_release.domain.placeholders import (
    HARMLESS,
    check_template,
    missing_values,
    passes_version,
    render,
    tag_or_property,
)
from tests.environment import event


@pytest.mark.parametrize(
    ("template", "rendered"),
    [
        ("{model}/{version}/{workspace}", "sklearn_regression_model/7/prod"),
        ("{tags.Area}{properties.type}", "diabetestest"),
        ("{{{version}}}", "{7}"),
        ("{{version}}", "{version}"),
        ("{tags.a.b}", "dots"),
        ("no placeholder", "no placeholder"),
    ],
)
def test_placeholders_are_replaced_and_doubled_braces_are_literal(template: str, rendered: str) -> None:
    read = parse(event(version=7, ModelTags={"area": "diabetes", "a.b": "dots"}))

    assert render(check_template(template), read) == rendered


def test_workspace_and_registry_have_a_value_for_their_own_versions_only() -> None:
    of_workspace, of_registry = parse(event()), parse(event().replace("workspaces/prod", "registries/Shared"))

    assert render("{workspace}", of_workspace) == "prod"
    assert render("{registry}", of_registry) == "Shared"
    assert missing_values(["{registry}"], of_workspace) == ["registry"]
    assert missing_values(["{workspace}"], of_registry) == ["workspace"]
    assert passes_version({"id": "{asset_id}"})


def test_a_placeholder_in_a_tag_value_is_not_replaced() -> None:
    assert render("{tags.a}", parse(event(ModelTags={"a": "{version}"}))) == "{version}"


@pytest.mark.parametrize("template", ["{version", "version}", "{}", "{name}", "{tags}", "{tags.}", "{ version }"])
def test_a_template_with_an_unknown_placeholder_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"is not a placeholder; use \{model\}, .*, and write a literal brace twice"):
        check_template(template)


def test_placeholders_without_a_value_are_listed() -> None:
    read = parse(event(ModelTags={"Stage": "", "none": None}))

    assert missing_values(["{tags.stage}{tags.none}{tags.a} {model}", "{properties.b}"], read) == [
        "tags.a",
        "properties.b",
    ]


@pytest.mark.parametrize(
    ("template", "passes"), [("v{version}", True), ("{{version}}", False), ("{tags.version}", False), ("", False)]
)
def test_only_the_version_placeholder_passes_the_version(template: str, *, passes: bool) -> None:
    assert passes_version({"first": "{model}", "second": template}) is passes


def test_a_key_is_found_without_regard_to_case_and_the_exact_key_first() -> None:
    assert tag_or_property({"A": "other", "a": "exact", "b": "last"}, "a") == "exact"
    assert tag_or_property({"githuB_REF": "main"}, "GITHUB_REF") == "main"
    assert tag_or_property({"a": "b"}, "c") is None


@pytest.mark.parametrize(("key", "other"), [("\u212aey", "key"), ("stra\xdfe", "strasse"), ("\xc4", "\xe4")])
def test_only_the_ascii_case_of_a_key_is_ignored(key: str, other: str) -> None:
    assert tag_or_property({key: "value"}, other) is None
    assert tag_or_property({other: "value"}, key) is None


PREFIX = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/"


@given(st.from_regex(NAME, fullmatch=True), st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}", fullmatch=True))
def test_names_and_versions_that_azure_ml_allows_are_harmless(name: str, workspace: str) -> None:
    assert re.fullmatch(HARMLESS, name)
    assert re.fullmatch(HARMLESS, Workspace.parse(PREFIX + workspace).name)
