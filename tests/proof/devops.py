"""Azure DevOps as the simulation has it: one release definition, and requests that are carried out when a seed says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from model_release.domain.events import ModelRegistered
from model_release.domain.targets import Created, ReleasePlan, Target
from model_release.errors import RefusedError, TemporaryError, UnknownOutcomeError

if TYPE_CHECKING:
    from tests.proof.services import Process
    from tests.proof.simulation import Simulation

DEFINITION, COPY = 7, 8
NEVER = -1
# A request lasts at most one and a half timeouts of ten seconds.
_LONGEST_REQUEST = 15_000
# The ways in which a release map may write the same definition.
SPELLINGS: tuple[int | str, ...] = ("train", DEFINITION, "\\ml\\train")


class Answer(Enum):
    """What happens to a request that creates a release."""

    CREATED = "it is created"
    SLOW = "it is created a few seconds later"
    LOST = "it is created and the answer is lost"
    LATE = "the connection is lost and it is created later"
    NEVER = "the connection is lost and it is never created"
    THROTTLED = "429 with Retry-After"
    BUSY = "503"
    REFUSED = "400"
    REFUSED_BUT_CREATED = "400, and it is created all the same"


class Found(NamedTuple):
    """A definition that was found."""

    id: int
    project_id: str
    revision: int


@dataclass
class Request:
    """A request that creates a release; times are in milliseconds of the simulation."""

    number: int
    definition: int
    marker: str
    version: int
    answer: Answer
    sent: int
    lands: int
    landed: bool = False

    @property
    def created(self) -> Created:
        return Created(self.number, f"Release-{self.number}", f"https://release/{self.number}")


class Organization:
    """The definition, and all requests to create a release of it."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self.requests: list[Request] = []
        self.revision = 1
        # What the names in the release map mean, and the rows of those that were known before they meant the copy.
        self.named = DEFINITION
        self.known: set[str] = set()
        # A hash of what was sent and created.
        self.state = 0

    def send(self, definition: int, marker: str, version: int) -> Request:
        """Receive a request that creates a release."""
        simulation = self._simulation
        answer = simulation.choice(simulation.scenario.answers) if simulation.trouble else Answer.CREATED
        lands = NEVER
        if answer in (Answer.CREATED, Answer.LOST, Answer.REFUSED_BUT_CREATED):
            lands = simulation.now
        elif answer in (Answer.SLOW, Answer.LATE):
            latest = simulation.scenario.latest_landing
            latest = min(latest, _LONGEST_REQUEST) if answer is Answer.SLOW else latest
            lands = simulation.now + round(latest * simulation.choice((1, 1, simulation.random.random())))
        request = Request(len(self.requests) + 1, definition, marker, version, answer, simulation.now, lands)
        self.requests.append(request)
        self.state = hash((self.state, version, answer.name))
        simulation.note(f"{simulation.current.name} sends request {request.number} for {version}: {answer.value}")
        simulation.checks.sent(request)
        if lands == simulation.now:
            self.land(request)
        return request

    def on_their_way(self) -> list[tuple[int, Request]]:
        """Return the requests that will be carried out, and when."""
        return [(one.lands, one) for one in self.requests if not one.landed and one.lands != NEVER]

    def land(self, request: Request) -> None:
        request.landed = True
        self.state = hash((self.state, request.version))
        self._simulation.note(f"request {request.number} for {request.version} is carried out")
        self._simulation.checks.landed(request)

    def find_by_marker(self, definition: int, marker: str, since: datetime) -> Created | None:
        """Find a release that was created since then."""
        for one in self.requests:
            if one.landed and (one.definition, one.marker) == (definition, marker):
                by_its_clock = one.lands + self._simulation.scenario.skew_of_azure_devops
                if self._simulation.begin + timedelta(milliseconds=by_its_clock) >= since:
                    return one.created
        return None


class SimulatedTargets:
    """The API of release definitions for one process (a TargetApi)."""

    def __init__(self, simulation: Simulation, process: Process) -> None:
        self._simulation = simulation
        self._process = process

    def find(self, target: Target) -> Found:
        self._ask("find the definition")
        if target.definition not in SPELLINGS:
            raise RefusedError(f"{target} does not exist")
        organization = self._simulation.organization
        number = DEFINITION if target.definition == DEFINITION else organization.named
        return Found(number, "the ID of p", organization.revision)

    def body(self, _: Found, __: ReleasePlan, event: ModelRegistered, marker: str) -> dict[str, Any]:
        return {"marker": marker, "version": int(event.version)}

    def create(self, found: Found, _: Target, body: dict[str, Any]) -> Created:
        # Nothing may happen between the deadline check and the sending, so there is no stop before it.
        request = self._simulation.organization.send(found.id, **body)
        answer = request.answer
        if answer is Answer.SLOW:
            self._simulation.current.ready_at = request.lands
        self._simulation.stop("after POST")
        if answer in (Answer.CREATED, Answer.SLOW):
            return request.created
        if answer is Answer.THROTTLED:
            pause = timedelta(seconds=self._simulation.choice((30, 200, 3600)))
            self._process.throttle.extend(pause)
            raise TemporaryError("429", retry_after=pause)
        if answer is Answer.BUSY:
            raise TemporaryError("503")
        if answer in (Answer.REFUSED, Answer.REFUSED_BUT_CREATED):
            raise RefusedError("400")
        raise UnknownOutcomeError("no answer")

    def find_by_marker(
        self, _: str, definition_id: int, marker: str, since: datetime, check_time: Callable[[], None]
    ) -> Created | None:
        self._ask("find by marker")
        check_time()
        found = self._simulation.organization.find_by_marker(definition_id, marker, since)
        self._simulation.stop("after find by marker")
        return found

    def sign_in(self) -> None:
        self._ask("sign in")

    def _ask(self, question: str) -> None:
        self._simulation.stop(f"before {question}")
        if self._simulation.question_fails():
            raise TemporaryError(f"503: {question}")
