"""Check one route against its release definition."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from model_release.azure_devops.client import AzureDevOps
from model_release.azure_devops.release_request import Definition, missing_from, read_definition
from model_release.cli.check.findings import Finding, Severity
from model_release.cli.check.permissions import check_permissions, release_definition
from model_release.cli.migrate.triggers import read_triggers
from model_release.domain.events import ModelRegistered, Workspace
from model_release.domain.release_map import ReleaseOptions, Route
from model_release.domain.routing import plan_release
from model_release.domain.targets import ReleasePlan
from model_release.errors import Fault, RefusedError

Json = Mapping[str, Any]
# The place of a version whose workspace nobody has named.
ANY_WORKSPACE = "/subscriptions/-/resourceGroups/-/providers/Microsoft.MachineLearningServices/workspaces/workspace"


@dataclass(frozen=True)
class DefinitionCheck:
    """A route, and the content of its release definition in raw JSON."""

    route: Route
    options: ReleaseOptions
    content: Json
    where: str

    @cached_property
    def definition(self) -> Definition:
        """The definition as the app reads it."""
        return read_definition(self.content)

    @cached_property
    def aliases(self) -> dict[str, str]:
        """The aliases and models of the artifacts that the route matches; none for a registry."""
        if self.route.registry:
            return {}
        return {a: model for a, model in self.definition.models.items() if fnmatchcase(model, self.route.model)}

    def findings(self, azure_devops: AzureDevOps, workspaces: Collection[Workspace]) -> Iterator[Finding]:
        """Yield all findings; raises AzureDevOpsError."""
        yield from self.state()
        yield from self._version(azure_devops)
        yield from self._own_triggers()
        yield from self._stages()
        yield from self._registry(workspaces)
        if self.aliases and len(workspaces) > 1 and not self.route.workspace:
            yield self._finding(
                Severity.WARNING,
                f"artifact {', '.join(self.aliases)} of definition {self.definition.name} belongs to one workspace, "
                f"but the route matches versions of all {len(workspaces)}",
                "set the route's `workspace` to that of the artifact's service connection",
            )
        yield from check_permissions(release_definition(self.content), azure_devops, self.where)
        yield from self._version_ids(azure_devops)

    def _registry(self, sources: Collection[Workspace]) -> Iterator[Finding]:
        """Warn of an artifact of a model that a registry's version may have."""
        names = [source.name for source in sources if source.is_registry and not self.route.workspace]
        named = ", ".join([self.route.registry] if self.route.registry else sorted(names))
        fits = [a for a, model in self.definition.models.items() if fnmatchcase(model, self.route.model)]
        if named and fits:
            yield self._finding(
                Severity.WARNING,
                f"artifact {', '.join(fits)} of definition {self.definition.name} cannot take a version of registry "
                f"{named}, and has its default version then",
                "let the stages use ModelVersion, or a variable with {asset_id}; then remove the artifact",
            )

    def state(self) -> Iterator[Finding]:
        """Check that releases can be created at all."""
        name = self.definition.name
        if self.content.get("isDisabled"):
            yield self._finding(Severity.FAULT, f"definition {name} is disabled", "enable it, or disable the route")
        if self.content.get("isDeleted"):
            yield self._finding(Severity.FAULT, f"definition {name} is deleted", "restore it, or correct the route")

    def _version(self, azure_devops: AzureDevOps) -> Iterator[Finding]:
        """Check that each model's version reaches the release."""
        missing: dict[str, tuple[Fault, ...]] = {}
        # For a glob, the models of the definition, and the glob itself in the place of all others.
        for model in dict.fromkeys([*self.aliases.values(), self.route.model]):
            event = sample_event(self.route, model)
            try:
                has_artifact = self.definition.alias_of(event) is not None
            except RefusedError as error:
                yield Finding.refused(error, self.options.target, self.where)
                continue
            plan = self._plan(event)
            definition = azure_devops.releases.with_groups(self.definition, plan)
            missing[model] = missing_from(definition, plan, event, has_artifact=has_artifact)
        if not missing:
            return
        every = list(dict.fromkeys(fault for faults in missing.values() for fault in faults))
        always = [fault for fault in every if all(fault in faults for faults in missing.values())]
        accepted = [model for model, faults in missing.items() if len(faults) == len(always)]
        for fault in always if accepted else every:
            yield self._finding(Severity.FAULT, fault.problem, fault.fix)
        if not accepted:
            return
        name = self.definition.name
        if len(accepted) < len(missing):
            selected = "set the default version of each artifact, or narrow the route"
            yield self._finding(
                Severity.WARNING,
                f"definition {name} accepts versions of {', '.join(accepted)} and refuses others of {self.route.model}",
                selected
                if self.definition.selected
                else "add a variable ModelVersion that is settable at release time, or narrow the route",
            )
        if not always:
            yield self._finding(Severity.OK, f"definition {name} receives the version in {self._carriers(accepted)}")

    def _carriers(self, models: Sequence[str]) -> str:
        aliases = [alias for alias, model in self.aliases.items() if model in models]
        place = "modelregistry" if self.route.registry else "modelworkspace"
        variables = {
            variable.name
            for variable in self.definition.variables.values()
            if variable.settable and variable.name.lower() in ("modelname", "modelversion", place)
        } | set(self.options.variables)
        carriers = [f"artifact {', '.join(aliases)}"] * bool(aliases)
        carriers += [f"variables {', '.join(sorted(variables))}"] * bool(variables)
        return " and ".join(carriers)

    def _own_triggers(self) -> Iterator[Finding]:
        if self.route.registry:
            return
        for trigger in read_triggers(self.options.project, dict(self.content)):
            if trigger.on and fnmatchcase(trigger.model, self.route.model):
                yield self._finding(
                    Severity.FAULT,
                    f"definition {self.definition.name} has its own trigger on artifact {trigger.alias}, "
                    f"so each version of {trigger.model} is released twice",
                    "switch off that trigger, for example with `migrate --switch`",
                )

    def _stages(self) -> Iterator[Finding]:
        name = self.definition.name
        automatic = [stage["name"] for stage in self.content.get("environments") or [] if _starts_automatically(stage)]
        manual = {stage.casefold() for stage in self.options.manual_stages}
        if not automatic:
            problem = f"no stage of definition {name} starts automatically"
            fix = "let the first stage start after the release is created"
        elif all(stage.casefold() in manual for stage in automatic):
            problem = f"manual_stages names every stage of definition {name} that starts automatically"
            fix = "remove the first stage from manual_stages"
        else:
            return
        message = f"{problem}, so each release waits for a person"
        yield self._finding(Severity.WARNING, message, f"unless this is intended, {fix}")

    def _version_ids(self, azure_devops: AzureDevOps) -> Iterator[Finding]:
        """Check that the version ID format of the artifacts can be determined."""
        models = list(self.definition.models.values())
        for model in self.aliases.values():
            event = sample_event(self.route, model)
            plan = self._plan(event)
            if models.count(model) == 1 and not missing_from(self.definition, plan, event, has_artifact=True):
                try:
                    azure_devops.request(plan, event, "")
                except RefusedError as error:
                    yield Finding.refused(error, self.options.target, self.where)

    def _plan(self, event: ModelRegistered) -> ReleasePlan:
        return plan_release(self.options, self.route.title, event, newest_only=self.route.order == "newest")

    def _finding(self, severity: Severity, message: str, fix: str = "") -> Finding:
        return Finding(severity, message, self.where, fix)


def sample_event(route: Route, model: str) -> ModelRegistered:
    """Return an event that the route matches, apart from its version."""
    registry = route.registry and Workspace(f"/registries/{route.registry}", route.registry)
    workspace = registry or Workspace.parse(ANY_WORKSPACE)
    if route.workspace:
        workspace = replace(workspace, name=route.workspace)
    return ModelRegistered("", workspace, model, "1", dict(route.tags), dict(route.properties), "")


def _starts_automatically(stage: Json) -> bool:
    """Whether a stage starts after the release is created, or on a schedule.

    https://learn.microsoft.com/azure/devops/pipelines/release/triggers#stage-triggers
    """
    conditions = stage.get("conditions") or []
    return bool(stage.get("schedules")) or any(
        condition.get("conditionType") == "event" and condition.get("name") == "ReleaseStarted"
        for condition in conditions
    )
