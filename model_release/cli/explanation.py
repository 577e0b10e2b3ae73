"""Why a model version starts what it starts: each route's verdict, and the requests that would be sent."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from model_release.azure_devops.sdk import PostRequest
from model_release.domain.claims import marker_of, partition_of, row_of
from model_release.domain.events import ModelRegistered, Workspace
from model_release.domain.release_map import ReleaseMap, Start, Verdict, decide, judge
from model_release.errors import Refused, StartError


class Requests(Protocol):
    """What tells the request that would be sent; raises Busy or Refused."""

    def request(self, start: Start, event: ModelRegistered, marker: str) -> PostRequest:
        """Tell it, and create nothing."""


@dataclass(frozen=True)
class Wanted:
    """A release that would be asked for: the request, or the reason why there is none."""

    start: Start
    marker: str
    request: PostRequest | None = None
    reason: str = ""
    refused: bool = False


@dataclass(frozen=True)
class Explanation:
    """What becomes of a model version, and why; `ignored` says why nothing does."""

    event: ModelRegistered
    verdicts: tuple[Verdict, ...]
    wanted: tuple[Wanted, ...]
    ignored: str = ""


def explain(
    release_map: ReleaseMap, workspaces: Collection[Workspace], requests: Requests, event: ModelRegistered
) -> Explanation:
    """Say what the app would do with the event, were it the first to tell of this version."""
    found, why = decide(release_map, workspaces, event)
    wanted = tuple(_wanted(start, event, requests) for start in found)
    return Explanation(event, judge(release_map, event), wanted, "" if found else why)


def _wanted(start: Start, event: ModelRegistered, requests: Requests) -> Wanted:
    marker = marker_of(partition_of(event.workspace, event.model), row_of(event.version, start.target))
    try:
        return Wanted(start, marker, requests.request(start, event, marker))
    except StartError as error:
        return Wanted(start, marker, reason=str(error), refused=isinstance(error, Refused))
