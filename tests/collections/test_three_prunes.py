"""Three prunes at once: one is about to delete what another has just copied, and a third takes the copy, which nothing lists yet, for garbage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event

from tests.collections.garden import noise, open_garden
from tests.collections.interrupted import AfterPutStore, BeforePutStore, Crash, crash

from seedcorn.store.api import Buffer, ObjectInfo, Store
from seedcorn.store.wrappers import WrappedStore

TIMEOUT_SECONDS = 60


class Pause:
    """Where a process stands still until it is told to go on."""

    def __init__(self) -> None:
        self.reached, self._go_on = Event(), Event()

    def stand(self) -> None:
        if not self.reached.is_set():
            self.reached.set()
            assert self._go_on.wait(TIMEOUT_SECONDS)

    def wait(self) -> None:
        assert self.reached.wait(TIMEOUT_SECONDS)

    def go_on(self) -> None:
        self._go_on.set()


class SlowStore(WrappedStore):
    """Stands still before its first sweep, and then before it lists the index."""

    def __init__(self, inner: Store, sweep: Pause, index: Pause) -> None:
        super().__init__(inner)
        self._sweep, self._index = sweep, index
        self._swept = False

    def put(self, key: str, data: Buffer) -> None:
        if key.endswith(".sweep"):
            self._sweep.stand()
            self._swept = True
        super().put(key, data)

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        if self._swept and prefix.startswith("index/"):
            self._index.stand()
        return super().list(prefix, after=after)


class BeforeDeleteStore(WrappedStore):
    """Before the first packs are deleted, ``work`` is done."""

    def __init__(self, inner: Store, work: Callable[[], object]) -> None:
        super().__init__(inner)
        self._work = work

    def delete(self, keys: Sequence[str]) -> None:
        if any(key.startswith("packs/") for key in keys):
            self._work()
        super().delete(keys)


def test_a_copy_that_is_listed_while_it_is_swept() -> None:
    with open_garden() as garden, ThreadPoolExecutor(2) as pool:
        big = garden.back_up({"a": noise(1, 3_000_000), "b": noise(2, 2_000_000)})
        small = garden.back_up({"b": noise(2, 2_000_000)})
        files = garden.expected[small]
        garden.back_up({"c": noise(3)})
        garden.forget(big, small)
        sweep, index, deletion = Pause(), Pause(), Pause()
        first = pool.submit(garden.prune, store=SlowStore(garden.store, sweep, index), state=garden.state())
        sweep.wait()  # nothing needs the pack
        garden.undelete(small, files)
        garden.prune(state=garden.state())  # takes away the mark
        assert not [key for key in garden.keys("gc") if key.endswith(".mark")]
        third = []

        def go_on() -> None:
            sweep.go_on()
            index.wait()
            third.append(pool.submit(garden.prune, store=BeforeDeleteStore(garden.store, deletion.stand), state=garden.state()))
            deletion.wait()

        second = BeforePutStore(AfterPutStore(garden.store, "index/", crash), "index/", go_on)
        with suppress(Crash):
            garden.prune(store=second, state=garden.state())
        assert third
        index.go_on()
        first.result(TIMEOUT_SECONDS)
        deletion.go_on()
        third[0].result(TIMEOUT_SECONDS)
        garden.assert_whole()
