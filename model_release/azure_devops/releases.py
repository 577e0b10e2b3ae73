"""Release definitions: find one, create a release, and find a release by its marker."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from operator import attrgetter
from typing import Any
from urllib.parse import quote, urlsplit

from model_release.azure_devops.answers import approval, created, status_words
from model_release.azure_devops.model_version import Version, VersionForm, version_form
from model_release.azure_devops.release_request import (
    MODEL_ARTIFACT,
    Definition,
    missing_from,
    read_definition,
    release_request,
)
from model_release.azure_devops.sdk import PostRequest, Sdk
from model_release.azure_devops.target_name import split, the_one
from model_release.domain.events import ModelRegistered
from model_release.domain.targets import Created, ReleasePlan, Stage, Target
from model_release.errors import AzureDevOpsError, RefusedError
from model_release.reason import ReasonKind
from model_release.text import shorten

# `sdk` must be imported first, or the SDK writes to the home folder.
from azure.devops.released.release import ReleaseClient  # isort: skip

Json = dict[str, Any]

_DEFINITIONS = "d8f96f24-8ea7-4cb6-baab-2df8fc515665"
_RELEASES = "a166fde7-27ad-408e-ba75-703c2cc9d500"
_ARTIFACT_VERSIONS = "30fc787e-a9e0-4a07-9fbc-3e903aa051d2"
_PAGE = 100
# The parts of a definition that a request depends on, and that a list leaves out by default.
_EXPANDED = "artifacts,environments,variables"


class ReleaseTargets:
    """The release definitions of one organization."""

    def __init__(self, sdk: Sdk, url: str) -> None:
        self._sdk = sdk
        self._url = url
        self._client = sdk.client(ReleaseClient, release_url(url))
        self._version_form: VersionForm | None = None

    def find(self, target: Target) -> Definition:
        """Read the definition with its artifacts, variables and stages."""
        with self._sdk.reading():
            if isinstance(target.definition, int):
                found = self._client.get_release_definition(target.project, target.definition)
            else:
                folder, name = split(target)
                named = self._client.get_release_definitions(
                    target.project, search_text=name, expand=_EXPANDED, is_exact_name_match=True, path=folder
                )
                found = the_one(target, named, attrgetter("path"))
            return read_definition(self._client._serialize.body(found, "ReleaseDefinition"))  # noqa: SLF001

    def body(self, found: Definition, plan: ReleasePlan, event: ModelRegistered, marker: str) -> dict[str, Any]:
        """Build the ReleaseStartMetadata, with the marker in its description; raises RefusedError with every fault."""
        alias = found.alias_of(event)
        if faults := missing_from(self.with_groups(found, plan), plan, event, has_artifact=alias is not None):
            raise RefusedError.of(faults, ReasonKind.TARGET_MISFIT)
        version = self._version_of(found, plan.target.project, alias, event) if alias else None
        return release_request(found, plan, event, version=version, marker=marker)

    def with_groups(self, definition: Definition, plan: ReleasePlan) -> Definition:
        """Read the definition's variable groups if the plan has an unknown variable, so that its fault names the group.

        Without the permission to read the groups the definition is returned as it is.
        """
        if not (definition.groups and any(name.lower() not in definition.variables for name in plan.variables)):
            return definition
        from azure.devops.released.task_agent import TaskAgentClient  # noqa: PLC0415  only a fault needs it

        client, project = self._sdk.client(TaskAgentClient, self._url), plan.target.project
        of_groups: dict[str, str] = {}
        with suppress(AzureDevOpsError), self._sdk.reading():
            for group in client.get_variable_groups_by_id(project, definition.groups):
                of_groups |= {name.lower(): group.name for name in group.variables or {}}
        return replace(definition, of_groups=of_groups)

    def post_request(self, _: Definition, target: Target, body: dict[str, Any]) -> PostRequest:
        """Build the request that creates the release."""
        route = {"project": target.project}
        return self._sdk.post_request(self._client, _RELEASES, route, self._metadata(body), "ReleaseStartMetadata")

    def preview(self, _: Definition, __: Target, ___: dict[str, Any]) -> None:
        """Do nothing, because releases have no preview; `body` compares with the definition already."""

    def create(self, _: Definition, target: Target, body: dict[str, Any]) -> Created:
        """Create the release."""
        metadata = self._metadata(body)
        with self._sdk.creating():
            release = self._client.create_release(metadata, target.project)
            return created(release, release.name, self._url, self._page(target.project))

    def find_by_marker(
        self, project: str, definition_id: int, marker: str, since: datetime, check_time: Callable[[], None]
    ) -> Created | None:
        """Find the release whose description ends with the marker."""
        releases = self._sdk.pages(
            lambda token: self._client.get_releases(
                project, definition_id=definition_id, min_created_time=since, top=_PAGE, continuation_token=token
            ),
            check_time,
        )
        with self._sdk.reading():
            for release in releases:
                if (release.description or "").endswith(marker):
                    return created(release, release.name, self._url, self._page(project))
        return None

    def stages(self, project: str, release_id: int) -> tuple[Stage, ...]:
        """Read the stages of a release in their order; automatic approvals are left out."""
        with self._sdk.reading():
            found = self._client.get_release(project, release_id).environments or []
            return tuple(_stage(one) for one in sorted(found, key=lambda one: one.rank or 0))

    def probe(self, project: str) -> None:
        """List one definition."""
        with self._sdk.reading():
            self._client.get_release_definitions(project, top=1)

    def definitions(self, project: str) -> Iterator[Json]:
        """List the definitions of a project that this identity may view, with their artifacts, in raw JSON."""

        def page(token: str | None) -> list[Json]:
            more = {"continuationToken": token} if token else {}
            query = {"$expand": "artifacts", "$top": _PAGE, **more}
            return list(self._send_json("GET", project, query_parameters=query)["value"])

        return self._sdk.pages(page)

    def definition(self, project: str, definition_id: int) -> Json:
        """Read a whole definition in raw JSON; the values of secret variables are None."""
        return dict(self._send_json("GET", project, definition_id))

    def update(self, project: str, definition: Json) -> Json:
        """Write a definition in raw JSON; raises RefusedError if its revision is no longer the current one.

        https://learn.microsoft.com/rest/api/azure/devops/release/definitions/update
        """
        return dict(self._send_json("PUT", project, content=definition))

    def _send_json(self, method: str, project: str, definition_id: int | None = None, **content: Json) -> Any:
        """Send raw JSON, because the SDK's models would drop unknown fields when a definition is written back."""
        route = {"project": project} | ({"definitionId": definition_id} if definition_id else {})
        with self._sdk.reading() if method == "GET" else self._sdk.creating():
            response = self._client._send(method, _DEFINITIONS, "7.0", route_values=route, **content)  # noqa: SLF001
            return json.loads(response.content)

    def _page(self, project: str) -> str:
        return f"{self._url}/{quote(project)}/_release?releaseId={{}}&_a=release-summary"

    def _metadata(self, body: dict[str, Any]) -> Any:
        return self._client._deserialize.deserialize_data(body, "ReleaseStartMetadata")  # noqa: SLF001

    def _version_of(self, definition: Definition, project: str, alias: str, event: ModelRegistered) -> Version:
        if self._version_form is None:
            self._version_form = self._learn_version_form(definition, project, alias)
        return self._version_form.version(event)

    def _learn_version_form(self, definition: Definition, project: str, alias: str) -> VersionForm:
        """Learn the form from earlier releases, then from the version list; raises RefusedError."""
        models, unknown = definition.models, f"cannot determine the version ID format of artifact {alias}"
        reason = f"definition {definition.name} has no earlier release that shows it, and no listed version"
        with self._sdk.reading():
            for release in self._client.get_releases(
                project, definition_id=definition.id, expand="artifacts", artifact_type_id=MODEL_ARTIFACT
            ):
                for artifact in release.artifacts or []:
                    version = (artifact.definition_reference or {}).get("version")
                    if version and (form := version_form(models.get(artifact.alias), version.id, version.name)):
                        return form
            for listed in self._listed_versions(definition, project):
                for version in listed.versions or []:
                    if form := version_form(models.get(listed.alias), version.id, version.name):
                        return form
                if listed.alias == alias and listed.error_message:
                    reason = shorten(" ".join(listed.error_message.split()))
        fix = "create one release manually"
        raise RefusedError(f"{unknown}: {reason}", fix, kind=ReasonKind.VERSION_FORMAT_UNKNOWN)

    def _listed_versions(self, definition: Definition, project: str) -> list[Any]:
        # The SDK removed this method after its version 4; the server and the SDK's models still have it.
        response = self._client._send(  # noqa: SLF001
            "GET",
            _ARTIFACT_VERSIONS,
            "7.1-preview.1",
            route_values={"project": project},
            query_parameters={"releaseDefinitionId": definition.id},
        )
        listed = self._client._deserialize("ArtifactVersionQueryResult", response)  # noqa: SLF001
        return list(listed.artifact_versions or [])


def _stage(environment: Any) -> Stage:
    approvals = [
        approval(getattr(one.approved_by or one.approver, "display_name", None), one.status)
        for one in [*(environment.pre_deploy_approvals or []), *(environment.post_deploy_approvals or [])]
        if not one.is_automated
    ]
    return Stage(shorten(environment.name), status_words(environment.status), tuple(approvals))


def release_url(url: str) -> str:
    """Return the address of an organization's releases; an on-premises collection has one address for all."""
    parts = urlsplit(url.rstrip("/"))
    host = parts.netloc
    if host.lower() == "dev.azure.com":
        host = "vsrm.dev.azure.com"
    elif host.lower().endswith(".visualstudio.com"):
        host = host.lower().removesuffix(".visualstudio.com") + ".vsrm.visualstudio.com"
    return parts._replace(netloc=host).geturl()
