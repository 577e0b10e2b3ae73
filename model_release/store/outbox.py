"""The outbox: outcomes that wait to be published.

| partition | row | for |
|---|---|---|
| `outbox` | the claim's key, the state, and for a refusal a digest of its reason | the claim's partition and row |

A row only points to its claim and is written before the claim. The claim is authoritative: if it does not record the
outcome, the attempt was cut off or overtaken, and the row is deleted once the claim is final.
"""

from collections.abc import Iterator

from azure.data.tables import TableEntity

from model_release.domain.claims import Attempt, Claim, State, digest
from model_release.store.table import Table

_OUTBOX = "outbox"
PUBLISHED = (State.STARTED, State.REFUSED, State.ABANDONED)


class Outbox:
    """The rows; every method raises azure-core's errors if storage fails."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def put(self, before: Claim, attempt: Attempt) -> None:
        """Write the row of an attempt, unless the claim already records the same outcome."""
        key = outcome_key(before, attempt)
        if attempt.state in PUBLISHED and key not in outcomes(before):
            self._table.put(_OUTBOX, key, partition=before.partition, row=before.row)

    def rows(self) -> Iterator[TableEntity]:
        """Read all rows, in no order."""
        return self._table.query("PartitionKey eq @outbox", outbox=_OUTBOX)

    def delete(self, key: str) -> None:
        """Delete the row of an outcome that was published or never recorded."""
        self._table.delete(_OUTBOX, key)


def outcomes(claim: Claim) -> dict[str, Attempt]:
    """Return the outcomes that the claim records, by their keys; of equal ones the first."""
    return {outcome_key(claim, one): one for one in reversed(claim.attempts) if one.state in PUBLISHED}


def outcome_key(claim: Claim, attempt: Attempt) -> str:
    """Return the name of an outcome, which is the ID of its event."""
    key = f"{claim.key}-{attempt.state.value}"
    return f"{key}-{digest(attempt.reason)}" if attempt.state is State.REFUSED else key
