"""The release map: the team's file, its JSON schema, and every fault of it with its path."""

import re
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

from model_release.domain.placeholders import check_template, passes_version
from model_release.domain.targets import Target
from model_release.errors import ConfigurationError, Fault
from model_release.text import shorten

COMPARISON = re.compile(r"(>=|<=|>|<)\s*(.*)")
# A run is found by the value of this parameter, so the pipeline's YAML must declare it.
MARKER_PARAMETER = "modelReleaseMarker"


def _check_parameters(parameters: dict[str, str]) -> dict[str, str]:
    if MARKER_PARAMETER.casefold() in {name.casefold() for name in parameters}:
        raise ValueError(f"{MARKER_PARAMETER} is reserved; remove it")
    if not passes_version(parameters):
        raise ValueError("no parameter passes the version; add one with the value '{version}'")
    return parameters


def _check_branch(branch: str) -> str:
    if not branch.startswith("refs/"):
        raise ValueError(f"{branch!r} is not a full branch name; write refs/heads/{branch}")
    return branch


def _check_version(pattern: str) -> str:
    comparison = COMPARISON.fullmatch(pattern)
    if comparison and not comparison[2].isdecimal():
        raise ValueError(f"{pattern!r} is not a comparison with a whole number, such as '>=3'")
    return pattern


Text = Annotated[str, StringConstraints(min_length=1)]
# IDs in Azure DevOps have 32 bits.
Id = Annotated[int, Field(gt=0, lt=2**31)]
Template = Annotated[str, AfterValidator(check_template)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ReleaseOptions(_Strict):
    """The release definition of a route, and what is passed to a release."""

    project: Text = Field(description="The Azure DevOps project.")
    definition: Id | Text = Field(
        description="The release definition: its exact name, \\folder\\name, or its numeric ID.",
    )
    variables: dict[Text, Template] = Field(
        default={},
        description="Variables of the definition to set; they must be settable at release time.",
        examples=[{"Stage": "{tags.stage}"}],
    )
    manual_stages: list[Text] = Field(default=[], description="Stages that a person starts.")
    description: Template = Field(
        default="{model} {version}", description="The release's description; a marker is appended."
    )

    @property
    def target(self) -> Target:
        """The release definition."""
        return Target(self.project, self.definition)

    @property
    def templates(self) -> tuple[str, ...]:
        """All texts that may contain placeholders."""
        return (*self.variables.values(), self.description)


class PipelineOptions(_Strict):
    """The YAML pipeline of a route, and what is passed to a run."""

    project: Text = Field(description="The Azure DevOps project.")
    pipeline: Id | Text = Field(description="The pipeline: its exact name, \\folder\\name, or its numeric ID.")
    branch: Annotated[Text, AfterValidator(_check_branch)] | None = Field(
        default=None, description="The branch to run, such as refs/heads/main; default: the pipeline's default branch."
    )
    parameters: Annotated[dict[Text, Template], AfterValidator(_check_parameters)] = Field(
        default={"modelName": "{model}", "modelVersion": "{version}"},
        description="Parameters that the pipeline's YAML declares; one of them passes the version.",
    )
    stages_to_skip: list[Text] = Field(default=[], description="Stages that are not run.")

    @property
    def target(self) -> Target:
        """The pipeline."""
        return Target(self.project, self.pipeline, "pipeline")

    @property
    def templates(self) -> tuple[str, ...]:
        """All texts that may contain placeholders."""
        return tuple(self.parameters.values())


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
    release: ReleaseOptions | None = None
    pipeline: PipelineOptions | None = Field(default=None, validate_default=True)

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["release"]}, {"required": ["pipeline"]}]})

    @field_validator("pipeline", mode="before")
    @classmethod
    def _check_one_target(cls, pipeline: Any, read: ValidationInfo) -> Any:
        # A release with a fault is missing in `data`, and its fault is reported already.
        release = read.data.get("release", pipeline is None)
        if (pipeline is None) == (not release):
            raise ValueError("a route needs exactly one of `release` and `pipeline`")
        return pipeline

    @property
    def options(self) -> ReleaseOptions | PipelineOptions:
        """The options of the route's one target."""
        found = self.release or self.pipeline
        assert found  # noqa: S101  checked when it was read
        return found

    @property
    def target(self) -> Target:
        """The target that the route leads to."""
        return self.options.target

    @property
    def title(self) -> str:
        """The route's name, or the model that it names."""
        return self.name or self.model


class ReleaseMap(_Strict):
    """The team's file: which model versions start which release definition or pipeline."""

    version: Literal[1] = Field(description="The version of this file's format.")
    routes: Annotated[list[Route], Field(min_length=1)]


def load(path: Path) -> ReleaseMap:
    """Read the file; raises ConfigurationError with every fault and its path, such as `routes[2].release.project`."""
    try:
        content = yaml.load(path.read_text("utf-8"), _UniqueKeys)  # noqa: S506  a SafeLoader that is stricter
    except OSError as error:
        raise ConfigurationError([Fault(f"the file cannot be read: {error.strerror}", where=str(path))]) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError([Fault("the file is not text", "save it as UTF-8", where=path.name)]) from error
    # ValueError: a date that does not exist. RecursionError: lists nested without an end.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError([Fault(" ".join(str(error).split()), where=path.name)]) from error
    try:
        return ReleaseMap.model_validate(content)
    except ValidationError as error:
        # Each branch of a union complains; the last one, text, says what to write, unless a number is out of bounds.
        complaints = sorted(error.errors(), key=lambda fault: fault["type"] in ("greater_than", "less_than"))
        problems = {_path(fault["loc"]): _problem(fault) for fault in complaints}
        raise ConfigurationError([Fault(f"{at}: {what}", where=path.name) for at, what in problems.items()]) from error


def schema() -> dict[str, Any]:
    """Return the JSON schema of the release map, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **ReleaseMap.model_json_schema()}


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a duplicate key; YAML would silently use the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  yaml's
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"duplicate key {key.value!r}", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# pydantic adds the branches of a union to the path of a fault.
_UNIONS = ("definition", "pipeline", "version")
_BRANCHES = re.compile(r"constrained-.*|function-.*|int|str")
_EXPECTED = "Input should be "


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for before, part in zip(("", *location), location, strict=False):
        if isinstance(part, int):
            path += f"[{part}]"
        elif not (before in _UNIONS and _BRANCHES.fullmatch(part)):
            path += f".{part}" if path else part
    return path or "the file"


def _problem(fault: Any) -> str:
    kind, message = fault["type"], fault["msg"]
    if kind == "extra_forbidden":
        return "unknown key"
    if kind == "missing":
        return "missing"
    if kind == "string_type" and isinstance(fault["input"], (int, float)):
        return f"{fault['input']} must be text; write it in quotes"
    if str(message).startswith(_EXPECTED):
        return f"found {shorten(fault['input'])!r}, expected {message.removeprefix(_EXPECTED)}"
    return str(message).removeprefix("Value error, ")
