"""The release map: each fault is reported with its path, and the schema matches."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from model_release.app import HOME
from model_release.domain.release_map import load, schema
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
        "routes[0].version: 1.1 must be text; write it in quotes",
        "routes[0].modle: unknown key",
        "routes[1].version: '>=a' is not a comparison with a whole number, such as '>=3'",
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
            {"release": RELEASE | {"definition": 3_000_000_000}},
            ["routes[0].release.definition: found '3000000000', expected less than 2147483648"],
        ),
    ],
)
def test_every_fault_of_a_route_is_reported_at_once(tmp_path: Path, route: dict[str, Any], faults: list[str]) -> None:
    text = json.dumps({"version": 1, "routes": [{"model": "*"} | route]})

    assert faults_of(tmp_path, text) == faults


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("version: 1\nversion: 1\nroutes: []", "duplicate key 'version'"),
        ("version: [", "while parsing"),
        ("", "the file: "),
        ("version: 1\nroutes: []", "routes: "),
    ],
)
def test_a_file_that_is_not_a_map_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    assert faults_of(tmp_path, text)[0].startswith(fault)


def test_a_map_that_does_not_exist_is_named_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path / "none.yaml")

    (fault,) = caught.value.faults
    assert str(fault) == f"{tmp_path / 'none.yaml'}: the file cannot be read: No such file or directory"


def test_the_schema_file_is_the_schema_of_this_version() -> None:
    assert json.loads((HOME / "release_map.schema.json").read_text()) == schema()


def test_the_sample_map_matches_the_schema_and_a_map_with_a_fault_does_not() -> None:
    content = yaml.safe_load((HOME / "release_map.yaml").read_text())

    jsonschema.validate(content, schema())
    for fault in ({"other": 1}, {"routes": [{"model": "*"}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(content | fault, schema())
