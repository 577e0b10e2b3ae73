"""What a person starts is matched with what Azure ML has now."""

from model_release.domain.events import ModelRegistered, Workspace
from model_release.domain.targets import Target
from model_release.errors import RefusedError, TemporaryError
from model_release.flow.confirm import Ask, Confirmed, NotConfirmed


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
        raise (RefusedError if answer.absent else TemporaryError)(answer.reason, answer.fix)
    return answer


def not_routed(target: Target, now: Confirmed) -> RefusedError:
    """Return the refusal to start a version at a target to which no route leads now."""
    others = ", ".join(str(plan.target) for plan in now.routing.plans)
    why = f"its routes lead to {others}" if others else now.routing.why_nothing.text
    problem = f"no route for {now.event.model}:{now.event.version} leads to {target} now: {why}; {now.matched_with}"
    return RefusedError(problem, "change the release map and deploy it, or change the tags in Azure ML")
