"""What every store must do, as a class of tests. A store is conformant when these pass on it; there is no other definition.

Inherit from ``StoreContract`` in a class whose name begins with ``Test`` and give it a fixture ``store``: a new, empty store. Written for pytest. The
object sizes and counts are class attributes, for stores that take a second for each request.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest

from seedcorn.errors import ObjectExistsError, ObjectNotFoundError, StoreError
from seedcorn.store.api import Store
from seedcorn.store.probe import race

__all__ = ["BasicStoreContract", "CreateOnlyContract", "KeyOrderContract", "StoreContract", "patterned"]

_HOUR_NS = 3600 * 10**9


def patterned(size_bytes: int) -> bytes:
    """Bytes that differ from place to place, so that a range from the wrong place is seen."""
    block = b"".join(number.to_bytes(4, "big") for number in range(16384))
    return (block * (size_bytes // len(block) + 1))[:size_bytes]


class BasicStoreContract:
    """What holds on every store, also on those that enforce nothing."""

    large_bytes: ClassVar[int] = 40 << 20
    many_keys: ClassVar[int] = 1005
    writers: ClassVar[int] = 8  # threads that fill the store with many keys

    def test_a_put_object_is_read_back_whole(self, store: Store) -> None:
        store.put("packs/ab/one", b"content")
        assert store.get("packs/ab/one") == b"content"

    def test_what_is_read_is_bytes(self, store: Store) -> None:
        store.put("one", b"content")
        assert type(store.get("one")) is bytes
        assert type(store.get_range("one", 0, 3)) is bytes

    def test_an_empty_object_is_an_object(self, store: Store) -> None:
        store.put("empty", b"")
        assert store.get("empty") == b""
        assert store.head("empty").size_bytes == 0
        assert [info.key for info in store.list("")] == ["empty"]

    @pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda data: memoryview(bytearray(data))[3:]])
    def test_every_kind_of_buffer_can_be_put(self, store: Store, wrap: Callable[[bytes], bytes]) -> None:
        data = wrap(patterned(5000))
        store.put("buffer", data)
        assert store.get("buffer") == bytes(data)

    def test_a_buffer_is_free_when_put_returns(self, store: Store) -> None:
        buffer = bytearray(b"before")
        store.put("buffer", buffer)
        buffer[:] = b"after!"
        assert store.get("buffer") == b"before"

    def test_a_large_object_survives(self, store: Store) -> None:
        data = patterned(self.large_bytes)
        store.put("large", data)
        assert store.get("large") == data
        assert store.get_range("large", self.large_bytes - 10, 10) == data[-10:]

    def test_a_range_is_exact(self, store: Store) -> None:
        data = patterned(100_000)
        store.put("ranged", data)
        for start, length in [(0, 1), (0, 100_000), (70_000, 4_321), (99_999, 1)]:
            assert store.get_range("ranged", start, length) == data[start : start + length]

    @pytest.mark.parametrize(("start", "length"), [(5, 6), (10, 1), (400, 3), (-1, 2), (0, 0), (2, -1)])
    def test_a_range_that_is_not_there_is_an_error(self, store: Store, start: int, length: int) -> None:
        store.put("ranged", b"0123456789")
        with pytest.raises(StoreError) as raised:
            store.get_range("ranged", start, length)
        assert not isinstance(raised.value, ObjectNotFoundError)

    def test_head_tells_size_and_time(self, store: Store) -> None:
        store.put("one", b"content")
        info = store.head("one")
        (listed,) = store.list("")
        assert (info.key, info.size_bytes) == ("one", 7)
        assert abs(info.modified_ns - listed.modified_ns) < 2 * 10**9  # a second is the resolution of an HTTP date
        assert listed.size_bytes == 7

    def test_later_objects_have_later_times(self, store: Store) -> None:
        store.put("one", b"1")
        store.put("two", b"2")
        first, second = (store.head(key).modified_ns for key in ("one", "two"))
        assert first <= second < first + _HOUR_NS

    def test_a_missing_object_is_not_found_by_any_verb(self, store: Store) -> None:
        for read in (store.get, store.head, lambda key: store.get_range(key, 0, 1)):
            with pytest.raises(ObjectNotFoundError) as raised:
                read("packs/none")
            assert raised.value.key == "packs/none"

    def test_an_empty_store_lists_nothing(self, store: Store) -> None:
        assert list(store.list("")) == []
        assert list(store.list("packs/")) == []

    def test_a_listing_is_in_key_order(self, store: Store) -> None:
        keys = ["seedcorn.json", "packs/1f/b", "packs/1e/c", "packs/1f/a", "index/1f/0002-aa", "index/1f/0010-00", "snapshots/1", "hosts/1e/000001"]
        for key in keys:
            store.put(key, key.encode())
        assert [info.key for info in store.list("")] == sorted(keys)
        assert [info.key for info in store.list("packs/")] == ["packs/1e/c", "packs/1f/a", "packs/1f/b"]
        assert [info.key for info in store.list("packs/1f/")] == ["packs/1f/a", "packs/1f/b"]

    def test_a_folder_is_not_a_prefix_of_its_name(self, store: Store) -> None:
        store.put("host/1", b"")
        store.put("hosts/1", b"")
        assert [info.key for info in store.list("host/")] == ["host/1"]

    def test_a_listing_begins_after_any_key(self, store: Store) -> None:
        keys = sorted(["a/1", "a/2/x", "a/2/y", "a/3", "b/1", "c"])
        for key in keys:
            store.put(key, b"")
        for after in [*keys, "a", "a/2", "a/2/", "a/2/xx", "a/20", "a/19", "0", "z"]:
            assert [info.key for info in store.list("", after=after)] == [key for key in keys if key > after], after
            assert [info.key for info in store.list("a/", after=after)] == [key for key in keys if key > after and key.startswith("a/")], after

    def test_a_listing_of_many_pages_is_complete_and_counted(self, store: Store) -> None:
        keys = [f"index/{number:06}" for number in range(self.many_keys)]
        with ThreadPoolExecutor(self.writers) as pool:
            list(pool.map(lambda key: store.put(key, b"x"), keys))
        before = store.requests.list
        assert [info.key for info in store.list("index/")] == keys
        assert 1 <= store.requests.list - before <= -(-self.many_keys // 1000)
        assert [info.key for info in store.list("index/", after=keys[-3])] == keys[-2:]
        store.delete(keys)
        assert list(store.list("")) == []

    def test_a_listing_can_be_left_early(self, store: Store) -> None:
        for number in range(5):
            store.put(f"folder/{number}", b"")
        listing = store.list("folder/")
        assert next(listing).key == "folder/0"
        del listing
        assert len(list(store.list("folder/"))) == 5

    def test_delete_removes_and_may_be_repeated(self, store: Store) -> None:
        store.put("folder/one", b"1")
        store.put("folder/two", b"2")
        store.put("kept", b"3")
        store.delete(["folder/one", "folder/never-was", "folder/two"])
        store.delete(["folder/one"])
        store.delete([])
        assert [info.key for info in store.list("")] == ["kept"]
        store.put("folder/one", b"new")
        assert store.get("folder/one") == b"new"

    def test_putting_the_same_bytes_again_succeeds(self, store: Store) -> None:
        store.put("snapshots/1", b"same")
        store.put("snapshots/1", bytearray(b"same"))
        assert store.get("snapshots/1") == b"same"

    @pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", ".", "a/.hidden", "A", "a b", "a\n", "ä", "a\0b", "x" * 500, "-a"])
    def test_a_malformed_key_is_refused_before_any_request(self, store: Store, key: str) -> None:
        before = store.requests.total
        for use in (lambda: store.put(key, b""), lambda: store.get(key), lambda: store.head(key), lambda: store.get_range(key, 0, 1)):
            with pytest.raises(StoreError):
                use()
        with pytest.raises(StoreError):
            store.delete(["good", key])
        assert store.requests.total == before

    @pytest.mark.parametrize("prefix", ["pac", "/", "packs//", "../", "packs/../", "Packs/", "packs /"])
    def test_what_is_not_a_folder_can_not_be_listed(self, store: Store, prefix: str) -> None:
        before = store.requests.total
        with pytest.raises(StoreError):
            list(store.list(prefix))
        assert store.requests.total == before

    def test_requests_and_bytes_are_counted(self, store: Store) -> None:
        store.put("counted", b"12345")
        before = store.requests.put, store.requests.put_bytes, store.requests.get, store.requests.get_bytes, store.requests.head
        store.put("counted-too", b"1234567")
        store.get("counted")
        store.head("counted")
        after = store.requests.put, store.requests.put_bytes, store.requests.get, store.requests.get_bytes, store.requests.head
        assert [new - old for new, old in zip(after, before, strict=True)] == [1, 7, 1, 5, 1]

    def test_threads_may_share_a_store(self, store: Store) -> None:
        def round_trip(number: int) -> bool:
            data = patterned(1000 + number)
            store.put(f"shared/{number}", data)
            return store.get(f"shared/{number}") == data

        before = store.requests.put
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(round_trip, range(64)))
        assert store.requests.put - before == 64

    def test_a_key_beside_a_folder_of_its_name_is_kept_or_refused(self, store: Store) -> None:
        """Directories can not hold both; the format never needs it. Either way nothing is lost."""
        store.put("a", b"object")
        try:
            store.put("a/b", b"below")
        except StoreError:
            assert [info.key for info in store.list("")] == ["a"]
        else:
            assert store.get("a/b") == b"below"
        assert store.get("a") == b"object"

    def test_the_url_is_shown(self, store: Store) -> None:
        assert store.url


class KeyOrderContract:
    """The order of names of which one goes on with a ``-`` or ``.`` where the other ends: by bytes, these come before the slash.

    The format has no such neighbours, and SeaweedFS sorts them by folder.
    """

    def test_a_listing_is_in_key_order_across_folders(self, store: Store) -> None:
        keys = ["a-b/x", "a.b", "a/b/c", "a/b-c", "a/b.d", "a0", "b", "a/b0", "a/c/d/e"]
        for key in keys:
            store.put(key, key.encode())
        assert [info.key for info in store.list("")] == sorted(keys)
        assert [info.key for info in store.list("a/")] == sorted(key for key in keys if key.startswith("a/"))
        assert [info.key for info in store.list("a/b/")] == ["a/b/c"]

    def test_a_listing_begins_after_a_name_between_folders(self, store: Store) -> None:
        store.put("a/1", b"")
        store.put("b", b"")
        assert [info.key for info in store.list("", after="a-z")] == ["a/1", "b"]


class CreateOnlyContract:
    """What holds on stores that enforce create-only puts."""

    races: ClassVar[int] = 3

    def test_other_bytes_under_a_taken_key_are_refused(self, store: Store) -> None:
        store.put("snapshots/1", b"first")
        for other in (b"other", b"longer than the first", b""):
            with pytest.raises(ObjectExistsError) as raised:
                store.put("snapshots/1", other)
            assert raised.value.key == "snapshots/1"
        assert store.get("snapshots/1") == b"first"

    def test_a_race_of_sixteen_has_one_winner(self, store: Store) -> None:
        for number in range(self.races):
            winners = race(store, f"snapshots/race-{number}")
            assert len(winners) == 1
            assert store.get(f"snapshots/race-{number}") == winners[0]

    def test_a_race_with_the_same_bytes_has_only_winners(self, store: Store) -> None:
        assert len(race(store, "packs/race", same_bytes=True)) == 16


class StoreContract(BasicStoreContract, KeyOrderContract, CreateOnlyContract):
    """Everything that a store of ours promises."""
