"""Targets: what a name in the release map was resolved to, and the one name that claims are stored under.

| partition | row | for |
|---|---|---|
| `target` | `name DIGEST` | the digest that claims on this name are stored under, and the definition's ID |
| `target` | `id DIGEST` | the digest that claims on this ID are stored under |
| `target` | `taken DIGEST` | the ID whose claims are stored under this digest |

Claims and high-water marks are stored under the first name of an ID. So a target remains the same one if the release
map names it by its ID instead of its name, or with its folder. If the name was the first one of another ID before,
claims on the new ID are stored under a digest of that ID.

Everyone who may edit definitions can give the name of one to another one. So a name keeps its ID: if Azure DevOps
resolves it to another one, this is refused until a person's start confirms it.
"""

from contextlib import suppress
from typing import Any, NamedTuple

from azure.core.exceptions import ResourceExistsError

from model_release.domain.claims import digest, target_digest
from model_release.domain.targets import Target, TargetId
from model_release.errors import RefusedError
from model_release.reason import ReasonKind
from model_release.store.table import Table

_TARGET = "target"


class Resolved(NamedTuple):
    """The digest that claims on a target are stored under, and the ID of its definition; 0 before it is resolved."""

    target_digest: str
    definition_id: int = 0


class Targets:
    """The names of all targets; every method raises azure-core's errors if storage fails."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._by_id: dict[TargetId, str] = {}
        self._by_name: dict[str, Resolved] = {}

    def last_resolved(self, target: Target) -> Resolved:
        """Return how the name was resolved last; a new name is stored under itself."""
        name = target_digest(target)
        if name not in self._by_name:
            row = self._table.find(_TARGET, f"name {name}")
            self._by_name[name] = Resolved(row["target"], row["definition_id"]) if row else Resolved(name)
        return self._by_name[name]

    def resolve(self, target: Target, target_id: TargetId, *, confirmed: bool = False) -> Resolved:
        """Record and return what the name is resolved to now.

        Raises RefusedError if the name was resolved to another ID before, unless a person has confirmed the new one.
        """
        name = target_digest(target)
        if target_id not in self._by_id:
            self._by_id[target_id] = self._stored_under(name, target_id)
        resolved = Resolved(self._by_id[target_id], target_id.definition)
        if resolved != self.last_resolved(target) and not self._is_first(target, resolved):
            # Another process may have resolved the name meanwhile.
            self._by_name.pop(name, None)
            last = self.last_resolved(target)
            if resolved != last:
                if not confirmed:
                    raise _replaced(target, last, target_id)
                self._table.put(_TARGET, f"name {name}", **_values(target, resolved))
        self._by_name[name] = resolved
        return resolved

    def _is_first(self, target: Target, resolved: Resolved) -> bool:
        """Record a name that nobody has resolved before; return whether this was so."""
        if self.last_resolved(target).definition_id:
            return False
        with suppress(ResourceExistsError):
            self._table.insert(_TARGET, f"name {target_digest(target)}", **_values(target, resolved))
            return True
        return False

    def _stored_under(self, name: str, target_id: TargetId) -> str:
        own = digest(target_id.key)
        if row := self._table.find(_TARGET, f"id {own}"):
            return str(row["target"])
        first = name if self._insert(f"taken {name}", own) == own else own
        return self._insert(f"id {own}", first)

    def _insert(self, row: str, target: str) -> str:
        """Insert a row, and return its target: this one, or that of the row that exists."""
        try:
            self._table.insert(_TARGET, row, target=target)
        except ResourceExistsError:
            return str(self._table.get(_TARGET, row)["target"])
        return target


def _values(target: Target, resolved: Resolved) -> dict[str, Any]:
    return {"target": resolved.target_digest, "definition_id": resolved.definition_id, "name": str(target)}


def _replaced(target: Target, last: Resolved, target_id: TargetId) -> RefusedError:
    was, found = f"ID {last.definition_id}", f"ID {target_id.definition}"
    if last.definition_id == target_id.definition:
        was, found = f"{was} of another project", f"{found} of project {target_id.project}"
    return RefusedError(
        f"the name {target} means {found} now, and meant {was} at the last start",
        "if this is intended, start the version manually to confirm it; otherwise write the ID in the release map",
        kind=ReasonKind.TARGET_REPLACED,
    )
