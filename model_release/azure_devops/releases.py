"""Release definitions: find one, create a release, look for one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from operator import attrgetter
from typing import Any
from urllib.parse import urlsplit

from model_release.azure_devops.release_request import MODEL_ARTIFACT, Definition, read_definition, release_request
from model_release.azure_devops.sdk import PostRequest, Sdk, web_page
from model_release.azure_devops.target_name import split, the_one
from model_release.domain.events import ModelRegistered
from model_release.domain.release_map import ReleaseStart, StartedRelease, Target
from model_release.errors import Refused

from azure.devops.released.release import ReleaseClient  # isort: skip  sooner, it would write below the home folder

_RELEASES = "a166fde7-27ad-408e-ba75-703c2cc9d500"
_ARTIFACT_VERSIONS = "30fc787e-a9e0-4a07-9fbc-3e903aa051d2"
_PAGE = 100
# What a list leaves out unless it is asked for, and what says how to hand a version over.
_EXPANDED = "artifacts,environments,variables"


class ReleaseTargets:
    """The release definitions of one organization."""

    def __init__(self, sdk: Sdk, url: str) -> None:
        self._sdk = sdk
        self._client = sdk.client(ReleaseClient, release_url(url))
        self._version_id: str | None = None

    def find(self, target: Target) -> Definition:
        """The definition with its artifacts and variables."""
        with self._sdk.asking():
            if isinstance(target.definition, int):
                found = self._client.get_release_definition(target.project, target.definition)
            else:
                found = self._named(target)
            return read_definition(self._client._serialize.body(found, "ReleaseDefinition"))  # noqa: SLF001

    def request(self, found: Definition, start: ReleaseStart, event: ModelRegistered, marker: str) -> dict[str, Any]:
        """The ReleaseStartMetadata, with the marker in its description."""
        version_id = None
        if alias := found.alias_of(event.model):
            version_id = self._version_id_of(found, start.target.project, alias, event)
        return release_request(found, start, event, version_id=version_id, marker=marker)

    def post(self, _: Definition, target: Target, request: dict[str, Any]) -> PostRequest:
        """The request that creates the release."""
        route = {"project": target.project}
        return self._sdk.post(self._client, _RELEASES, route, self._metadata(request), "ReleaseStartMetadata")

    def rehearse(self, _: Definition, __: Target, ___: dict[str, Any]) -> None:
        """Releases have no dry run; `request` compares with the definition already."""

    def create(self, _: Definition, target: Target, request: dict[str, Any]) -> StartedRelease:
        """Create the release."""
        metadata = self._metadata(request)
        with self._sdk.starting():
            return _started(self._client.create_release(metadata, target.project))

    def look(self, found: Definition, target: Target, marker: str, since: datetime) -> StartedRelease | None:
        """Find the release whose description carries the marker."""
        releases = self._sdk.pages(
            lambda token: self._client.get_releases(
                target.project,
                definition_id=found.id,
                min_created_time=since,
                top=_PAGE,
                continuation_token=token,
            )
        )
        with self._sdk.asking():
            for release in releases:
                if marker in (release.description or ""):
                    return _started(release)
        return None

    def reach(self, project: str) -> None:
        """Ask for one definition."""
        with self._sdk.asking():
            self._client.get_release_definitions(project, top=1)

    def send(
        self,
        method: str,
        location: str,
        version: str,
        *,
        route: dict[str, Any],
        query: dict[str, Any],
        body: Any = None,
    ) -> tuple[Any, str | None]:
        """Send one request in raw JSON, for what the SDK's models would drop; the answer, and where a list goes on."""
        asking = self._sdk.asking if method == "GET" else self._sdk.starting
        with asking():
            response = self._client._send(  # noqa: SLF001
                method, location, version, route_values=route, query_parameters=query, content=body
            )
            return json.loads(response.content), self._sdk.continuation

    def id_of(self, target: Target) -> int:
        """The id of the one definition that the target names."""
        if isinstance(target.definition, int):
            return target.definition
        with self._sdk.asking():
            return int(self._named(target).id)

    def _named(self, target: Target) -> Any:
        folder, name = split(target)
        found = self._client.get_release_definitions(
            target.project, search_text=name, expand=_EXPANDED, is_exact_name_match=True, path=folder
        )
        return the_one(target, "release definition", found, attrgetter("path"))

    def _metadata(self, request: dict[str, Any]) -> Any:
        return self._client._deserialize.deserialize_data(request, "ReleaseStartMetadata")  # noqa: SLF001

    def _version_id_of(self, definition: Definition, project: str, alias: str, event: ModelRegistered) -> str:
        if self._version_id is None:
            self._version_id = self._learn_version_id(definition, project)
        if self._version_id is None:
            msg = (
                f"Azure DevOps does not tell how it names the versions of artifact {alias}: definition "
                f"{definition.name} has no earlier release, and its version list is empty; create one release by hand"
            )
            raise Refused(msg)
        return self._version_id.format(model=event.model, version=event.version)

    def _learn_version_id(self, definition: Definition, project: str) -> str | None:
        """Whether an id is `51` or `model:51`, as a template; learned of the definition's models alone."""
        with self._sdk.asking():
            for alias, version in self._known_versions(definition, project):
                if model := definition.models.get(alias):
                    forms = {version.name: "{version}", f"{model}:{version.name}": "{model}:{version}"}
                    if form := version.id and forms.get(version.id):
                        return form
        return None

    def _known_versions(self, definition: Definition, project: str) -> Iterator[tuple[str, Any]]:
        """The alias and version of each artifact of earlier releases, and then of the version list."""
        for release in self._client.get_releases(
            project, definition_id=definition.id, expand="artifacts", artifact_type_id=MODEL_ARTIFACT
        ):
            for artifact in release.artifacts or []:
                if version := (artifact.definition_reference or {}).get("version"):
                    yield artifact.alias, version
        # The SDK lost this call after its version 4; server and models still have it.
        response = self._client._send(  # noqa: SLF001
            "GET",
            _ARTIFACT_VERSIONS,
            "7.1-preview.1",
            route_values={"project": project},
            query_parameters={"releaseDefinitionId": definition.id},
        )
        listed = self._client._deserialize("ArtifactVersionQueryResult", response)  # noqa: SLF001
        for artifact in listed.artifact_versions or []:
            yield from ((artifact.alias, version) for version in artifact.versions or [])


def release_url(url: str) -> str:
    """Where an organization keeps its releases; an on-premises collection keeps them itself."""
    parts = urlsplit(url.rstrip("/"))
    host = parts.netloc
    if host.lower() == "dev.azure.com":
        host = "vsrm.dev.azure.com"
    elif host.lower().endswith(".visualstudio.com"):
        host = host.lower().removesuffix(".visualstudio.com") + ".vsrm.visualstudio.com"
    return parts._replace(netloc=host).geturl()


def _started(release: Any) -> StartedRelease:
    if release is None or not release.id:
        msg = "the answer holds no release"
        raise ValueError(msg)
    return StartedRelease(release.id, release.name or "", web_page(release))
