"""The calls that reach a process: events, timers and a person's requests."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from model_release.domain.claims import Claim
from model_release.domain.events import parse
from model_release.domain.history import ByHand
from model_release.errors import RefusedError, TemporaryError
from model_release.flow.steer import pin_what_is_out, read_lines, set_mark_back, unpin
from tests.proof.services import MODEL, WORKSPACE, Process, body, caught_up

if TYPE_CHECKING:
    from tests.proof.simulation import Simulation


class Calls:
    """Adds workers to a simulation, and notes what they acknowledge."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self.delivered: set[int] = set()
        self.acknowledged: set[int] = set()
        self.restarted: dict[tuple[int, str], None] = {}

    def deliver(self, version: int, process: Process | None = None) -> None:
        """Deliver an event; Event Grid delivers it again until it is acknowledged."""
        self.delivered.add(version)
        self.acknowledged.discard(version)

        def deliver(process: Process) -> None:
            process.app.registered(body(version))
            self.acknowledged.add(version)
            self._promise(version)

        self._spawn(f"delivery of {version}", deliver, process)

    def sweep(self, process: Process | None = None) -> None:
        self._spawn("sweep", lambda process: process.sweep.run(), process)

    def catch_up(self) -> None:
        def catch_up(process: Process) -> None:
            before = caught_up(self._simulation.table)
            process.catch_up.run()
            if caught_up(self._simulation.table) > before:
                self._simulation.note("catch-up is complete")
                self._simulation.checks.listed.update(self._simulation.scenario.versions)

        self._spawn("catch-up", catch_up)

    def restart(self, version: int, key: str) -> None:
        def restart(process: Process, claim: Claim) -> None:
            if not claim.state.final:
                return
            self.restarted[version, key] = None
            try:
                process.app.restart(claim, key)
            except (RefusedError, TemporaryError) as error:
                self._simulation.note(f"restart {key} of {version} is refused: {error}")
            else:
                self._promise(version, key)

        self._spawn(f"restart {key} of {version}", self._on_a_claim(version, restart))

    def pin(self, version: int) -> None:
        key = self._simulation.choice(("pin-one", "pin-two"))

        def pin(process: Process, claim: Claim) -> None:
            try:
                process.app.restart(claim, key, ByHand("somebody", comment="why", pins=True))
            except (RefusedError, TemporaryError) as error:
                self._simulation.note(f"start {key} of {version} is refused: {error}")
            else:
                self._promise(version, key)

        self._spawn(f"restart {key} of {version} with a pin", self._on_a_claim(version, pin))

    def pin_what_is_out(self, _: int = 0) -> None:
        def pin(process: Process) -> None:
            with suppress(RefusedError):
                for line in read_lines(WORKSPACE, MODEL, process.app.recorder):
                    pin_what_is_out(line, ByHand("somebody", comment="why"), process.app)

        self._spawn("pin what is out", pin)

    def unpin(self, *, keep: bool) -> None:
        def remove(process: Process) -> None:
            for line in read_lines(WORKSPACE, MODEL, process.app.recorder):
                pending = {claim.row for claim in line.pending if not claim.idempotency_key}
                began = len(self._simulation.organization.requests)
                with suppress(RefusedError):
                    unpin(line, ByHand("somebody", comment="why"), process.sweep, keep=keep)
                    self._simulation.note(f"the pin is removed{' and the version kept' * keep}")
                    if keep:
                        self._simulation.checks.kept(pending, began)

        self._spawn(f"unpin{' and keep' * keep}", remove)

    def try_now(self, version: int) -> None:
        def try_now(process: Process, claim: Claim) -> None:
            if not claim.state.final:
                process.app.try_now(claim, by_hand=True)

        self._spawn(f"try now {version}", self._on_a_claim(version, try_now))

    def set_mark_back(self, version: int) -> None:
        def set_back(process: Process, claim: Claim) -> None:
            with suppress(RefusedError):
                set_mark_back(claim, ByHand("somebody", comment="a mistake"), process.app)

        self._spawn(f"set mark back to {version}", self._on_a_claim(version, set_back))

    def match_again(self, version: int) -> None:
        def match_again(process: Process) -> None:
            recorded = process.app.claims.recorded(WORKSPACE, MODEL, str(version)).get(str(version))
            with suppress(RefusedError, TemporaryError):
                if recorded:
                    process.app.match_again(parse(recorded.event))
                    self._promise(version)

        self._spawn(f"match again {version}", match_again)

    def _on_a_claim(self, version: int, act: Callable[[Process, Claim], object]) -> Callable[[Process], None]:
        """Read the claims of a version as the page does, and act on one of them."""

        def on_a_claim(process: Process) -> None:
            recorded = process.app.claims.recorded(WORKSPACE, MODEL, str(version)).get(str(version))
            if recorded and recorded.claims:
                act(process, self._simulation.choice(recorded.claims))

        return on_a_claim

    def _spawn(self, name: str, call: Callable[[Process], object], process: Process | None = None) -> None:
        process = process or self._simulation.choice(self._simulation.processes)
        self._simulation.note(f"{name} begins on process {process.number}")
        self._simulation.spawn(name, process, lambda: call(process))

    def _promise(self, version: int, key: str = "") -> None:
        self._simulation.note(f"{'restart ' * bool(key)}{key} {version} is acknowledged".strip())
        self._simulation.checks.promised.add((version, key))
        self._simulation.checks.acknowledged()
