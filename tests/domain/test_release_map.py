"""The release map: strict when read, and a decision that says why."""

import json
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import jsonschema
import pytest
import yaml

from model_release import app as wiring
from model_release.domain.events import ModelRegistered, parse
from model_release.domain.release_map import ReleaseMap, RunStart, Start, Target, judge, load, schema, starts, why_none
from model_release.errors import ConfigurationError
from tests.environment import event

RELEASE = {"project": "fraud", "definition": "Deploy"}


PIPELINE = {"project": "fraud", "pipeline": "Deploy"}


def a_map(*routes: dict) -> ReleaseMap:
    return ReleaseMap.model_validate({"version": 1, "routes": [{"model": "*", "release": RELEASE} | r for r in routes]})


def an_event(**data: object) -> ModelRegistered:
    return parse(event(**data))


def decide(release_map: ReleaseMap, registered: ModelRegistered) -> tuple[tuple[Start, ...], str]:
    verdicts = judge(release_map, registered)
    return starts(verdicts, registered), why_none(verdicts, registered)


@pytest.mark.parametrize(
    ("route", "data", "reason"),
    [
        ({"model": "fraud-*"}, {"model": "churn"}, "no route names churn"),
        ({"model": "Churn"}, {"model": "churn"}, "no route names churn"),
        ({"name": "to production", "enabled": False}, {}, "route to production is disabled"),
        ({"version": ">=3"}, {"version": 2}, "version 2 is not >=3"),
        ({"version": "<3"}, {"version": 3}, "version 3 is not <3"),
        ({"version": "> 3"}, {"version": "4a"}, "version 4a is not > 3"),
        ({"version": "1.*"}, {"version": "2.0"}, "version 2.0 is not 1.*"),
        ({"version": 3}, {"version": 2}, "version 2 is not 3"),
        ({"workspace": "dev"}, {}, "workspace prod is not dev"),
        ({"tags": {"stage": "production"}}, {}, "tag stage is missing"),
        ({"tags": {"stage": "production"}}, {"ModelTags": {"stage": "Production"}}, "tag stage is not production"),
        ({"properties": {"run": "x"}}, {"ModelProperties": None}, "property run is missing"),
        (
            {"release": RELEASE | {"description": "{tags.ticket}"}},
            {},
            "route * needs {tags.ticket}, which this version does not have",
        ),
        (
            {"release": RELEASE | {"variables": {"Stage": "{tags.stage}"}}},
            {},
            "route * needs {tags.stage}, which this version does not have",
        ),
    ],
)
def test_a_route_that_does_not_take_a_version_says_why(route: dict, data: dict, reason: str) -> None:
    assert decide(a_map(route), an_event(**data)) == ((), reason)


@pytest.mark.parametrize(
    ("route", "data"),
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
def test_a_route_takes_what_it_describes(route: dict, data: dict) -> None:
    assert len(decide(a_map(route), an_event(**data))[0]) == 1


def test_every_route_that_matches_starts_its_target_and_two_to_one_target_start_it_once() -> None:
    named = RELEASE | {"definition": "Deploy änd"}
    other = RELEASE | {"definition": 42}
    same = {"project": "FRAUD", "definition": "dePLOY ÄND"}

    found, _ = decide(a_map({"name": "first", "release": named}, {"release": other}, {"release": same}), an_event())

    assert [(start.route, str(start.target)) for start in found] == [("first", "fraud/Deploy änd"), ("*", "fraud/42")]


def test_an_id_and_a_name_of_the_same_digits_are_two_targets() -> None:
    found, _ = decide(
        a_map({"release": RELEASE | {"definition": 42}}, {"release": RELEASE | {"definition": "42"}}), an_event()
    )

    assert len(found) == 2


def test_placeholders_are_filled_and_braces_can_be_written() -> None:
    variables = {"A": "{model}/{version}/{workspace}", "B": "{tags.Area}{properties.type}", "C": "{{{version}}}"}
    release = RELEASE | {"variables": variables, "description": "of {model}"}

    ((start,), _) = decide(a_map({"release": release}), an_event(version=7))

    assert start.variables == {"A": "sklearn_regression_model/7/prod", "B": "diabetestest", "C": "{7}"}
    assert start.description == "of sklearn_regression_model"
    assert start.hands_over_version


def test_what_a_tag_holds_is_not_read_as_a_placeholder() -> None:
    release = RELEASE | {"variables": {"A": "{tags.a}"}}

    ((start,), _) = decide(a_map({"release": release}), an_event(ModelTags={"a": "{version}"}))

    assert start.variables == {"A": "{version}"}


def test_a_route_starts_a_pipeline_with_model_and_version_or_what_it_says() -> None:
    own = {"parameters": {"v": "{version}", "of": "{tags.Area}"}, "branch": "refs/heads/x", "stages_to_skip": ["Test"]}
    release_map = ReleaseMap.model_validate(
        {
            "version": 1,
            "routes": [
                {"model": "*", "pipeline": PIPELINE},
                {"model": "*", "pipeline": PIPELINE | {"pipeline": 7} | own},
            ],
        }
    )

    ((default, given), _) = decide(release_map, an_event(version=7))

    assert isinstance(default, RunStart)
    assert default.parameters == {"modelName": "sklearn_regression_model", "modelVersion": "7"}
    assert (default.branch, default.stages_to_skip) == ("", ())
    assert isinstance(given, RunStart)
    assert given.parameters == {"v": "7", "of": "diabetes"}
    assert (given.branch, given.stages_to_skip) == ("refs/heads/x", ("Test",))
    assert decide(release_map, an_event(ModelTags={}))[0] == (replace(default, parameters=ANY),)


def test_a_definition_and_a_pipeline_of_one_name_are_two_targets_and_the_key_of_a_release_is_as_ever() -> None:
    release, pipeline = Target("fraud", "Deploy"), Target("fraud", "Deploy", "pipeline")

    assert (str(release), str(pipeline)) == ("fraud/Deploy", "fraud/Deploy (pipeline)")
    assert release.key == '["fraud", "deploy"]'
    assert release.key != pipeline.key == Target("FRAUD", "deploy", "pipeline").key


def write(folder: Path, text: str) -> Path:
    path = folder / "map.yaml"
    path.write_text(text)
    return path


def test_every_fault_of_a_map_is_told_at_once_with_its_path(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
version: 2
routes:
  - modle: a
    version: 1.10
    tags: {a: yes}
    release: {project: fraud, definition: 7, variables: {A: "{version"}}
  - model: x
    version: ">=a"
    release: {definition: 7}
""",
    )

    with pytest.raises(ConfigurationError) as caught:
        load(path)

    places = [fault.split(": ")[1] for fault in caught.value.faults]
    assert sorted(places) == [
        "routes[0].model",
        "routes[0].modle",
        "routes[0].release.variables.A",
        "routes[0].tags.a",
        "routes[0].version",
        "routes[1].release.project",
        "routes[1].version",
        "version",
    ]
    assert "map.yaml: routes[0].version: 1.1 must be text: write it in quotes" in caught.value.faults
    assert "map.yaml: routes[0].modle: there is no such key" in caught.value.faults


@pytest.mark.parametrize(
    ("route", "faults"),
    [
        ({}, ["routes[0].pipeline: is missing, and so is release: a route starts one of both"]),
        (
            {"release": RELEASE, "pipeline": PIPELINE},
            ["routes[0].pipeline: stands beside release: a route starts one of both"],
        ),
        (
            {"order": "last", "pipeline": {"pipline": "x", "parameters": {"a": "{model}"}, "branch": "main"}},
            [
                "routes[0].order: Input should be 'newest' or 'every'",
                "routes[0].pipeline.project: is missing",
                "routes[0].pipeline.pipeline: is missing",
                "routes[0].pipeline.branch: 'main' is no full name of a branch: write refs/heads/main",
                "routes[0].pipeline.parameters: no parameter hands over {version}",
                "routes[0].pipeline.pipline: there is no such key",
            ],
        ),
        (
            {"pipeline": PIPELINE | {"parameters": {"v": "{version}", "ModelReleaseMarker": "x"}}},
            ["routes[0].pipeline.parameters: modelReleaseMarker is set by Model Release itself"],
        ),
        (
            {"pipeline": PIPELINE | {"parameters": {"v": "{{version}}"}}},
            ["routes[0].pipeline.parameters: no parameter hands over {version}"],
        ),
        (
            {"pipeline": {}},
            ["routes[0].pipeline.project: is missing", "routes[0].pipeline.pipeline: is missing"],
        ),
        ({"release": {"project": "p"}}, ["routes[0].release.definition: is missing"]),
        (
            {"release": RELEASE, "tags": {"str": 1, "int": 2}},
            [
                "routes[0].tags.str: 1 must be text: write it in quotes",
                "routes[0].tags.int: 2 must be text: write it in quotes",
            ],
        ),
        (
            {"release": RELEASE | {"definition": 3_000_000_000}},
            ["routes[0].release.definition: Input should be less than 2147483648"],
        ),
    ],
)
def test_a_route_starts_one_thing_and_its_faults_are_told_at_once(
    tmp_path: Path, route: dict, faults: list[str]
) -> None:
    path = write(tmp_path, json.dumps({"version": 1, "routes": [{"model": "*"} | route]}))

    with pytest.raises(ConfigurationError) as caught:
        load(path)

    assert caught.value.faults == tuple(f"map.yaml: {fault}" for fault in faults)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("version: 1\nversion: 1\nroutes: []", "the key 'version' stands twice"),
        ("version: [", "map.yaml: while parsing"),
        ("", "map.yaml: the file: "),
        ("version: 1\nroutes: []", "map.yaml: routes: "),
    ],
)
def test_a_file_that_is_no_map_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(write(tmp_path, text))

    assert fault in caught.value.faults[0]


def test_a_map_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.yaml cannot be read: No such file"):
        load(tmp_path / "none.yaml")


def test_the_shipped_schema_is_the_one_of_this_version() -> None:
    assert json.loads((wiring.HOME / "release_map.schema.json").read_text()) == schema()


def test_the_sample_map_holds_to_the_shipped_schema_and_a_wrong_one_does_not() -> None:
    content = yaml.safe_load((wiring.HOME / "release_map.yaml").read_text())

    jsonschema.validate(content, schema())
    for wrong in ({"other": 1}, {"routes": [{"model": "*"}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(content | wrong, schema())
