"""A machine that backs up with ``--force`` and collects with the same state: what one listing lacked is no garbage to it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path

from tests.collections.garden import NOW, noise, open_garden
from tests.collections.test_listed_twice import as_they_are, list_noise

from seedcorn.format.pack import PackKind
from seedcorn.ops.backup.run import BackupOptions
from seedcorn.store.api import ObjectInfo, Store
from seedcorn.store.wrappers import WrappedStore


class LacksPacks(WrappedStore):
    """Listings lack these keys."""

    def __init__(self, inner: Store, keys: Collection[str]) -> None:
        super().__init__(inner)
        self._keys = keys

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        return (info for info in super().list(prefix, after=after) if info.key not in self._keys)


def test_a_pack_that_one_listing_lacked(tmp_path: Path) -> None:
    """A thief has listed noise under the names of its frames, so nothing seems to be missing without it."""
    with open_garden() as garden:
        garden.back_up({"a": noise(1)})
        for missed in garden.keys("packs"):
            before = dict(garden.store.objects)
            list_noise(garden, (PackKind.DATA, PackKind.LISTING), as_they_are)
            with closing(garden.repository.machine_again(LacksPacks(garden.store, {missed}))) as host:
                host.backup(tmp_path, options=BackupOptions(host.host_file.name, force=True))
                garden.prune(NOW, state=host.state)
            garden.assert_whole()
            garden.store.objects.clear()
            garden.store.objects.update(before)
