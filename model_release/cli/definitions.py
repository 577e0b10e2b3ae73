"""Release definitions in raw JSON: the SDK's models would drop unknown fields when a definition is written back."""

from collections.abc import Iterator
from typing import Any

from model_release.azure_devops.releases import ReleaseTargets
from model_release.domain.targets import Target

Json = dict[str, Any]

_DEFINITIONS = "d8f96f24-8ea7-4cb6-baab-2df8fc515665"
_VERSION = "7.0"
_PAGE = 100


class ReleaseDefinitions:
    """Reads and changes release definitions; every method raises AzureDevOpsError."""

    def __init__(self, releases: ReleaseTargets) -> None:
        self._releases = releases

    def id_of(self, target: Target) -> int:
        """Return the ID of the target's definition."""
        return self._releases.id_of(target)

    def list_all(self, project: str) -> Iterator[Json]:
        """List the definitions of a project that this identity may view, with their artifacts."""
        query: Json = {"$expand": "artifacts", "$top": _PAGE}
        while True:
            page, query["continuationToken"] = self._send("GET", project, query=query)
            yield from page["value"]
            if not query["continuationToken"]:
                return

    def read(self, project: str, definition_id: int) -> Json:
        """Read a whole definition; the values of secret variables are None."""
        return dict(self._send("GET", project, definitionId=definition_id)[0])

    def update(self, project: str, definition: Json) -> Json:
        """Write a definition; raises RefusedError if its revision is no longer the current one.

        https://learn.microsoft.com/rest/api/azure/devops/release/definitions/update
        """
        return dict(self._send("PUT", project, body=definition)[0])

    def _send(
        self, method: str, project: str, *, query: Json | None = None, body: Json | None = None, **route: Any
    ) -> tuple[Json, str | None]:
        given = {key: value for key, value in (query or {}).items() if value}
        return self._releases.send(
            method, _DEFINITIONS, _VERSION, route={"project": project, **route}, query=given, body=body
        )
