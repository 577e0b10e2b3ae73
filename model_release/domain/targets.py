"""Targets, what is planned for them, and what was created."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

TargetKind = Literal["release", "pipeline"]


class Target(NamedTuple):
    """A release definition or a pipeline of a project, as the release map names it."""

    project: str
    definition: int | str
    kind: TargetKind = "release"

    def __str__(self) -> str:
        """The target as people read it."""
        return f"{self.project}/{self.definition}" + (" (pipeline)" if self.kind == "pipeline" else "")

    @property
    def key(self) -> str:
        """Equal for equal targets only; Azure DevOps ignores the case of both names."""
        return json.dumps([self.kind, self.project, self.definition], ensure_ascii=False).casefold()


class TargetId(NamedTuple):
    """A target as Azure DevOps identifies it; `project` is the project's ID, or its name if the ID is unknown."""

    kind: TargetKind
    project: str
    definition: int

    @property
    def key(self) -> str:
        """Equal for equal IDs only."""
        return json.dumps([self.kind, self.project.casefold(), self.definition], ensure_ascii=False)


@dataclass(frozen=True)
class Plan:
    """What is to be created for a match: the target, the title of the route, and the values of the target's kind."""

    target: Target
    route: str
    newest_only: bool


@dataclass(frozen=True)
class ReleasePlan(Plan):
    """A release to create."""

    variables: Mapping[str, str]
    passes_version: bool
    manual_stages: tuple[str, ...]
    description: str


@dataclass(frozen=True)
class RunPlan(Plan):
    """A run to create; an empty branch is the pipeline's default branch."""

    branch: str
    parameters: Mapping[str, str]
    stages_to_skip: tuple[str, ...]


class Created(NamedTuple):
    """A release, or a run of a pipeline, that exists in Azure DevOps."""

    id: int
    name: str
    url: str


NOTHING_CREATED = Created(0, "", "")


class Approval(NamedTuple):
    """The answer of a person or group who is asked to approve a stage, in the words of Azure DevOps."""

    by: str
    status: str


class Stage(NamedTuple):
    """A stage of a release or run as it is now, in the words of Azure DevOps."""

    name: str
    status: str
    approvals: tuple[Approval, ...]
