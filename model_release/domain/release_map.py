"""The release map: which model versions go to which release definition or pipeline, and why (pure)."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from model_release.domain.events import ModelRegistered, Workspace
from model_release.errors import ConfigurationError

_COMPARISON = re.compile(r"(>=|<=|>|<)\s*(.*)")
_COMPARE: Mapping[str, Callable[[int, int], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
# By its value a run is found again, so the pipeline's YAML must declare it.
MARKER_PARAMETER = "modelReleaseMarker"

Kind = Literal["release", "pipeline"]

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_KNOWN = re.compile(r"model|version|workspace|(?:tags|properties)\..+", re.DOTALL)


def _check_template(template: str) -> str:
    for match in _PLACEHOLDER.finditer(template):
        if match[0] not in ("{{", "}}") and not _KNOWN.fullmatch(match[1] or ""):
            msg = (
                f"{match[0]!r} is not a placeholder; there are {{model}}, {{version}}, {{workspace}}, {{tags.KEY}} and "
                "{properties.KEY}, and a brace itself is written twice"
            )
            raise ValueError(msg)
    return template


def _hand_over_version(templates: Mapping[str, str]) -> bool:
    return any(match[1] == "version" for text in templates.values() for match in _PLACEHOLDER.finditer(text))


def _check_parameters(parameters: dict[str, str]) -> dict[str, str]:
    if MARKER_PARAMETER.casefold() in {name.casefold() for name in parameters}:
        msg = f"{MARKER_PARAMETER} is set by Model Release itself"
        raise ValueError(msg)
    if not _hand_over_version(parameters):
        msg = "no parameter hands over {version}"
        raise ValueError(msg)
    return parameters


def _check_branch(branch: str) -> str:
    if not branch.startswith("refs/"):
        msg = f"{branch!r} is no full name of a branch: write refs/heads/{branch}"
        raise ValueError(msg)
    return branch


def _check_version(pattern: str) -> str:
    comparison = _COMPARISON.fullmatch(pattern)
    if comparison and not comparison[2].isdecimal():
        msg = f"{pattern!r} compares with something that is no whole number"
        raise ValueError(msg)
    return pattern


Text = Annotated[str, StringConstraints(min_length=1)]
# Azure DevOps' ids are of 32 bits.
Id = Annotated[int, Field(gt=0, lt=2**31)]
Template = Annotated[str, AfterValidator(_check_template)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Release(_Strict):
    """A release that a route starts, and what it hands over."""

    project: Text = Field(description="The Azure DevOps project.")
    definition: Id | Text = Field(
        description="The release definition: its exact name, \\folder\\name, or its numeric id.",
    )
    variables: dict[Text, Template] = Field(
        default={},
        description="Variables of the definition to set; they must be settable at release time.",
        examples=[{"Stage": "{tags.stage}"}],
    )
    manual_stages: list[Text] = Field(default=[], description="Stages that wait for a person.")
    description: Template = Field(
        default="{model} {version}", description="The release's description; a marker is appended."
    )

    @property
    def target(self) -> Target:
        """The release definition."""
        return Target(self.project, self.definition)

    @property
    def templates(self) -> tuple[str, ...]:
        """All texts with placeholders."""
        return (*self.variables.values(), self.description)

    def start(self, route: str, event: ModelRegistered, *, newest_only: bool) -> ReleaseStart:
        """The release of this model version."""
        return ReleaseStart(
            target=self.target,
            route=route,
            newest_only=newest_only,
            variables=_render_all(self.variables, event),
            hands_over_version=_hand_over_version(self.variables),
            manual_stages=tuple(self.manual_stages),
            description=_render(self.description, event),
        )


class Pipeline(_Strict):
    """A run of a YAML pipeline that a route starts, and what it hands over."""

    project: Text = Field(description="The Azure DevOps project.")
    pipeline: Id | Text = Field(description="The pipeline: its exact name, \\folder\\name, or its numeric id.")
    branch: Annotated[Text, AfterValidator(_check_branch)] | None = Field(
        default=None, description="The branch that is run, such as refs/heads/main; the pipeline's default otherwise."
    )
    parameters: Annotated[dict[Text, Template], AfterValidator(_check_parameters)] = Field(
        default={"modelName": "{model}", "modelVersion": "{version}"},
        description="Parameters that the pipeline's YAML declares; one of them hands over the version.",
    )
    stages_to_skip: list[Text] = Field(default=[], description="Stages that are not run.")

    @property
    def target(self) -> Target:
        """The pipeline."""
        return Target(self.project, self.pipeline, "pipeline")

    @property
    def templates(self) -> tuple[str, ...]:
        """All texts with placeholders."""
        return tuple(self.parameters.values())

    def start(self, route: str, event: ModelRegistered, *, newest_only: bool) -> RunStart:
        """The run for this model version."""
        return RunStart(
            target=self.target,
            route=route,
            newest_only=newest_only,
            branch=self.branch or "",
            parameters=_render_all(self.parameters, event),
            stages_to_skip=tuple(self.stages_to_skip),
        )


class Route(_Strict):
    """One rule of the release map."""

    name: Text | None = Field(default=None, description="Shown in the history.")
    model: Text = Field(description="The model's name, or a glob (* ? [abc]).")
    version: int | Annotated[Text, AfterValidator(_check_version)] | None = Field(
        default=None, description="A version, a glob, or a comparison of whole numbers such as '>=3'."
    )
    workspace: Text | None = Field(default=None, description="The name of the Azure ML workspace.")
    tags: dict[Text, str] = Field(default={}, description="Tags that must all have these values.")
    properties: dict[Text, str] = Field(default={}, description="Properties that must all have these values.")
    order: Literal["newest", "every"] = Field(
        default="newest",
        description="newest: never start an older version after a newer one. every: start each version.",
    )
    enabled: bool = True
    release: Release | None = None
    pipeline: Pipeline | None = Field(default=None, validate_default=True)

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["release"]}, {"required": ["pipeline"]}]})

    @field_validator("pipeline", mode="before")
    @classmethod
    def _check_one_target(cls, pipeline: Any, read: ValidationInfo) -> Any:
        # A release with a fault is not among what was read, and its fault is told already.
        release = read.data.get("release", pipeline is None)
        if pipeline is not None and release:
            msg = "stands beside release: a route starts one of both"
            raise ValueError(msg)
        if pipeline is None and not release:
            msg = "is missing, and so is release: a route starts one of both"
            raise ValueError(msg)
        return pipeline

    @property
    def starts(self) -> Release | Pipeline:
        """What it starts; one of both is there."""
        found = self.release or self.pipeline
        assert found  # noqa: S101  checked when it was read
        return found

    @property
    def title(self) -> str:
        """The route's name, or the model that it names."""
        return self.name or self.model


class ReleaseMap(_Strict):
    """The team's file: which model versions go to which release definition or pipeline."""

    version: Literal[1] = Field(description="The version of this file's format.")
    routes: Annotated[list[Route], Field(min_length=1)]


@dataclass(frozen=True)
class Target:
    """What a route starts: a release definition of a project, or a pipeline of it."""

    project: str
    definition: int | str
    kind: Kind = "release"

    def __str__(self) -> str:
        """The target as people read it."""
        return f"{self.project}/{self.definition}" + (" (pipeline)" if self.kind == "pipeline" else "")

    @property
    def key(self) -> str:
        """Equal for equal targets only; Azure DevOps ignores the case of both names."""
        # The kind of a release is left out: rows of the ledger are named by this key.
        kind = [] if self.kind == "release" else [self.kind]
        return json.dumps([self.project, self.definition, *kind], ensure_ascii=False).casefold()


@dataclass(frozen=True)
class Start:
    """Something to start: the target, and the route that says so; what is handed over is its kind's own."""

    target: Target
    route: str
    newest_only: bool


@dataclass(frozen=True)
class ReleaseStart(Start):
    """A release to create."""

    variables: Mapping[str, str]
    hands_over_version: bool
    manual_stages: tuple[str, ...]
    description: str


@dataclass(frozen=True)
class RunStart(Start):
    """A run of a pipeline to start; without a branch it is the pipeline's default one."""

    branch: str
    parameters: Mapping[str, str]
    stages_to_skip: tuple[str, ...]


@dataclass(frozen=True)
class StartedRelease:
    """A release, or a run of a pipeline, that exists in Azure DevOps."""

    id: int
    name: str
    url: str


@dataclass(frozen=True)
class Verdict:
    """Whether a route takes a model version, and why."""

    route: Route
    takes: bool
    reason: str


def load(path: Path) -> ReleaseMap:
    """Read the file; raises ConfigurationError with every fault and its path, such as `routes[2].release.project`."""
    try:
        content = yaml.load(path.read_text("utf-8"), _UniqueKeys)  # noqa: S506  a SafeLoader that is stricter
    except OSError as error:
        raise ConfigurationError([f"the release map {path} cannot be read: {error.strerror}"]) from error
    # Its reader also says so of a date that does not exist, and of lists in lists without an end.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError([f"{path.name}: {' '.join(str(error).split())}"]) from error
    try:
        return ReleaseMap.model_validate(content)
    except ValidationError as error:
        # Each branch of a union complains; the last one, text, says what to write, unless a number is out of bounds.
        complaints = sorted(error.errors(), key=lambda fault: fault["type"] in ("greater_than", "less_than"))
        faults = {_place(fault["loc"]): _say(fault) for fault in complaints}
        raise ConfigurationError([f"{path.name}: {place}: {what}" for place, what in faults.items()]) from error


def schema() -> dict[str, Any]:
    """The JSON schema of the release map, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **ReleaseMap.model_json_schema()}


def decide(
    release_map: ReleaseMap, workspaces: Collection[Workspace], event: ModelRegistered
) -> tuple[tuple[Start, ...], str]:
    """What an event is to start, and one sentence on why nothing more."""
    if event.workspace not in workspaces:
        return (), f"workspace {event.workspace.id} is not in AML_WORKSPACES"
    verdicts = judge(release_map, event)
    return starts(verdicts, event), why_none(verdicts, event)


def judge(release_map: ReleaseMap, event: ModelRegistered) -> tuple[Verdict, ...]:
    """Say of every route whether it takes this model version, and why."""
    return tuple(_verdict(route, event) for route in release_map.routes)


def starts(verdicts: tuple[Verdict, ...], event: ModelRegistered) -> tuple[Start, ...]:
    """What the routes ask to start; the first of several routes to one target speaks for it."""
    found: dict[str, Start] = {}
    for verdict in verdicts:
        if verdict.takes:
            start = start_of(verdict.route, event)
            found.setdefault(start.target.key, start)
    return tuple(found.values())


def why_none(verdicts: tuple[Verdict, ...], event: ModelRegistered) -> str:
    """One sentence on why no route takes this model version: of the routes that name the model, where any does."""
    naming = [v.reason for v in verdicts if fnmatchcase(event.model, v.route.model)]
    return "; ".join(naming) or f"no route names {event.model}"


def _verdict(route: Route, event: ModelRegistered) -> Verdict:
    against = _mismatch(route, event)
    return Verdict(route, not against, against or f"route {route.title} takes {event.model} {event.version}")


def _mismatch(route: Route, event: ModelRegistered) -> str:
    if not fnmatchcase(event.model, route.model):
        return f"route {route.title} names {route.model}, not {event.model}"
    if not route.enabled:
        return f"route {route.title} is disabled"
    if route.workspace and route.workspace.casefold() != event.workspace.name.casefold():
        return f"workspace {event.workspace.name} is not {route.workspace}"
    if route.version is not None and not _version_matches(str(route.version), event):
        return f"version {event.version} is not {route.version}"
    return _values_mismatch(route, event) or _missing_value(route, event)


def _version_matches(pattern: str, event: ModelRegistered) -> bool:
    comparison = _COMPARISON.fullmatch(pattern)
    if not comparison:
        return fnmatchcase(event.version, pattern)
    return event.number is not None and _COMPARE[comparison[1]](event.number, int(comparison[2]))


def _values_mismatch(route: Route, event: ModelRegistered) -> str:
    for what, wanted in (("tag", route.tags), ("property", route.properties)):
        for key, value in wanted.items():
            found = _value(event, what, key)
            if found is None:
                return f"{what} {key} is missing"
            if found != value:
                return f"{what} {key} is not {value}"
    return ""


def _missing_value(route: Route, event: ModelRegistered) -> str:
    for template in route.starts.templates:
        for match in _PLACEHOLDER.finditer(template):
            if match[1] and _placeholder(event, match[1]) is None:
                return f"route {route.title} needs {{{match[1]}}}, which this version does not have"
    return ""


def _value(event: ModelRegistered, what: str, key: str) -> str | None:
    values = event.tags if what == "tag" else event.properties
    # Azure ML's events have been seen to change the case of keys.
    folded = {name.casefold(): value for name, value in values.items()}
    return values.get(key, folded.get(key.casefold()))


def _placeholder(event: ModelRegistered, name: str) -> str | None:
    what, _, key = name.partition(".")
    if key:
        return _value(event, "tag" if what == "tags" else "property", key)
    return {"model": event.model, "version": event.version, "workspace": event.workspace.name}[name]


def _render(template: str, event: ModelRegistered) -> str:
    return _PLACEHOLDER.sub(lambda m: (_placeholder(event, m[1]) or "") if m[1] else m[0][0], template)


def start_of(route: Route, event: ModelRegistered) -> Start:
    """What a route asks to start, when it takes this model version."""
    return route.starts.start(route.title, event, newest_only=route.order == "newest")


def _render_all(templates: Mapping[str, str], event: ModelRegistered) -> dict[str, str]:
    return {name: _render(template, event) for name, template in templates.items()}


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that stands twice, where YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  yaml's
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# The branches of a union are no part of the file, so their names are left out of a fault's path.
_UNIONS = ("definition", "pipeline", "version")
_BRANCHES = re.compile(r"constrained-.*|function-.*|int|str")


def _place(location: tuple[int | str, ...]) -> str:
    place = ""
    for before, part in zip(("", *location), location, strict=False):
        if isinstance(part, int):
            place += f"[{part}]"
        elif not (before in _UNIONS and _BRANCHES.fullmatch(part)):
            place += f".{part}" if place else part
    return place or "the file"


def _say(fault: Any) -> str:
    kind, message = fault["type"], fault["msg"]
    if kind == "extra_forbidden":
        return "there is no such key"
    if kind == "missing":
        return "is missing"
    if kind == "string_type" and isinstance(fault["input"], (int, float)):
        return f"{fault['input']} must be text: write it in quotes"
    return str(message).removeprefix("Value error, ")
