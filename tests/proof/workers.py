"""Workers: pieces of work in one thread, of which one runs until it stops and the scheduler chooses the next."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from greenlet import greenlet

if TYPE_CHECKING:
    from tests.proof.services import Process
    from tests.proof.simulation import Simulation


class Killed(BaseException):
    """The process of a worker was killed; nothing in it runs any more."""


@dataclass(eq=False)
class Worker:
    """A piece of work of a process; it waits until `ready_at` and for its `threads`."""

    name: str
    process: Process
    work: Callable[[], Any]
    began: int = 0
    at: str = "the start"
    steps: int = 0
    position: int = 0
    ready_at: int = 0
    threads: list[Worker] = field(default_factory=list)
    priority: float = 0
    greenlet: Any = None

    def run(self, hub: Any) -> bool:
        """Run until the next stop; returns False at the end."""
        if self.greenlet is None:
            self.greenlet = greenlet(self.work, hub)
        self.greenlet.switch()
        return not self.greenlet.dead

    def waits(self, workers: list[Worker]) -> bool:
        """Whether one of its threads still runs."""
        self.threads = [thread for thread in self.threads if thread in workers]
        return bool(self.threads)

    def kill(self) -> None:
        """End the work where it is."""
        if self.greenlet and not self.greenlet.dead:
            self.greenlet.throw(Killed)


class Threads(Executor):
    """An executor whose threads are workers."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._started: list[Worker] = []

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        parent = self._simulation.current

        def work() -> None:
            try:
                future.set_result(call(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001  as a thread does
                self._simulation.check_error(error)
                future.set_exception(error)

        worker = self._simulation.spawn(f"thread {len(self._started) + 1} of {parent.name}", parent.process, work)
        self._started.append(worker)
        future = _WorkerFuture(self._simulation, worker)
        return future

    def shutdown(self, *_: object, **__: object) -> None:
        if not self._simulation.current.process.dead:
            self._simulation.wait_for(self._started)


class _WorkerFuture(Future[Any]):
    """The result of a worker; another worker can wait for it."""

    def __init__(self, simulation: Simulation, worker: Worker) -> None:
        super().__init__()
        self._simulation = simulation
        self._worker = worker

    def result(self, timeout: float | None = None) -> Any:
        if not self.done():
            self._simulation.wait_for([self._worker])
        return super().result(timeout)


class Inline(Executor):
    """An executor that runs each call at once."""

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(call(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  as a thread does
            future.set_exception(error)
        return future
