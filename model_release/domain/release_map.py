"""The release map: the team's file as `release_map.schema.json` defines it, and every fault of it with its path."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from string import ascii_letters, digits
from typing import Any, Literal, NamedTuple

from model_release.domain.map_file import KeyFaultError, MapFile, MapFileError, Schema, read
from model_release.domain.placeholders import check_template, faults_of_allow, lower, passes_version
from model_release.domain.targets import Target
from model_release.errors import ConfigurationError, Fault

COMPARISON = re.compile(r"(>=|<=|>|<)\s*(.*)")
# A run is found by the value of this parameter, so the pipeline's YAML must declare it.
MARKER_PARAMETER = "modelReleaseMarker"
_SCHEMA_FILE = Path(__file__).parents[2] / "release_map.schema.json"


def _check_parameters(parameters: Mapping[str, str]) -> None:
    if MARKER_PARAMETER.casefold() in {name.casefold() for name in parameters}:
        raise ValueError(f"{MARKER_PARAMETER} is reserved; remove it")
    if not passes_version(parameters):
        raise ValueError("no parameter passes the version; add one with the value '{version}'")


def _check_branch(branch: str) -> None:
    if not branch.startswith("refs/"):
        raise ValueError(f"{branch!r} is not a full branch name; write refs/heads/{branch}")


def _check_version(version: int | str) -> None:
    pattern = str(version)
    comparison = COMPARISON.fullmatch(pattern)
    if comparison:
        can_match = (
            comparison[2].isascii() and comparison[2].isdecimal() and (comparison[1] != "<" or int(comparison[2]) > 0)
        )
    else:
        can_match = _can_match(pattern)
    if not can_match:
        known = "a version, a glob, or a comparison with a whole number: '>=3', '<=3', '>3' or '<3'"
        raise ValueError(f"{pattern!r} can never match a version; write {known}")


def _check_model(glob: str) -> None:
    if not _can_match(glob):
        names = "letters, digits, '-', '_' and '.', beginning with a letter or digit"
        raise ValueError(f"{glob!r} can never match a model; names have {names}")


def _can_match(glob: str) -> bool:
    """Whether a name or version that Azure ML allows matches the glob."""
    first, *others = _GLOB_PARTS.findall(glob)
    return all(any(fnmatchcase(c, part) for c in f"{_BEGINNINGS}-_.") for part in others) and any(
        fnmatchcase(c, first) for c in _BEGINNINGS
    )


_BEGINNINGS = ascii_letters + digits
_GLOB_PARTS = re.compile(r"\[!?\]?[^]]*\]|.", re.DOTALL)


@dataclass(frozen=True)
class ReleaseOptions:
    """The release definition of a route, and what is passed to a release."""

    project: str
    definition: int | str
    variables: Mapping[str, str] = field(default_factory=dict)
    manual_stages: Sequence[str] = ()
    description: str = "{model} {version}"

    @property
    def target(self) -> Target:
        """The release definition."""
        return Target(self.project, self.definition)

    @property
    def templates(self) -> tuple[str, ...]:
        """All texts that may contain placeholders."""
        return (*self.variables.values(), self.description)


@dataclass(frozen=True)
class PipelineOptions:
    """The YAML pipeline of a route, and what is passed to a run."""

    project: str
    pipeline: int | str
    branch: str | None = None
    parameters: Mapping[str, str] = field(default_factory=lambda: {"modelName": "{model}", "modelVersion": "{version}"})
    stages_to_skip: Sequence[str] = ()

    @property
    def target(self) -> Target:
        """The pipeline."""
        return Target(self.project, self.pipeline, "pipeline")

    @property
    def templates(self) -> tuple[str, ...]:
        """All texts that may contain placeholders."""
        return tuple(self.parameters.values())


@dataclass(frozen=True)
class Route:
    """One rule of the release map."""

    model: str
    name: str | None = None
    version: int | str | None = None
    workspace: str | None = None
    registry: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    order: Literal["newest", "every"] = "newest"
    enabled: bool = True
    release: ReleaseOptions | None = None
    pipeline: PipelineOptions | None = None
    allow: Mapping[str, str] = field(default_factory=dict)

    def allowed(self, placeholder: str) -> list[str]:
        """List the regular expressions of `allow` for a placeholder; its value must match all of them."""
        return [regex for name, regex in self.allow.items() if lower(name) == lower(placeholder)]

    def required(self, placeholder: str) -> list[str]:
        """List the values that the route requires of a placeholder's tag or property."""
        source, _, key = placeholder.partition(".")
        values = {"tags": self.tags, "properties": self.properties}.get(source, {})
        return [value for name, value in values.items() if lower(name) == lower(key)]

    @property
    def options(self) -> ReleaseOptions | PipelineOptions:
        """The options of the route's one target."""
        found = self.release or self.pipeline
        assert found  # noqa: S101  the schema requires one
        return found

    @property
    def target(self) -> Target:
        """The target that the route leads to."""
        return self.options.target

    @property
    def title(self) -> str:
        """The route's name, or the model that it names."""
        return self.name or self.model


class ReleaseMap(NamedTuple):
    """The team's file: which model versions start which release definition or pipeline."""

    routes: Sequence[Route]


def load(path: Path) -> ReleaseMap:
    """Read the file; raises ConfigurationError with every fault and its path, such as `routes[2].release.project`."""
    try:
        return build_map(read(path.read_text("utf-8")), path.name)
    except OSError as error:
        raise ConfigurationError([Fault(f"the file cannot be read: {error.strerror}", where=str(path))]) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError([Fault("the file is not text in UTF-8", "save it in UTF-8", str(path))]) from error
    except MapFileError as error:
        raise ConfigurationError([Fault(str(error), where=path.name)]) from error


def build_map(file: MapFile, name: str = "release_map.yaml") -> ReleaseMap:
    """Build the map of a file; raises ConfigurationError with every fault, as one of the file with this name."""
    if problems := schema().faults(file):
        raise ConfigurationError([Fault(f"{at}: {what}", where=name) for at, what in problems.items()])
    return ReleaseMap(tuple(_route(**route) for route in file.content["routes"]))


@cache
def schema() -> Schema:
    """Return the schema, which editors read too; its defaults are those of the classes above."""
    return Schema(json.loads(_SCHEMA_FILE.read_text("utf-8")), _FORMATS)


def _check_route(route: Mapping[str, Any]) -> None:
    if route.get("workspace") and route.get("registry"):
        raise KeyFaultError("a route has at most one of `workspace` and `registry`", "registry")
    allow = route.get("allow")
    if not (isinstance(allow, dict) and all(isinstance(regex, str) for regex in allow.values())):
        return
    try:
        templates = _route(**route).options.templates
    except (TypeError, AttributeError, AssertionError):  # its target has faults of its own
        templates = ()
    if faults := faults_of_allow(allow, templates):
        raise KeyFaultError("; ".join(faults), "allow")


def _route(*, release: Any = None, pipeline: Any = None, **values: Any) -> Route:
    return Route(
        **values,
        release=ReleaseOptions(**release) if release else None,
        pipeline=PipelineOptions(**pipeline) if pipeline else None,
    )


_FORMATS: Mapping[str, Callable[[Any], object]] = {
    "branch": _check_branch,
    "model": _check_model,
    "parameters": _check_parameters,
    "route": _check_route,
    "template": check_template,
    "version": _check_version,
}
