"""Actors that take turns, and the time that passes between them. Owns which actor runs and every clock; knows no store.

Each actor is a function in a thread of its own, but only one runs at any moment, and it hands over only in ``pause`` (before each store call) and
``sleep``. The next one is chosen by a seeded generator among those that are not asleep; time jumps when all are. So a run is a function of its seed.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

__all__ = ["Actor", "ActorClock", "Crash", "Scheduler", "Stopped"]

EPOCH_NS = 4_102_444_800 * 10**9  # 2100-01-01: ahead of the change times that the kernel gives to files, so that those are never "just now"
_LATENCY_NS = 2 * 10**9  # a call takes up to this long
_UPTIME_NS = 100 * 24 * 3600 * 10**9
_WALL_OFFSETS_SECONDS = (0.0, 0.0, -2.5, 3.0, -93_600.0, 93_600.0, 20 * 365 * 86_400.0, -130 * 365 * 86_400.0)  # the last: a clock that was never set


class Crash(BaseException):
    """The process that an actor was has been killed. Only the actor's own loop may catch it: to production code it is the end."""


class Stopped(BaseException):
    """The run is over for every actor, because one has failed it."""


class ActorClock:
    """An actor's clocks (``events.Clock``): a wall clock that may be anywhere, and one since boot that counts suspended time."""

    def __init__(self, scheduler: Scheduler, actor: Actor, wall: random.Random) -> None:
        self._scheduler = scheduler
        self._actor = actor
        self._wall = wall
        self._booted_ns = scheduler.now_ns - wall.randrange(_UPTIME_NS)
        self._wall_offset_ns = 0
        self.step()

    def now_ns(self) -> int:
        return self._scheduler.now_ns + self._wall_offset_ns

    def elapsed_ns(self) -> int:
        return self._scheduler.now_ns - self._booted_ns

    def step(self) -> None:
        """Set the wall clock to somewhere else."""
        self._wall_offset_ns = int(self._wall.choice(_WALL_OFFSETS_SECONDS) * 10**9)

    def sleep(self, seconds: float) -> None:
        """Let that much time pass; others run meanwhile."""
        self._actor.wakes_ns = self._scheduler.now_ns + int(seconds * 10**9)
        self._scheduler.pause(self._actor)


class Actor:
    """One thread of a run, and whatever process it is at the moment."""

    def __init__(self, scheduler: Scheduler, name: str, body: Callable[[Actor], None], wall: random.Random) -> None:
        self.name = name
        self.clock = ActorClock(scheduler, self, wall)
        self.wakes_ns = 0
        self._body = body
        self._scheduler = scheduler
        self._turn = threading.Lock()  # held but for the moment between ``take_turn`` and ``wait_for_turn``
        self._turn.acquire()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Make the thread; it waits for its turn."""
        self._thread.start()

    def wait_for_turn(self) -> None:
        """Let no other hand than the scheduler's call this."""
        self._turn.acquire()

    def take_turn(self) -> None:
        """Wake it up."""
        self._turn.release()

    def join(self) -> None:
        """Wait for the thread's end."""
        self._thread.join()

    @property
    def is_current_thread(self) -> bool:
        return threading.get_ident() == self._thread.ident

    def _run(self) -> None:
        self.wait_for_turn()
        try:
            self._scheduler.refuse_stopped()
            self._body(self)
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001  # ``run`` raises it again
            self._scheduler.fail(error)
        finally:
            self._scheduler.leave(self)


class Scheduler:
    """``now_ns`` is the true time, which no actor knows. ``chosen`` decides who runs and how long things take, ``wall`` what clocks show."""

    def __init__(self, chosen: random.Random, wall: random.Random) -> None:
        self.now_ns = EPOCH_NS
        self._random = chosen
        self._wall = wall
        self._actors: list[Actor] = []
        self._alive: list[Actor] = []
        self._over = threading.Semaphore(0)
        self._failure: BaseException | None = None

    def add(self, name: str, body: Callable[[Actor], None]) -> Actor:
        """One more actor; it starts with ``run``."""
        actor = Actor(self, name, body, self._wall)
        self._actors.append(actor)
        return actor

    def run(self) -> None:
        """Let all actors that have been added run to their ends.

        Raises:
            BaseException: the first that an actor did not catch. The others have been stopped.
        """
        self._alive, self._actors = list(self._actors), []
        started = list(self._alive)
        if not started:
            return
        for actor in started:
            actor.start()
        self._choose().take_turn()
        self._over.acquire()
        for actor in started:
            actor.join()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def pause(self, actor: Actor) -> None:
        """Let others run, and some time pass."""
        assert actor.is_current_thread, "a store call from a thread that is no actor would make the run depend on luck"
        self.refuse_stopped()
        self.now_ns += int(self._random.random() * _LATENCY_NS)
        following = self._choose()
        if following is not actor:
            following.take_turn()
            actor.wait_for_turn()
            self.refuse_stopped()

    def _choose(self) -> Actor:
        if self._failure is not None:
            return self._alive[0]
        ready = [actor for actor in self._alive if actor.wakes_ns <= self.now_ns]
        if not ready:
            first = min(self._alive, key=lambda actor: actor.wakes_ns)
            self.now_ns = first.wakes_ns
            return first
        return ready[0] if len(ready) == 1 else self._random.choice(ready)

    def leave(self, actor: Actor) -> None:
        """An actor has come to its end."""
        self._alive.remove(actor)
        if self._alive:
            self._choose().take_turn()
        else:
            self._over.release()

    def fail(self, error: BaseException) -> None:
        """The run has failed: everybody is stopped at the next turn."""
        if self._failure is None:
            self._failure = error

    def refuse_stopped(self) -> None:
        """Raises:
        Stopped: the run has failed.
        """
        if self._failure is not None:
            raise Stopped
