"""Targets: how they were named when they were first resolved.

| partition | row | for |
|---|---|---|
| `target` | digest of kind, project ID and definition ID | the digest of the first name |

Claims and high-water marks are stored under the first name. So a target remains the same one if the release map names
it by its ID instead of its name, or with its folder.
"""

from dataclasses import dataclass

from azure.core.exceptions import ResourceExistsError

from model_release.domain.claims import digest, target_digest
from model_release.domain.targets import Target, TargetId
from model_release.store.table import Table

_TARGET = "target"


@dataclass(frozen=True)
class Resolved:
    """The digest of the first name of a target, and the ID of its definition or pipeline; 0 before it is resolved."""

    target_digest: str
    definition_id: int = 0


class Targets:
    """The names of all targets; every method raises azure-core's errors if storage fails."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._first: dict[TargetId, str] = {}
        self._resolved: dict[str, Resolved] = {}

    def last_resolved(self, target: Target) -> Resolved:
        """Return how this process resolved the target last; otherwise its own name, without an ID."""
        return self._resolved.get(target.key) or Resolved(target_digest(target))

    def resolve(self, target: Target, target_id: TargetId) -> Resolved:
        """Return the first name for this ID, which is this one if the ID is new."""
        first = self._first.get(target_id) or self._insert(target, target_id)
        self._first[target_id] = first
        self._resolved[target.key] = Resolved(first, target_id.definition)
        return self._resolved[target.key]

    def _insert(self, target: Target, target_id: TargetId) -> str:
        row, name = digest(target_id.key), target_digest(target)
        try:
            self._table.insert(_TARGET, row, target=name, name=str(target))
        except ResourceExistsError:
            return str(self._table.get(_TARGET, row)["target"])
        return name
