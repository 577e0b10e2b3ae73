"""What each reason means for a person, what to do, and the section of docs/operations.md about it (pure)."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from model_release.domain.claims import State
from model_release.reason import ReasonKind

PAGE = "docs/operations.md"
NEEDS_PERSON = frozenset({State.REFUSED, State.ABANDONED})
_IGNORED = "Fix an ignored model version"
_MISTAKE = "A version that was registered by mistake supersedes the real ones"
_PIN = "A pin keeps a version back"
_REFUSED = "Fix a refused release"
_SIGN_IN = "Azure DevOps does not accept the sign-in"
_STAGES = "The release exists and no stage runs"
_UNCONFIRMED = "Azure ML does not confirm a version"
_UNKNOWN = "A model version is unknown"
_WAITING = "A model version is waiting"
_WITHDRAWN = "A model version was withdrawn"
_MATCH_AGAIN = "if the version is to be released, then match it again."
_SEE_STAGES = "Open the release to see its stages: they decide whether the version is deployed."


class Advice(NamedTuple):
    """A plain sentence, what to do, and a heading of docs/operations.md.

    `foreign`: the reason repeats the words of another service.
    """

    sentence: str
    do: str
    section: str
    foreign: bool = False

    def address(self, page: str = PAGE) -> str:
        """Return the address of the section, in the repository or on another page with the same text."""
        return f"{page}#{re.sub('[^a-z0-9 -]', '', self.section.lower()).replace(' ', '-')}"


OF_STATE: Mapping[State, Advice] = {
    State.STARTING: Advice(
        "A worker is starting the release, or was cut off.",
        "Do nothing: the sweep continues within minutes.",
        "My model was registered and nothing happened",
    ),
    State.WAITING: Advice("Nothing was started yet.", "Do nothing: the sweep tries again every minute.", _WAITING),
    State.HELD: Advice("A pin keeps this version back.", "Remove the pin if this version is to be released.", _PIN),
    State.REFUSED: Advice(
        "Nothing was started, and a person must change something.", "Follow the reason, then try it now.", _REFUSED
    ),
    State.UNKNOWN: Advice(
        "A request got no answer, so the release may exist.",
        "Do nothing: the sweep searches for the release before it sends another request.",
        _UNKNOWN,
    ),
    State.STARTED: Advice("The release exists.", _SEE_STAGES, _STAGES),
    State.SUPERSEDED: Advice(
        "A newer version was sent to this target first.",
        "Do nothing. If the newer version was a mistake, set the high-water mark back.",
        _MISTAKE,
    ),
    State.WITHDRAWN: Advice(
        "Nothing was started: no route leads here any more, or Azure ML does not have the version.",
        "If you did not want this, fix the map and restart the version.",
        _WITHDRAWN,
    ),
    State.ABANDONED: Advice(
        "All attempts failed for seven days, and nothing is tried any more.",
        "Fix the cause that the reason shows, then restart the version.",
        "A model version was abandoned",
    ),
    State.IGNORED: Advice(
        "The event started nothing.", "If it should have, change the map or the tags, then match it again.", _IGNORED
    ),
}
OF_KIND: Mapping[ReasonKind, Advice] = {
    ReasonKind.ROUTE_MATCHED: Advice("A route matched the version, and its release exists.", _SEE_STAGES, _STAGES),
    ReasonKind.RESTARTED: Advice("A person restarted the version, and its release exists.", _SEE_STAGES, _STAGES),
    ReasonKind.FOUND_BY_MARKER: Advice("An earlier attempt created the release.", _SEE_STAGES, _STAGES),
    ReasonKind.THROTTLED: Advice(
        "Azure DevOps asked for a pause.", "Do nothing, or try it now despite the pause.", _WAITING
    ),
    ReasonKind.UNAVAILABLE: Advice(
        "Azure DevOps cannot be reached, or has a failure.",
        "Do nothing: the sweep tries again every minute.",
        "Azure DevOps was unavailable",
        foreign=True,
    ),
    ReasonKind.NO_TOKEN: Advice(
        "The app cannot get a token for Azure DevOps.",
        "If this lasts for more than a few minutes, check the identity of the app.",
        _SIGN_IN,
        foreign=True,
    ),
    ReasonKind.LEASE_USED_UP: Advice(
        "The attempt took longer than its lease, so it sent nothing.", "Do nothing: the sweep tries again.", _WAITING
    ),
    ReasonKind.TARGET_CHANGED: Advice(
        "The definition or pipeline was changed during the attempt.",
        "Do nothing: the next attempt reads it again.",
        _WAITING,
        foreign=True,
    ),
    ReasonKind.OLDER_IN_FLIGHT: Advice(
        "The release of an older version is still being created.", "Do nothing: this version is next.", _WAITING
    ),
    ReasonKind.NEWEST_FIRST: Advice(
        "The newest version that a pin kept back is started first.", "Do nothing: the sweep goes on.", _WAITING
    ),
    ReasonKind.PINNED: OF_STATE[State.HELD],
    ReasonKind.NOT_REGISTERED: Advice(
        "Azure ML does not have this version, or it is not ready there.",
        "Compare it with Azure ML. If it is registered later, start it.",
        _UNCONFIRMED,
    ),
    ReasonKind.AZURE_ML_UNREADABLE: Advice(
        "Azure ML did not confirm that this version is registered.",
        "Assign the right that the reason names, if it names one. Azure ML is asked again.",
        _UNCONFIRMED,
        foreign=True,
    ),
    ReasonKind.NO_ANSWER: OF_STATE[State.UNKNOWN]._replace(foreign=True),
    ReasonKind.NOT_FOUND_YET: Advice(
        "A request got no answer, and its release is not found yet.",
        "Do nothing: the sweep searches again before it sends another request.",
        _UNKNOWN,
    ),
    ReasonKind.SEARCH_FAILED: Advice(
        "Azure DevOps cannot be asked whether the release exists.",
        "Assign the right that the reason names, if it names one. The sweep searches again.",
        _UNKNOWN,
        foreign=True,
    ),
    ReasonKind.REFUSED: Advice(
        "Azure DevOps refused the request.", "Follow its words below, then try it now.", _REFUSED, foreign=True
    ),
    ReasonKind.SIGN_IN_REFUSED: Advice(
        "Azure DevOps does not accept the sign-in of the app.",
        "Renew the token, or add the identity to the organization, then try it now.",
        _SIGN_IN,
        foreign=True,
    ),
    ReasonKind.WRONG_ADDRESS: Advice(
        "The address of Azure DevOps is probably wrong.", "Correct AZURE_DEVOPS_URL and deploy.", _REFUSED, foreign=True
    ),
    ReasonKind.TARGET_NOT_FOUND: Advice(
        "Azure DevOps does not have the target of the route, or the app may not view it.",
        "Correct the map, or assign the right to view the target, then try it now.",
        _REFUSED,
    ),
    ReasonKind.TARGET_AMBIGUOUS: Advice(
        "Several definitions or pipelines have the name in the route.", "Write the folder in the map.", _REFUSED
    ),
    ReasonKind.TARGET_REPLACED: Advice(
        "The name in the route means another definition or pipeline than at the last start.",
        "If this is intended, try it now: this confirms it. Otherwise write the ID in the map.",
        _REFUSED,
    ),
    ReasonKind.TARGET_MISFIT: Advice(
        "The definition or pipeline does not fit the route.",
        "Change one of them as the reason says, then try it now.",
        _REFUSED,
    ),
    ReasonKind.VERSION_FORMAT_UNKNOWN: Advice(
        "No release shows yet how the artifact writes its versions.",
        "Create one release manually in Azure DevOps, then try it now.",
        _REFUSED,
        foreign=True,
    ),
    ReasonKind.NEWER_SENT: OF_STATE[State.SUPERSEDED],
    ReasonKind.SENT_MANUALLY: Advice(
        "A person started this version already.", "Do nothing.", "Start an older version again after a rollback"
    ),
    ReasonKind.OLDER_KEPT: Advice(
        "A person kept another version at this target.", "If this version is to be released, restart it.", _PIN
    ),
    ReasonKind.PIN_SET: Advice(
        "A person pinned this version.", "Remove the pin when newer versions are to be released.", _PIN
    ),
    ReasonKind.PIN_REPLACED: Advice(
        "A person pinned another version before this start was sent.",
        "If this version must stay instead, start it again with a pin.",
        _PIN,
    ),
    ReasonKind.PIN_REMOVED: Advice(
        "A person removed the pin.", "Do nothing: the versions that it kept back start as usual.", _PIN
    ),
    ReasonKind.MARK_SET_BACK: Advice(
        "A person set the high-water mark back.", "If this version is to be released, restart it.", _MISTAKE
    ),
    ReasonKind.ROUTE_MOVED: Advice(
        "The route leads to another target now.",
        "See the claim at the other target. If you did not want this, fix the map and restart the version.",
        _WITHDRAWN,
    ),
    ReasonKind.TARGET_RENAMED: Advice(
        "The map has another name for a target that has its own claim.", "See the other claim.", _WITHDRAWN
    ),
    ReasonKind.NOT_A_SOURCE: Advice(
        "The app is not set up for this workspace or registry.",
        "If its models are to be released, add it to the setting that the reason names.",
        _IGNORED,
    ),
    ReasonKind.MODEL_NOT_NAMED: Advice("No route names this model.", f"Add a route {_MATCH_AGAIN}", _IGNORED),
    ReasonKind.ROUTE_DISABLED: Advice("The route is disabled.", f"Enable it {_MATCH_AGAIN}", _IGNORED),
    ReasonKind.OTHER_SOURCE: Advice(
        "The route is for another workspace or registry.", f"Change it {_MATCH_AGAIN}", _IGNORED
    ),
    ReasonKind.OTHER_VERSION: Advice("The route is for other versions.", f"Change it {_MATCH_AGAIN}", _IGNORED),
    ReasonKind.OTHER_VALUE: Advice(
        "The version does not have the tags or properties that the route requires.",
        f"Set them in Azure ML {_MATCH_AGAIN}",
        _IGNORED,
    ),
    ReasonKind.VALUE_MISSING: Advice(
        "The route passes a tag or property that the version does not have.",
        "Set it in Azure ML or change the route, then match it again.",
        _IGNORED,
    ),
    ReasonKind.VALUE_FORBIDDEN: Advice(
        "The route passes a value that may be dangerous in a script.",
        "Change it in Azure ML or allow it in the route, then match it again.",
        _IGNORED,
    ),
    ReasonKind.NO_ROUTE_MATCHES: Advice(
        "Several routes name this model, and none of them matches.",
        f"Change the map or the tags {_MATCH_AGAIN}",
        _IGNORED,
    ),
    ReasonKind.EVENT_UNREADABLE: Advice(
        "This is not an event of a registered model version, or it cannot be read.",
        "Do nothing if the event subscription delivers other events. Otherwise fix what the reason shows.",
        _IGNORED,
    ),
}


def advice(state: State, kind: ReasonKind) -> Advice:
    """Return the advice about a reason; that of the state if there is no reason yet, or none of a known kind."""
    if state is State.STARTING or kind is ReasonKind.NONE:
        return OF_STATE[state]
    of_kind = OF_KIND[kind]
    if state is not State.ABANDONED:
        return of_kind
    # What to do while attempts continue does not help any more.
    over = OF_STATE[state]
    return over._replace(sentence=f"{over.sentence} {of_kind.sentence}", foreign=of_kind.foreign)
