"""Objects in S3, Google Cloud Storage or Azure, through obstore.

Owns the requests: create-only puts and what to do when the answer was lost or the store knows no conditions, listings, ranges, bulk deletes. Never
overwrites where the store can prevent it. How long to wait for each is ``cloud_clients``', what an answer means ``cloud_errors``'. Knows nothing of
the environment and nothing of what the bytes mean.

Two traps of the library that callers must know:
- a call returns only when its request is done, and Ctrl-C is not seen before: put and get from worker threads;
- its own threads do not survive ``fork``: open stores in the process that uses them (``spawn``), never before a fork.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError

from seedcorn.errors import AccessDeniedError, ObjectExistsError, ObjectNotFoundError, StoreError, StoreUnavailableError
from seedcorn.store.api import Buffer, ObjectInfo, Requests, check_folder, check_key, check_range, check_size, is_key
from seedcorn.store.cloud_clients import Client, CloudClients, Load
from seedcorn.store.cloud_errors import Answer
from seedcorn.store.meter import RequestMeter
from seedcorn.store.options import StoreOptions
from seedcorn.store.providers import CloudSettings

if TYPE_CHECKING:
    from obstore import ObjectMeta

__all__ = ["CloudStore"]

_PAGE_KEYS = 1000  # what S3 and Google list in a page, and what S3 deletes in one request
_KEY_CHARACTERS = "-.0123456789_abcdefghijklmnopqrstuvwxyz"  # in the order of their bytes
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 15.0
_CONFLICT_TRIES = 6
_MD5 = re.compile(r"[0-9a-f]{32}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LIBRARY_ERRORS = (BaseError, OSError, ValueError)  # FileNotFoundError for 404; ValueError for what it can not even send


class CloudStore:
    """A prefix in a bucket. Use ``address.open_store`` to make one."""

    def __init__(self, url: str, settings: CloudSettings, options: StoreOptions) -> None:
        self._url = url
        self._place = settings.place
        self._may_end_early = settings.provider == "s3"  # of the others there is one implementation each
        self._patience_seconds = options.retry_timeout_seconds
        self._clients = CloudClients(settings, options)
        self._meter = RequestMeter()
        # What the store turned out to be; each changes once at most.
        self._has_answered = False
        self._conditions_tried = False
        self._has_met_condition = False  # then it is not overwritten any more, whatever it says later
        self._bulk_delete_tried = False
        self._knows_conditions = True
        self._knows_ranges = True
        self._knows_bulk_delete = True

    @property
    def url(self) -> str:
        return self._url

    @property
    def requests(self) -> Requests:
        return self._meter.requests

    def put(self, key: str, data: Buffer) -> None:
        """As the protocol says. A store that has answered before and is away for a while is waited for: the library itself repeats a create-only put
        only as long as no byte of it may have arrived; here ``_holds`` makes it safe to go on after that."""
        check_size(check_key(key), memoryview(data).nbytes)
        give_up = time.monotonic() + self._patience_seconds
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                self._put_once(key, data)
                return
            except StoreUnavailableError as error:
                if not self._has_answered or not _is_unanswered(error) or time.monotonic() + pause > give_up:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _put_once(self, key: str, data: Buffer) -> None:
        for attempt in range(_CONFLICT_TRIES):
            if self._create(key, data):
                return
            held = self._holds(key, data)
            if held:
                return
            if held is not None:
                raise ObjectExistsError(f"{self._place} already holds other bytes under this key", key=key)
            time.sleep(0.1 * 2**attempt)  # another put of this key was under way and has failed since
        raise StoreUnavailableError(f"{self._place} reports a conflict for this key and holds no such object: try again later", key=key)

    def get(self, key: str) -> bytes:
        with self._clear_errors(check_key(key)):
            result = obstore.get(self._client(Load.DOWN), key)
            check_size(key, result.meta["size"])
            data = result.bytes().to_bytes()
        self._meter.get(len(data))
        return data

    def get_range(self, key: str, start: int, length: int) -> bytes:
        check_range(key, start, length)
        if self._knows_ranges:
            try:
                data = obstore.get_range(self._client(Load.DOWN), key, start=start, length=length).to_bytes()
            except _LIBRARY_ERRORS as error:
                answer = Answer.of(error)
                if not answer.is_range_ignored:
                    raise answer.as_store_error(self._place, key) from error
                self._knows_ranges = False  # from now on whole objects are fetched and cut here
            else:
                self._has_answered = True
                self._meter.get(len(data))
        if not self._knows_ranges:
            data = self.get(key)[start : start + length]
        if len(data) != length:
            raise StoreError(f"the object ends before byte {start + length}", key=key)
        return data

    def head(self, key: str) -> ObjectInfo:
        check_key(key)
        self._meter.head()
        with self._clear_errors(key):
            return _info(obstore.head(self._client(), key))

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        check_folder(prefix)
        last = after
        for meta in self._pages(prefix, after):
            info = _info(meta)
            if info.key <= after:  # asked for from a little before; and some (Azurite) take the start as a hint only
                continue
            if not (info.key.startswith(prefix) and is_key(info.key)):  # a console's own objects for folders look like ``packs`` here
                continue
            if info.key <= last:
                raise StoreError(f"{self._place} lists keys out of order, as a directory bucket does: use an ordinary bucket", key=info.key)
            last = info.key
            yield info

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            check_key(key)
        for first in range(0, len(keys), _PAGE_KEYS):
            self._delete_some(keys[first : first + _PAGE_KEYS])

    def close(self) -> None:
        self._clients.close()

    @property
    def refuses_by_itself(self) -> bool:
        """For ``store.probe`` alone, as are the methods that follow."""
        return self._knows_conditions

    def overwrite(self, key: str, data: Buffer) -> None:
        size_bytes = memoryview(data).nbytes
        self._meter.put(size_bytes)
        try:
            obstore.put(self._client(Load.of_put(size_bytes)), check_key(key), data, mode="overwrite", use_multipart=False)
        except _LIBRARY_ERRORS as error:
            raise self._put_error(Answer.of(error), key) from error

    def clear_folder(self, prefix: str) -> None:
        pass

    def takes_checksum(self, key: str, data: Buffer, of: bytes) -> bool:
        digest = base64.b64encode(hashlib.md5(of, usedforsecurity=False).digest()).decode()
        client = self._clients.with_headers({"content-md5": digest})
        self._meter.put(memoryview(data).nbytes)
        try:
            obstore.put(client, check_key(key), data, mode="create" if self._knows_conditions else "overwrite", use_multipart=False)
        except _LIBRARY_ERRORS as error:
            if (answer := Answer.of(error)).status == 400:
                return False
            raise self._put_error(answer, key) from error
        return True

    def version_of(self, key: str) -> str | None:
        self._meter.head()
        with self._clear_errors(check_key(key)):
            return obstore.head(self._client(), key)["version"]

    def get_version(self, key: str, version: str) -> bytes:
        with self._clear_errors(check_key(key)):
            data = obstore.get(self._client(), key, options={"version": version}).bytes().to_bytes()
        self._meter.get(len(data))
        return data

    def _create(self, key: str, data: Buffer) -> bool:
        """One create-only put; False if the store says that the key is taken."""
        if not self._knows_conditions:
            return self._create_after_looking(key, data)
        size_bytes, probing = memoryview(data).nbytes, not self._conditions_tried
        try:
            self._meter.put(size_bytes)
            obstore.put(self._client(Load.of_put(size_bytes), probing=probing), key, data, mode="create", use_multipart=False)
        except AlreadyExistsError:
            self._has_answered = self._conditions_tried = self._has_met_condition = True
            return False
        except _LIBRARY_ERRORS as error:
            answer = Answer.of(error)
            if answer.is_not_supported and not self._has_met_condition:
                self._knows_conditions = False
            elif not (probing and self._has_answered and answer.may_pass):
                raise self._put_error(answer, key) from error
        else:
            self._has_answered = self._conditions_tried = self._has_met_condition = True
            return True
        self._conditions_tried = True
        return self._create(key, data)

    def _create_after_looking(self, key: str, data: Buffer) -> bool:
        """The next best on a store that knows no conditions. Leaves a gap between looking and writing."""
        if self._exists(key):
            return False
        self.overwrite(key, data)
        return True

    def _put_error(self, answer: Answer, key: str) -> StoreError:
        error = answer.as_store_error(self._place, key)
        if isinstance(error, ObjectNotFoundError):  # of a put: what is missing is the bucket
            return StoreError(f"there is no {self._place}: create it, or correct the name", key=key)
        return error

    def _exists(self, key: str) -> bool:
        try:
            self.head(key)
        except ObjectNotFoundError:
            return False
        except AccessDeniedError:
            return self._listed(key) is not None
        return True

    def _holds(self, key: str, data: Buffer) -> bool | None:
        """Whether the object under ``key`` has these bytes; None if there is no object.

        The retry of a put whose first answer was lost meets its own object, so this must be asked before anything is called a conflict.
        """
        try:
            with self._clear_errors(key):
                result = obstore.get(self._client(Load.DOWN), key)
                if result.meta["size"] != memoryview(data).nbytes:
                    self._meter.get(0)
                    return False
                held = result.bytes()
                self._meter.get(len(held))
                return memoryview(held) == memoryview(data).cast("B")
        except ObjectNotFoundError:
            return None
        except AccessDeniedError:
            return self._holds_by_tag(key, data)

    def _holds_by_tag(self, key: str, data: Buffer) -> bool | None:
        """The same for a host that may list but not read: by size and entity tag, which is an MD5 where the store does not encrypt by itself.

        Enough against a lost answer; nobody else may write under a host's keys.
        """
        try:
            meta = self._listed(key)
        except AccessDeniedError as error:
            raise AccessDeniedError(f"{self._place} holds an object under this key that may neither be read nor listed", key=key) from error
        if meta is None:
            return None
        if meta["size"] != memoryview(data).nbytes:
            return False
        tag = (meta["e_tag"] or "").strip('"')
        if not _MD5.fullmatch(tag):
            raise AccessDeniedError(f"{self._place} holds an object under this key that may not be read and so not be compared", key=key)
        return tag == hashlib.md5(data, usedforsecurity=False).hexdigest()

    def _listed(self, key: str) -> ObjectMeta | None:
        """An object as a listing shows it; None if there is none."""
        following = (meta for meta in self._pages(key[: key.rfind("/") + 1], key[:-1]) if meta["path"] >= key)
        meta = next(following, None)
        return meta if meta is not None and meta["path"] == key else None

    def _pages(self, prefix: str, after: str) -> Iterator[ObjectMeta]:
        """The library's listing; after a full page at its end, what follows that.

        The library takes an S3 page that names no next one for the last, and an answer that is no listing for an empty one. So a store that knows the
        first version of the request only, or a proxy with an opinion, would end a listing quietly.
        """
        start, before = _just_before(after), ""
        while True:
            count, last = 0, ""
            for meta in self._pages_from(prefix, start):
                count, last = count + 1, meta["path"]
                if last > before:
                    yield meta
            if not self._may_end_early or not count or count % _PAGE_KEYS:
                return
            if last <= before:
                raise StoreError(f"{self._place} lists the first {count} keys of a folder over and over: use another kind of store", key=prefix)
            start = before = last

    def _pages_from(self, prefix: str, start: str | None) -> Iterator[ObjectMeta]:
        """One listing of the library. A page is counted for each full thousand of keys, which is what S3 and Google charge."""
        with self._clear_errors(prefix):
            pages = obstore.list(self._client(), prefix or None, offset=start, chunk_size=_PAGE_KEYS)
        self._meter.list()
        full = False
        while True:
            with self._clear_errors(prefix):
                page = next(pages, None)
            if page is None:
                return
            if full:
                self._meter.list()
            full = len(page) == _PAGE_KEYS
            yield from page

    def _delete_some(self, keys: Sequence[str]) -> None:
        if self._knows_bulk_delete and len(keys) > 1:
            probing = not self._bulk_delete_tried
            self._bulk_delete_tried = True
            try:
                self._meter.delete()
                obstore.delete(self._client(probing=probing), list(keys))
                return
            except _LIBRARY_ERRORS as error:
                answer = Answer.of(error)
                if answer.is_not_supported:
                    self._knows_bulk_delete = False
                # Azure and Google call a missing object a failure of the whole request. One by one, each is told for itself.
                elif not (isinstance(error, FileNotFoundError) or answer.is_about_one_of_many or (probing and answer.may_pass)):
                    raise answer.as_store_error(self._place, keys[0]) from error
        for key in keys:
            self._delete_one(key)

    def _delete_one(self, key: str) -> None:
        self._meter.delete()
        with suppress(ObjectNotFoundError), self._clear_errors(key):
            obstore.delete(self._client(bulk_delete=False), key)

    def _client(self, load: Load = Load.SMALL, *, probing: bool = False, bulk_delete: bool = True) -> Client:
        """What makes a request that carries so much."""
        return self._clients.take(load, first=probing or not self._has_answered, bulk_delete=bulk_delete)

    @contextmanager
    def _clear_errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except _LIBRARY_ERRORS as error:
            answer = Answer.of(error)
            self._has_answered = self._has_answered or answer.status != 0
            raise answer.as_store_error(self._place, key) from error
        self._has_answered = True


def _is_unanswered(error: StoreUnavailableError) -> bool:
    """Whether the connection failed. What was answered with a failure has been repeated by the library as often as that makes sense."""
    cause = error.__cause__
    return isinstance(cause, _LIBRARY_ERRORS) and Answer.of(cause).status == 0


def _just_before(key: str) -> str | None:
    """A start for a listing that is to show everything after ``key``; None for the beginning.

    SeaweedFS, asked for what follows a key that is the name of a folder, leaves the folder out. So listings start at a smaller name.
    """
    place = _KEY_CHARACTERS.find(key.rstrip("/")[-1:])
    return key.rstrip("/")[:-1] + _KEY_CHARACTERS[place - 1] + _KEY_CHARACTERS[-1] if place > 0 else None


def _info(meta: ObjectMeta) -> ObjectInfo:
    microseconds = (meta["last_modified"] - _EPOCH) // timedelta(microseconds=1)
    return ObjectInfo(meta["path"], meta["size"], microseconds * 1000)
