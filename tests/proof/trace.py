"""What happens in a schedule, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tests.proof.services import BEGIN

if TYPE_CHECKING:
    from tests.proof.simulation import Simulation
    from tests.proof.workers import Worker

_LEFT_OUT = ("PartitionKey", "RowKey", "event0", "worker", "attempts", "trace_parent", "workspace", "model")


class Trace:
    """The lines of a schedule; the changes of the table follow the step that made them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._last: Worker | None = None
        self._rows: dict[tuple[str, str], Mapping[str, Any]] = {}

    def step(self, simulation: Simulation, worker: Worker) -> None:
        """Add the changes since the last step, and where another worker goes on."""
        self._changes(simulation)
        if worker is not self._last:
            self._last = worker
            self.note(simulation, f"{worker.name} on process {worker.process.number} goes on {worker.at}")

    def note(self, simulation: Simulation, text: str) -> None:
        self._changes(simulation)
        self.lines.append(f"{simulation.now / 1000:10.3f} s  {text}")

    def _changes(self, simulation: Simulation) -> None:
        rows = {key: dict(row) for key, row in simulation.table.rows.items()}
        for key in sorted(rows.keys() | self._rows.keys()):
            before, after = self._rows.get(key, {}), rows.get(key)
            if after is None:
                self.lines.append(f"{'':14}- {_name(*key)}")
            elif after != before:
                changed = {
                    name: value
                    for name, value in after.items()
                    if name not in _LEFT_OUT and value not in ("", before.get(name))
                }
                values = ", ".join(f"{name} {_text(value)}" for name, value in changed.items())
                self.lines.append(f"{'':14}{'~' if before else '+'} {_name(*key)}: {values}")
        self._rows = rows


def _name(partition: str, row: str) -> str:
    kind = partition.split(maxsplit=1)[0]
    if kind == "claim":
        version, *rest = row.split()
        return f"claim {version} {' '.join(one[:4] for one in rest)}" if rest else f"mark {version[:4]}"
    return f"{kind} {row[:24]}"


def _text(value: Any) -> str:
    return f"{(value - BEGIN).total_seconds():.3f}" if isinstance(value, datetime) else str(value)
