"""The release map: each fault is reported with its path, and the schema matches."""

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from model_release.app import HOME
from model_release.domain.map_file import KEYWORDS, MapFile, Schema
from model_release.domain.release_map import PipelineOptions, ReleaseOptions, Route, load, schema
from model_release.errors import ConfigurationError

RELEASE = {"project": "fraud", "definition": "Deploy"}
PIPELINE = {"project": "fraud", "pipeline": "Deploy"}


def faults_of(folder: Path, text: str) -> list[str]:
    """Load a release map with this text, and return its faults."""
    path = folder / "map.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    assert {fault.where for fault in caught.value.faults} == {"map.yaml"}
    return [fault.problem for fault in caught.value.faults]


NO_VERSION_MATCHES = (
    "can never match a version; write a version, a glob, or a comparison with a whole number: "
    "'>=3', '<=3', '>3' or '<3'"
)


def test_every_fault_of_a_map_is_reported_at_once_with_its_path(tmp_path: Path) -> None:
    faults = faults_of(
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

    assert sorted(fault.partition(": ")[0] for fault in faults) == [
        "routes[0].model",
        "routes[0].modle",
        "routes[0].release.variables.A",
        "routes[0].tags.a",
        "routes[0].version",
        "routes[1].release.project",
        "routes[1].version",
        "version",
    ]
    for fault in (
        "routes[0].version: 1.10 must be text; write it in quotes",
        "routes[0].tags.a: yes must be text; write it in quotes",
        "routes[0].modle: unknown key",
        f"routes[1].version: '>=a' {NO_VERSION_MATCHES}",
    ):
        assert fault in faults


ONE_TARGET = "routes[0].pipeline: a route needs exactly one of `release` and `pipeline`"
NO_VERSION = "routes[0].pipeline.parameters: no parameter passes the version; add one with the value '{version}'"


@pytest.mark.parametrize(
    ("route", "faults"),
    [
        ({}, [ONE_TARGET]),
        ({"release": RELEASE, "pipeline": PIPELINE}, [ONE_TARGET]),
        (
            {"order": "last", "pipeline": {"pipline": "x", "parameters": {"a": "{model}"}, "branch": "main"}},
            [
                "routes[0].order: found 'last', expected 'newest' or 'every'",
                "routes[0].pipeline.project: missing",
                "routes[0].pipeline.pipeline: missing",
                "routes[0].pipeline.branch: 'main' is not a full branch name; write refs/heads/main",
                NO_VERSION,
                "routes[0].pipeline.pipline: unknown key",
            ],
        ),
        (
            {"pipeline": PIPELINE | {"parameters": {"v": "{version}", "ModelReleaseMarker": "x"}}},
            ["routes[0].pipeline.parameters: modelReleaseMarker is reserved; remove it"],
        ),
        ({"pipeline": PIPELINE | {"parameters": {"v": "{{version}}"}}}, [NO_VERSION]),
        ({"pipeline": {}}, ["routes[0].pipeline.project: missing", "routes[0].pipeline.pipeline: missing"]),
        ({"release": {"project": "p"}}, ["routes[0].release.definition: missing"]),
        (
            {"release": RELEASE, "tags": {"str": 1, "int": 2}},
            [
                "routes[0].tags.str: 1 must be text; write it in quotes",
                "routes[0].tags.int: 2 must be text; write it in quotes",
            ],
        ),
        (
            {"release": RELEASE, "workspace": "prod", "registry": "shared"},
            ["routes[0].registry: a route has at most one of `workspace` and `registry`"],
        ),
        (
            {"release": RELEASE | {"definition": 3_000_000_000}},
            ["routes[0].release.definition: found '3000000000', expected less than 2147483648"],
        ),
        (
            {"release": RELEASE | {"description": "{tags.a}"}, "allow": {"tags.A": "[", "tags.b": "x", "model": "x"}},
            [
                (
                    "routes[0].allow: 'model' is not tags.KEY or properties.KEY; no variable, parameter or description "
                    "of the route uses {tags.b}; '[' of tags.A is not a regular expression"
                )
            ],
        ),
        (
            {"release": {"project": "p"}, "allow": {"tags.a": "a{99999999999}"}},
            [
                "routes[0].release.definition: missing",
                "routes[0].allow: 'a{99999999999}' of tags.a is not a regular expression",
            ],
        ),
        (
            {"release": RELEASE | {"description": "{tags.a}"}, "allow": {"tags.a": 1}},
            ["routes[0].allow.tags.a: 1 must be text; write it in quotes"],
        ),
        (
            {"release": RELEASE | {"definition": 0, "project": "", "variables": {"": "x"}}, "enabled": "true"},
            [
                "routes[0].enabled: found the text 'true', expected true or false",
                "routes[0].release.project: found '', expected at least 1 character",
                "routes[0].release.definition: found '0', expected 1 or more",
                "routes[0].release.variables.: found '', expected at least 1 character",
            ],
        ),
        (
            {"model": None, "tags": ["a"], "order": 5, "release": RELEASE | {"definition": {}, "manual_stages": "a"}},
            [
                "routes[0].model: null must be text; write it in quotes",
                "routes[0].tags: found '[\"a\"]', expected a mapping",
                "routes[0].order: found '5', expected 'newest' or 'every'",
                "routes[0].release.definition: found '{}', expected a whole number or text",
                "routes[0].release.manual_stages: found the text 'a', expected a list",
            ],
        ),
    ],
)
def test_every_fault_of_a_route_is_reported_at_once(tmp_path: Path, route: dict[str, Any], faults: list[str]) -> None:
    text = json.dumps({"version": 1, "routes": [{"model": "*"} | route]})

    assert faults_of(tmp_path, text) == faults


def faults_of_route(folder: Path, **values: str) -> list[str]:
    """Return the faults of a route with these values, which are written to the file as they are."""
    route = {"model": "'*'", "release": "{project: fraud, definition: 7}"} | values
    lines = [f"    {key}: {value}" for key, value in route.items()]
    return faults_of(folder, "\n".join(["version: 1", "routes:", "  -", *lines]))


@pytest.mark.parametrize(
    "version",
    [
        *("=>3", "==3", "!=3", "3+", "3,4", "@latest", " 3", "3 ", ">=3 ", ">=a", ">", "> =3", ">=-1", "<0", "<>3"),
        *("~3", "^3", "3|4", "3..4 ", "v 3", "-1", ".5", "[,]", "[3", "[!]", "[9-0]", "3 - 5", "3/4", "x:3", "é"),
    ],
)
def test_a_version_rule_that_no_version_can_match_is_a_fault_with_the_four_comparisons(
    tmp_path: Path, version: str
) -> None:
    assert faults_of_route(tmp_path, version=json.dumps(version)) == [
        f"routes[0].version: {version!r} {NO_VERSION_MATCHES}"
    ]


@pytest.mark.parametrize(
    "model",
    ["fraud model", " fraud", "-x", ".x", "models/fraud", "fraud:3", "a|b", "a,b", "*,*", "[ ]", "[a", "modèle"],
)
def test_a_glob_that_no_model_can_match_is_a_fault(tmp_path: Path, model: str) -> None:
    (fault,) = faults_of_route(tmp_path, model=json.dumps(model))

    assert fault.startswith(f"routes[0].model: {model!r} can never match a model; names have letters, digits")


@pytest.mark.parametrize(
    ("model", "version"),
    [
        *(("churn_*", version) for version in (">=3", "<= 3", ">3", "<1", "2024-*", "1.?", "[1-3]*", "latest", "09")),
        *((model, "*") for model in ("*", "?*", "[a-c]x", "[!x]*", "[]a]", "fraud-v1.2_x")),
    ],
)
def test_a_rule_that_something_can_match_is_accepted(tmp_path: Path, model: str, version: str) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(json.dumps({"version": 1, "routes": [{"model": model, "version": version, "release": RELEASE}]}))

    assert load(path).routes[0].version == version


@pytest.mark.parametrize(
    ("text", "number"), [("010", 8), ("1:30", 90), ("1_0", 10), ("0x10", 16), ("0b11", 3), ("+3", 3)]
)
def test_a_number_that_yaml_reads_otherwise_than_written_is_a_fault(tmp_path: Path, text: str, number: int) -> None:
    means = f"{text} means {number} in YAML; write {number}, or write '{text}' in quotes"
    release = f"{{project: fraud, definition: {text}}}"

    assert faults_of_route(tmp_path, version=text) == [f"routes[0].version: {means}"]
    assert faults_of_route(tmp_path, release=release) == [f"routes[0].release.definition: {means}"]


def test_a_key_without_a_value_is_a_fault(tmp_path: Path) -> None:
    assert faults_of_route(tmp_path, model="", tags="", release="") == [
        "routes[0].model: found nothing, expected text",
        "routes[0].tags: found nothing, expected a mapping",
        "routes[0].release: found nothing, expected a valid release, which is a mapping",
    ]


@pytest.mark.parametrize("text", ["yes", "No", "010", "1:30", "1_0", "1.10", "2024-01-31", "2021-02-30", ".inf", "~"])
def test_a_value_that_is_not_text_is_quoted_as_the_file_has_it(tmp_path: Path, text: str) -> None:
    faults = faults_of_route(tmp_path, tags=f"{{a.b: {text}}}", properties=f"{{<<: {{c: {text}}}}}")

    must_be_text = f"{text} must be text; write it in quotes"
    assert faults == [f"routes[0].tags.a.b: {must_be_text}", f"routes[0].properties.c: {must_be_text}"]


def test_keys_are_texts_as_written(tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    route = "{model: a, tags: {yes: x, 010: '=', 2021-02-30: =}, release: {project: p, definition: 7}}"
    path.write_text(f"version: 1\nroutes: [{route}]")

    assert load(path).routes[0].tags == {"yes": "x", "010": "=", "2021-02-30": "="}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"\xff\xfe", "the file is not text in UTF-8; save it in UTF-8"),
        (b"&a [*a]", "lists or mappings are nested too deeply, or contain themselves"),
        (b"[" * 10_000, "lists or mappings are nested too deeply, or contain themselves"),
        (b"version: " + b"1" * 5_000, "a number cannot be read; write it in quotes"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_fault_in_plain_words(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "map.yaml"
    path.write_bytes(content)

    with pytest.raises(ConfigurationError) as caught:
        load(path)

    assert str(caught.value.faults[0]).endswith(f"map.yaml: {fault}")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("version: 1\nversion: 1\nroutes: []", "duplicate key 'version'"),
        ("version: [", "while parsing"),
        ("", "the file: found nothing, expected a valid release map, which is a mapping"),
        ("[x]", "the file: found '[\"x\"]', expected a valid release map, which is a mapping"),
        ("version: 1\nroutes: []", "routes: found '[]', expected at least 1 item"),
        ("version: 1\nroutes: [x]", "routes[0]: found the text 'x', expected a valid route, which is a mapping"),
    ],
)
def test_a_file_that_is_not_a_map_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    assert faults_of(tmp_path, text)[0].startswith(fault)


def test_a_map_that_does_not_exist_is_named_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path / "none.yaml")

    (fault,) = caught.value.faults
    assert str(fault) == f"{tmp_path / 'none.yaml'}: the file cannot be read: No such file or directory"


# The schema. Its formats are checks of ours; everything else is compared as JSON schema defines it.

SCHEMA = schema().content
FOR_EDITORS = {"$schema", "$comment", "$defs", "title", "description", "default", "examples"}
BY_SCHEMA_ALONE = Schema(SCHEMA, dict.fromkeys(schema().formats, bool))
SOME = st.sampled_from(
    [None, True, -1, 0, 1, 2**31, "", "1", "newest", "refs/x", [], ["x"], ["", 1], {}, {"v": "x"}, {"": "x"}, {"v": 1}]
)
KEYS = sorted(
    {key for name in ("Route", "ReleaseOptions", "PipelineOptions") for key in SCHEMA["$defs"][name]["properties"]}
)
MAPPINGS = st.dictionaries(st.sampled_from([*KEYS, "other"]), SOME, max_size=4)


@given(MAPPINGS, MAPPINGS, MAPPINGS, st.sampled_from([["release"], ["pipeline"], ["release", "pipeline"]]))
@settings(max_examples=500, deadline=None)
def test_the_app_accepts_what_json_schema_accepts(
    route: dict[str, Any], release: dict[str, Any], pipeline: dict[str, Any], kept: list[str]
) -> None:
    targets = {"release": RELEASE | release, "pipeline": PIPELINE | pipeline}
    content = {"version": 1, "routes": [{"model": "x"} | {name: targets[name] for name in kept} | route]}

    assert (BY_SCHEMA_ALONE.faults(MapFile(content)) == {}) is jsonschema.Draft202012Validator(SCHEMA).is_valid(content)


@pytest.mark.parametrize(
    "content", [None, "x", [], {}, {"version": 1}, {"version": True, "routes": []}, {"routes": {}}]
)
def test_the_app_refuses_what_is_not_a_map(content: object) -> None:
    assert BY_SCHEMA_ALONE.faults(MapFile(content))
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(content)


def rules(rule: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield rule
    parts = [*rule.get("properties", {}).values(), *rule.get("$defs", {}).values()]
    for part in [*parts, *(rule.get(key) for key in ("items", "additionalProperties", "propertyNames"))]:
        if isinstance(part, dict):
            yield from rules(part)


def test_the_app_knows_every_keyword_and_format_of_the_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    found = list(rules(SCHEMA))

    assert {keyword for rule in found for keyword in rule} - FOR_EDITORS == KEYWORDS
    assert {rule["format"] for rule in found if "format" in rule} == schema().formats.keys()
    assert all("$ref" in rule or "type" in rule for rule in found)


@pytest.mark.parametrize("kind", [Route, ReleaseOptions, PipelineOptions])
def test_the_classes_have_the_keys_and_defaults_of_the_schema(kind: type) -> None:
    rule = SCHEMA["$defs"][kind.__name__]
    properties = {
        key: SCHEMA["$defs"][one["$ref"][8:]] | one if "$ref" in one else one for key, one in rule["properties"].items()
    }
    empty = kind(**dict.fromkeys(rule["required"], "x"))

    assert {field.name for field in fields(kind)} == properties.keys()
    for key, one in properties.items():
        if key not in rule["required"]:
            value = getattr(empty, key)
            assert (list(value) if isinstance(value, tuple) else value) == one.get("default")


def test_every_key_of_the_schema_is_described() -> None:
    for name in ("Route", "ReleaseOptions", "PipelineOptions"):
        assert all(one["description"] for one in SCHEMA["$defs"][name]["properties"].values())


def test_the_sample_map_matches_the_schema() -> None:
    jsonschema.validate(yaml.safe_load((HOME / "release_map.yaml").read_text()), SCHEMA)
