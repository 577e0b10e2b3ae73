"""The release map: the team's file, its JSON schema, and every fault of it with its path."""

import re
from fnmatch import fnmatchcase
from pathlib import Path
from string import ascii_letters, digits
from typing import Annotated, Any, Literal

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

from model_release.domain import map_file
from model_release.domain.placeholders import check_template, faults_of_allow, lower, passes_version
from model_release.domain.targets import Target
from model_release.errors import ConfigurationError, Fault

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
    if comparison:
        can_match = (
            comparison[2].isascii() and comparison[2].isdecimal() and (comparison[1] != "<" or int(comparison[2]) > 0)
        )
    else:
        can_match = _can_match(pattern)
    if not can_match:
        known = "a version, a glob, or a comparison with a whole number: '>=3', '<=3', '>3' or '<3'"
        raise ValueError(f"{pattern!r} can never match a version; write {known}")
    return pattern


def _check_model(glob: str) -> str:
    if not _can_match(glob):
        names = "letters, digits, '-', '_' and '.', beginning with a letter or digit"
        raise ValueError(f"{glob!r} can never match a model; names have {names}")
    return glob


def _can_match(glob: str) -> bool:
    """Whether a name or version that Azure ML allows matches the glob."""
    first, *others = _GLOB_PARTS.findall(glob)
    return all(any(fnmatchcase(c, part) for c in f"{_BEGINNINGS}-_.") for part in others) and any(
        fnmatchcase(c, first) for c in _BEGINNINGS
    )


_BEGINNINGS = ascii_letters + digits
_GLOB_PARTS = re.compile(r"\[!?\]?[^]]*\]|.", re.DOTALL)

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
    model: Annotated[Text, AfterValidator(_check_model)] = Field(description="The model's name, or a glob (* ? [abc]).")
    version: Annotated[int, Field(ge=0)] | Annotated[Text, AfterValidator(_check_version)] | None = Field(
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

    allow: dict[Text, Text] = Field(
        default={},
        description="For a placeholder, such as tags.stage, the regular expression that its whole value must match.",
        examples=[{"tags.stage": "dev|test|prod"}],
    )

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["release"]}, {"required": ["pipeline"]}]})

    @field_validator("pipeline", mode="before")
    @classmethod
    def _check_one_target(cls, pipeline: Any, read: ValidationInfo) -> Any:
        # A release with a fault is missing in `data`, and its fault is reported already.
        release = read.data.get("release", pipeline is None)
        if (pipeline is None) == (not release):
            raise ValueError("a route needs exactly one of `release` and `pipeline`")
        return pipeline

    @field_validator("allow")
    @classmethod
    def _check_allow(cls, allow: dict[str, str], read: ValidationInfo) -> dict[str, str]:
        options = read.data.get("release") or read.data.get("pipeline")
        if faults := faults_of_allow(allow, options.templates if options else ()):
            raise ValueError("; ".join(faults))
        return allow

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
        file = map_file.read(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError([Fault(f"the file cannot be read: {error.strerror}", where=str(path))]) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError([Fault("the file is not text in UTF-8", "save it in UTF-8", str(path))]) from error
    except map_file.MapFileError as error:
        raise ConfigurationError([Fault(str(error), where=path.name)]) from error
    try:
        read, problems = ReleaseMap.model_validate(file.content), file.misread()
    except ValidationError as error:
        problems = file.misread() | file.problems(error)
    if problems:
        raise ConfigurationError([Fault(f"{at}: {what}", where=path.name) for at, what in problems.items()])
    return read


def schema() -> dict[str, Any]:
    """Return the JSON schema of the release map, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **ReleaseMap.model_json_schema()}
