"""The promises while persons pin versions and remove the pins: nothing passes a pinned version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

from azure.core.exceptions import AzureError
from azure.data.tables import TableEntity
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from model_release.domain.claims import State, marker_of
from model_release.domain.events import Workspace
from model_release.domain.history import ByHand, HistoryQuery
from model_release.errors import AzureDevOpsError, ClaimLeasedError
from model_release.flow.steer import pin_what_is_out, read_lines, unpin
from tests.environment import WORKSPACE, Size
from tests.flow.test_promises import PLAN, Existing, Killed, Process, Promises, Script, examine

OURS = Workspace.parse(WORKSPACE)
TEN_MINUTES = timedelta(minutes=10)
MODELS = ("churn", "fraud")
WHO = ByHand("alice", comment="why", pins=True)
# What a person sees in place of an answer, and tries again.
FAILURES = (Killed, ClaimLeasedError, AzureError, AzureDevOpsError)


class PinnedPromises(Promises):
    """Model versions are registered, persons pin them and remove the pins, and everything that can fail does."""

    starts = 0

    @precondition(lambda self: self.delivered)
    @rule(data=st.data(), script=PLAN)
    def a_version_is_started_with_a_pin(self, data: st.DataObject, script: Script) -> None:
        model, version = data.draw(st.sampled_from(sorted(self.delivered)))
        self.starts += 1
        app = self.process(script).app
        with suppress(*FAILURES):
            recorded = app.claims.recorded(OURS, model, str(version)).get(str(version))
            for claim in recorded.claims if recorded else ():
                if not claim.idempotency_key:
                    app.restart(claim, f"start-{self.starts}", WHO)

    @rule(model=st.sampled_from(MODELS), script=PLAN)
    def what_is_out_is_pinned(self, model: str, script: Script) -> None:
        process = self.process(script)
        with suppress(*FAILURES):
            for line in read_lines(OURS, model, process.app.recorder):
                pin_what_is_out(line, WHO, process.app)

    @rule(model=st.sampled_from(MODELS), keep=st.booleans(), script=PLAN)
    def pins_are_removed(self, model: str, script: Script, *, keep: bool) -> None:
        self.remove_pins(self.process(script), model, keep=keep)

    @invariant()
    def there_is_one_release_at_most(self) -> None:
        markers = [one.marker for one in self.azure_devops.created]
        assert len(markers) == len(set(markers)), "one claim has two releases"

    @invariant()
    def no_release_goes_backwards(self) -> None:
        for model in MODELS:
            registered = [one.version[1] for one in self.created(model, "newest") if not self.claim(one)["pins"]]
            assert registered == sorted(set(registered)), f"{model} went backwards: {registered}"

    @invariant()
    def nothing_passes_a_pinned_version(self) -> None:
        for (partition, row), values in self.table.rows.items():
            if values.get("pin_version") and values["pin_start"]:
                model = partition.rpartition(" ")[2]
                rows = [self.claim(one)["RowKey"] for one in self.created(model, "newest")]
                line = [one for one in rows if one.split(" ")[1] == row]
                assert values["pin_start"] not in line[:-1], f"{line} passed {values['pin_start']}"

    def teardown(self) -> None:
        """After the trouble and without pins, every claim is final and recorded."""
        process = self.process(Script(0, {}, []))
        self.come_to_rest(process, TEN_MINUTES, 10)
        for model in MODELS:
            self.remove_pins(process, model, keep=False)
        self.come_to_rest(process, TEN_MINUTES, 10)
        assert self.unacknowledged == []
        self.no_release_goes_backwards()
        created = {one.marker for one in self.azure_devops.created}
        for claim in self.claims():
            assert State(claim["state"]).final, claim["reason"]
            assert (claim["state"] == State.STARTED) == (self.marker(claim) in created)
        assert not [partition for partition, _ in self.table.rows if partition in ("pending", "outbox")]
        shown = [entry.state for entry in process.history.page(HistoryQuery(limit=1000)).entries]
        assert len(shown) >= len(self.claims())

    def remove_pins(self, process: Process, model: str, *, keep: bool) -> None:
        with suppress(*FAILURES):
            for line in read_lines(OURS, model, process.app.recorder):
                with suppress(AzureDevOpsError):
                    unpin(line, WHO, process.sweep, keep=keep)

    def created(self, model: str, order: str) -> Iterator[Existing]:
        return (one for one in self.azure_devops.created if one.version[0] == model and one.target.definition == order)

    def claim(self, release: Existing) -> TableEntity:
        return next(claim for claim in self.claims() if self.marker(claim) == release.marker)

    def marker(self, claim: TableEntity) -> str:
        return marker_of(claim["PartitionKey"], claim["RowKey"], claim["nonce"])


def test_nothing_passes_a_pinned_version_whatever_fails(size: Size) -> None:
    examine(PinnedPromises, size(15, 2_000))
