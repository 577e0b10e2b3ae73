"""The locks: each deployed library and each tool with version and hashes, from requirements*.in, and nothing else."""

import json
import re
import tomllib
from importlib.metadata import distributions

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement

from model_release.app import HOME
from tests.infra.test_documents import vendored_schema

LOCKS = ["requirements", "requirements-dev", "requirements-tools"]
HASH = re.compile(r" {4}--hash=sha256:[0-9a-f]{64}( \\)?")
COMMENT = re.compile(r" {4}# +(via\b.*|-r requirements(-\w+)?\.(in|txt)|[a-z0-9-]+)|#( .*)?")


def locked(name: str) -> list[Requirement]:
    lines = (HOME / f"{name}.txt").read_text().splitlines()
    return [Requirement(line.removesuffix(" \\")) for line in lines if line[0] not in " #"]


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_names_exact_versions_markers_and_hashes_and_no_address(name: str) -> None:
    text = (HOME / f"{name}.txt").read_text()
    blocks = re.findall(r"^(?! |#).*\n(?: .*\n)*", text, re.MULTILINE)
    others = [line for line in text.splitlines() if line[0] in " #" and not HASH.fullmatch(line)]

    assert [block for block in blocks if "--hash=sha256:" not in block] == []
    assert [str(one) for one in locked(name) if not re.fullmatch(r"==[\w.]+", str(one.specifier))] == []
    assert [line for line in others if not COMMENT.fullmatch(line.rstrip())] == []
    assert "://" not in text


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_satisfies_its_source_on_every_supported_python(name: str) -> None:
    lines = (HOME / f"{name}.in").read_text().splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith(("#", "-r"))]
    found = locked(name)
    oldest = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]["requires-python"][2:6]

    for python in ("3.11", "3.12", "3.13", "3.14"):
        environment = {"python_version": python, "python_full_version": f"{python}.0"}
        versions = {
            canonical(one.name): one.specifier for one in found if not one.marker or one.marker.evaluate(environment)
        }
        for one in wanted:
            if not one.marker or one.marker.evaluate(environment):
                version = str(versions[canonical(one.name)]).removeprefix("==")
                assert one.specifier.contains(version, prereleases=True), f"{one}: run `make lock`"
    assert f"--universal --python-version {oldest} --generate-hashes" in (HOME / f"{name}.txt").read_text()


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_tests_run_with_the_deployed_versions() -> None:
    deployed = {str(one) for one in locked("requirements")}

    assert deployed <= {str(one) for one in locked("requirements-dev")}, "run `make lock`"


def test_the_tests_run_with_the_locked_versions() -> None:
    installed = {canonical(one.name): one.version for one in distributions()}
    found = [one for one in locked("requirements-dev") if not one.marker or one.marker.evaluate()]

    assert [str(one) for one in found if f"=={installed.get(canonical(one.name))}" != str(one.specifier)] == [], (
        "run `make install`"
    )


def test_the_configuration_of_dependabot_matches_the_published_schema() -> None:
    configuration = yaml.safe_load((HOME / ".github/dependabot.yml").read_text())

    jsonschema.validate(configuration, vendored_schema("dependabot.json"))
    assert {one["package-ecosystem"] for one in configuration["updates"]} == {"uv", "github-actions"}


@pytest.mark.parametrize("pipeline", ["azure-pipelines.yml", "github-workflow.yml"])
def test_an_example_pipeline_installs_the_lock_and_audits_what_it_deploys(pipeline: str) -> None:
    text = json.dumps(yaml.safe_load((HOME / "docs/pipelines" / pipeline).read_text()))

    assert "requirements-dev.txt" in text
    assert "make audit" in text
