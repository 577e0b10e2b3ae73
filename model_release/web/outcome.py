"""The outcome of releases: their stages in Azure DevOps, read when a person asks for them."""

from collections.abc import Iterable
from concurrent.futures import Executor, wait
from datetime import datetime
from typing import Any

from model_release.azure_devops.client import AzureDevOps
from model_release.domain.claims import Claim
from model_release.domain.retry import utc
from model_release.domain.targets import Stage
from model_release.errors import AzureDevOpsError

SECONDS = 3
# A version that was restarted often has many; the newest are shown.
_MOST = 8


class Outcomes:
    """Reads the stages of releases and runs; waits for all of them together for 3 seconds."""

    def __init__(self, azure_devops: AzureDevOps, threads: Executor, seconds: float = SECONDS) -> None:
        self._azure_devops = azure_devops
        self._threads = threads
        self._seconds = seconds

    def read(self, claims: Iterable[Claim], throttled_until: datetime | None) -> dict[str, dict[str, Any]]:
        """Return the outcome of each claim that has a release, by the key of the claim."""
        ours = sorted((one for one in claims if one.release_id), key=lambda one: one.created, reverse=True)
        if throttled_until:
            pause = f"Azure DevOps asked for a pause until {utc(throttled_until)}"
            return {one.key: _unavailable(pause) for one in ours}
        reading = {
            one.key: self._threads.submit(self._azure_devops.stages, one.target, one.release_id) for one in ours[:_MOST]
        }
        wait(reading.values(), self._seconds)
        found = {one.key: _unavailable("open the release") for one in ours[_MOST:]}
        for key, future in reading.items():
            if future.cancel() or not future.done():
                found[key] = _unavailable(f"no answer within {self._seconds:g} s")
                continue
            try:
                found[key] = {"stages": [_shown(stage) for stage in future.result()], "problem": None}
            except AzureDevOpsError as error:
                found[key] = _unavailable(str(error))
        return found


def _unavailable(problem: str) -> dict[str, Any]:
    return {"stages": [], "problem": f"not available: {problem}"}


def _shown(stage: Stage) -> dict[str, Any]:
    approvals = [{"by": one.by, "status": one.status} for one in stage.approvals]
    return {"name": stage.name, "status": stage.status, "approvals": approvals}
