"""What each state means for a person, what to do, and the section of docs/operations.md about it (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass

from model_release.domain.claims import State


@dataclass(frozen=True)
class Advice:
    """A plain sentence, what to do, and a heading of docs/operations.md; `needs_person` if nothing heals it."""

    sentence: str
    do: str
    section: str
    needs_person: bool = False


ADVICE: Mapping[State, Advice] = {
    State.STARTING: Advice(
        "A worker is starting the release, or was cut off.",
        "Do nothing: the sweep continues within minutes.",
        "My model was registered and nothing happened",
    ),
    State.WAITING: Advice(
        "Nothing was started yet.",
        "Do nothing: the sweep tries again every minute.",
        "A model version is waiting",
    ),
    State.HELD: Advice(
        "A pin keeps this version back.",
        "Lift the pin if this version is to be released.",
        "Start an older version again after a rollback",
    ),
    State.REFUSED: Advice(
        "Nothing was started, and a person must change something.",
        "Follow the reason, then try it now.",
        "Fix a refused release",
        needs_person=True,
    ),
    State.UNKNOWN: Advice(
        "A request got no answer, so the release may exist.",
        "Do nothing: the sweep searches for the release.",
        "A model version is unknown",
    ),
    State.STARTED: Advice(
        "The release exists. Its stages decide whether the version is deployed.",
        "Open the release to see its stages.",
        "The release exists and no stage runs",
    ),
    State.SUPERSEDED: Advice(
        "A newer version was sent to this target first.",
        "Nothing, unless the newer version was a mistake.",
        "A version that was registered by mistake supersedes the real ones",
    ),
    State.WITHDRAWN: Advice(
        "Nothing was started: no route leads here any more, or Azure ML does not have the version.",
        "If you did not want this, fix the map and restart the version.",
        "A model version was withdrawn",
    ),
    State.ABANDONED: Advice(
        "All attempts failed for seven days, and nothing is tried any more.",
        "Fix the cause that the reason shows, then restart the version.",
        "A model version was abandoned",
        needs_person=True,
    ),
    State.IGNORED: Advice(
        "The event started nothing.",
        "If it should have, change the map or the tags, then match it again.",
        "Fix an ignored model version",
    ),
}
