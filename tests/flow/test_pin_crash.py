"""A process is killed after each write of a start with a pin: the pin holds, and one release follows."""

import pytest
import requests

from local.azure_ml import AzureMl
from model_release.domain.claims import State
from model_release.domain.history import ByHand
from model_release.errors import ClaimLeasedError
from model_release.flow.steer import read_lines
from tests.environment import WORKSPACE, Environment, event, register
from tests.flow.interruptions import claims_of
from tests.flow.test_crash import Killer, through_a_process

WRITES = {
    "storage": [
        ("PATCH", "write the pin"),
        ("PUT", "write the pending row"),
        ("POST", "insert the claim"),
        ("PATCH", "write the high-water mark"),
        ("PATCH", "update the claim"),
    ],
    "azure_devops": [("POST", "create the release")],
}
START = {"action": "start", "pin": "yes", "idempotency_key": "the-first-key", "by": "alice", "comment": "21 was worse"}


class WriteKiller(Killer):
    """Kills the process after one of its writes."""

    def __call__(self, server: str, method: str, path: str, when: str) -> None:
        if method not in ("GET", "OPTIONS"):
            super().__call__(server, method, path, when)


@pytest.fixture(autouse=True)
def registered(env: Environment, azure_ml: AzureMl) -> None:
    """Register the versions in Azure ML, which confirms them."""
    for version in ("20", "21"):
        azure_ml.add_version(WORKSPACE, "sklearn_regression_model", version, created=env.clock())


@pytest.mark.parametrize(
    ("server", "step"),
    [pytest.param(server, step, id=name) for server, writes in WRITES.items() for step, (_, name) in enumerate(writes)],
)
def test_a_start_with_a_pin_that_is_killed_holds_newer_versions_and_starts_once(
    env: Environment, server: str, step: int
) -> None:
    register(env, 20)
    claim = claims_of(env, 20)[0]
    killer = WriteKiller(server, step, "after")

    with through_a_process(env, killer) as url:
        body = START | {"claim": claim.key}
        address = f"{url}/api/releases/{claim.model}/20"
        with pytest.raises(requests.ConnectionError):
            requests.post(address, json=body, headers={"Accept": "application/json"}, timeout=60)

    assert killer.passed[server] == [method for method, _ in WRITES[server][: step + 1]]
    (entry,) = env.registered(event(version=21))
    assert entry.state is State.HELD
    by_hand = ByHand(START["by"], comment=START["comment"], pins=True)
    try:
        env.app.start_release.restart(claim, START["idempotency_key"], by_hand)
    except ClaimLeasedError:
        env.clock.advance(minutes=5)
        env.app.start_release.restart(claim, START["idempotency_key"], by_hand)
    env.later(minutes=7)
    env.later(hours=1)

    assert env.versions == ["20", "20"]
    (line,) = read_lines(next(iter(env.app.start_release.workspaces)), claim.model, env.app.start_release.recorder)
    assert line.is_kept
    assert [(one.version, one.state) for one in line.pending] == [("21", State.HELD)]
