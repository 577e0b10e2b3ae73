"""Release definitions in raw JSON: written back whole, they must keep what the SDK's models would drop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from model_release.azure_devops.releases import ReleaseTargets
from model_release.domain.release_map import Target

Json = dict[str, Any]

_DEFINITIONS = "d8f96f24-8ea7-4cb6-baab-2df8fc515665"
_VERSION = "7.0"
_PAGE = 100


class ReleaseDefinitions:
    """Reads and changes release definitions; every method raises Busy, Refused or Unknown."""

    def __init__(self, releases: ReleaseTargets) -> None:
        self._releases = releases

    def id_of(self, target: Target) -> int:
        """The id of the one definition that the target names."""
        return self._releases.id_of(target)

    def listed(self, project: str) -> Iterator[Json]:
        """Each definition of the project that this identity may view, with its artifacts."""
        query: Json = {"$expand": "artifacts", "$top": _PAGE}
        while True:
            page, query["continuationToken"] = self._send("GET", project, query=query)
            yield from page["value"]
            if not query["continuationToken"]:
                return

    def read(self, project: str, definition_id: int) -> Json:
        """The whole definition; the values of secret variables are None."""
        return dict(self._send("GET", project, definitionId=definition_id)[0])

    def update(self, project: str, definition: Json) -> Json:
        """Write the definition as it is now to be; Refused when it has another revision meanwhile.

        https://learn.microsoft.com/rest/api/azure/devops/release/definitions/update
        """
        return dict(self._send("PUT", project, body=definition)[0])

    def _send(
        self, method: str, project: str, *, query: Json | None = None, body: Json | None = None, **route: Any
    ) -> tuple[Json, str | None]:
        asked = {key: value for key, value in (query or {}).items() if value}
        return self._releases.send(
            method, _DEFINITIONS, _VERSION, route={"project": project, **route}, query=asked, body=body
        )
