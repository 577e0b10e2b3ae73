"""What a person starts or pins: it is matched with what Azure ML has now, and a pin keeps every other start back."""

import re
from datetime import datetime, timedelta

from model_release.domain.claims import AttemptResult, Claim, State, claim_row
from model_release.domain.events import ModelRegistered, Workspace
from model_release.domain.history import ByHand
from model_release.domain.targets import Target
from model_release.errors import RefusedError, TemporaryError
from model_release.flow.confirm import Ask, Confirmed, NotConfirmed
from model_release.flow.record import Recorder
from model_release.reason import Reason, ReasonKind
from model_release.store.high_water_mark import Pin
from model_release.store.targets import Resolved

IDEMPOTENCY_KEY = re.compile(r"[A-Za-z0-9-]{8,64}")
HELD_FOR = timedelta(hours=1)


def unrecorded(workspace: Workspace, model: str, version: str) -> ModelRegistered:
    """Return a version that no event announced; only Azure ML knows its tags and properties."""
    return ModelRegistered(f"started manually: {model} {version}", workspace, model, version, {}, {}, body="")


def confirmed_now(confirmed: Ask, recorded: Confirmed | None = None) -> Confirmed:
    """Wait for the answer to a person; raises RefusedError, or TemporaryError if Azure ML cannot be read.

    A start with a pin holds also then: it goes on with what is `recorded`, and each attempt asks again.
    """
    answer = confirmed()
    if isinstance(answer, NotConfirmed):
        if recorded and not answer.absent:
            return recorded
        raise (RefusedError if answer.absent else TemporaryError)(answer.reason.text, answer.fix)
    return answer


def not_routed(target: Target, now: Confirmed) -> RefusedError:
    """Return the refusal to start a version at a target to which no route leads now."""
    others = ", ".join(str(plan.target) for plan in now.routing.plans)
    why = f"its routes lead to {others}" if others else now.routing.why_nothing.text
    problem = f"no route for {now.event.model}:{now.event.version} leads to {target} now: {why}; {now.matched_with}"
    return RefusedError(problem, "change the release map and deploy it, or change the tags in Azure ML")


def kept_back(claim: Claim, pin: Pin | None, now: datetime) -> AttemptResult:
    """Return how an attempt ends that finds a pin, or a start with a pin that finds another one or none (pure)."""
    if not claim.idempotency_key and pin:
        return AttemptResult(State.HELD, Reason(ReasonKind.PINNED, pinned(pin)), now + HELD_FOR)
    if pin:
        return AttemptResult(State.WITHDRAWN, Reason(ReasonKind.PIN_REPLACED, pinned(pin)))
    return AttemptResult(State.WITHDRAWN, Reason(ReasonKind.PIN_REMOVED, f"the pin of {claim.version} was removed"))


def superseded(version: str, *, manually: bool = False) -> AttemptResult:
    """Return how an attempt ends that finds a version that was sent (pure)."""
    kind, how = (ReasonKind.SENT_MANUALLY, "manually") if manually else (ReasonKind.NEWER_SENT, "first")
    return AttemptResult(State.SUPERSEDED, Reason(kind, f"version {version} was sent {how}"))


def pinned(pin: Pin) -> str:
    """Describe a pin (pure)."""
    return f"{pin.version} is pinned since {pin.since:%Y-%m-%d %H:%M} UTC by {pin.by}: {pin.comment}"


def pin_or_refuse(claim: Claim, idempotency_key: str, by_hand: ByHand, recorder: Recorder, target: Resolved) -> None:
    """Write the pin of a person's start, before anything else of it is written; a repeated start writes none.

    Raises RefusedError if the start has no pin and the line has one, if the version may be on its
    way already, or if its target has no ID yet: then nothing was sent there, and the map may name it otherwise later.
    """
    start = claim_row(claim.version, claim.target_digest, idempotency_key)
    if recorder.claims.find(claim.partition, start):
        return
    if not by_hand.pins:
        refuse_if_pinned(claim, recorder)
        return
    if claim.state.may_be_created:
        raise RefusedError(f"version {claim.version} may have been created", "try again when its state is known")
    if not target.definition_id:
        raise RefusedError(f"Azure DevOps has never resolved {claim.target}", "start the version without a pin first")
    pin = Pin(claim.version, start, recorder.clock(), by_hand.by, by_hand.by_verified, by_hand.comment)
    recorder.marks.set_pin(claim.partition, claim.target_digest, pin)


def refuse_if_pinned(claim: Claim, recorder: Recorder) -> None:
    """Raise RefusedError if a pin keeps a version on the target of the claim, unless it is that of this very start."""
    pin = recorder.marks.pin(claim.partition, claim.target_digest)
    if pin and pin.start != claim.row:
        raise RefusedError(pinned(pin), "remove the pin with `unpin`, or move it: start this version with a pin")
