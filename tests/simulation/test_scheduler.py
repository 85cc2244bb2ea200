"""One actor at a time, the same order for the same seed, and time that passes by itself."""

from __future__ import annotations

import random
import threading

import pytest

from seedcorn.testing.simulation.scheduler import Actor, Scheduler


def scheduler(seed: int = 1) -> Scheduler:
    return Scheduler(random.Random(seed), random.Random(0))


def order(seed: int) -> list[str]:
    """In which order three actors get their turns."""
    turns: list[str] = []
    run = scheduler(seed)

    def body(actor: Actor) -> None:
        for _ in range(5):
            run.pause(actor)
            turns.append(actor.name)

    for name in "abc":
        run.add(name, body)
    run.run()
    return turns


def test_the_seed_decides_the_order() -> None:
    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(10)}) > 5
    assert sorted(order(1)) == sorted("abc" * 5)


def test_only_one_runs_at_a_time() -> None:
    running, most = 0, 0
    run = scheduler()

    def body(actor: Actor) -> None:
        nonlocal running, most
        for _ in range(50):
            running += 1
            most = max(most, running)
            running -= 1
            run.pause(actor)

    for name in "abcd":
        run.add(name, body)
    run.run()
    assert most == 1


def test_sleep_takes_no_time_and_the_clocks_say_how_long_it_was() -> None:
    run = scheduler()
    woken: list[str] = []

    def body(actor: Actor) -> None:
        begun = actor.clock.elapsed_ns()
        actor.clock.sleep(86_400.0 * len(actor.name))
        assert actor.clock.elapsed_ns() - begun >= 86_400 * 10**9 * len(actor.name)
        woken.append(actor.name)

    for name in ("aaa", "a", "aa"):
        run.add(name, body)
    run.run()
    assert woken == ["a", "aa", "aaa"]


def test_other_wall_clocks_for_the_same_run() -> None:
    shown: list[int] = []
    for wall in range(20):
        run = Scheduler(random.Random(1), random.Random(wall))
        run.add("a", lambda actor: shown.append(actor.clock.now_ns()))
        run.run()
    assert len(set(shown)) > 3


def test_an_actor_that_fails_ends_the_run_for_all() -> None:
    run = scheduler()
    ended: list[str] = []

    def endless(actor: Actor) -> None:
        try:
            while True:
                run.pause(actor)
        finally:
            ended.append(actor.name)

    def failing(actor: Actor) -> None:
        run.pause(actor)
        raise ValueError("found it")

    run.add("endless", endless)
    run.add("failing", failing)
    threads = threading.active_count()
    with pytest.raises(ValueError, match="found it"):
        run.run()
    assert ended in (["endless"], [])
    assert threading.active_count() == threads


def test_a_call_from_a_helper_thread_is_refused() -> None:
    run = scheduler()
    refused: list[AssertionError] = []

    def body(actor: Actor) -> None:
        def helper() -> None:
            try:
                run.pause(actor)
            except AssertionError as error:
                refused.append(error)

        thread = threading.Thread(target=helper)
        thread.start()
        thread.join()

    run.add("a", body)
    run.run()
    assert len(refused) == 1
