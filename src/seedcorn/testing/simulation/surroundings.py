"""Takes luck out of production code: what it would get from the machine comes from a seed instead.

Owns the substitutes, which are only these:

- random bytes come from the seeded generator;
- HPKE, whose library draws randomness of its own, is replaced by a double with the same lengths that opens and fails as the real one does;
- names that are hashes are drawn in the order in which bytes are first hashed. The same bytes still have the same name and others another, but it
  does not depend on the change times and inode numbers of files, which the kernel chooses and listings contain;
- the threads that fetch ahead in a restore or a copy are the caller's own;
- frames and packs are full with a few KiB, so that small sources have several, and packs come to be needed in part.

For speed alone, results of dear functions that depend on nothing but their arguments are kept from run to run, and LMDB's pages stay mapped.
Everything else runs as it is. One run at a time in a process.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, TypeVar
from unittest.mock import patch

from seedcorn.crypto import primitives
from seedcorn.crypto.words import words_to_seed
from seedcorn.errors import IntegrityError
from seedcorn.ops import access
from seedcorn.ops.copy import copy
from seedcorn.ops.restore import crew as restore_crew
from seedcorn.repo.content import packer, writer
from seedcorn.repo.rewriting import regrouping, repacking
from seedcorn.repo.state import database

__all__ = ["seeded"]

_T = TypeVar("_T")
_ENCAPSULATION_BYTES = 1120
_FRAME_BYTES = 2 << 10
_PACK_BYTES = 16 << 10


@contextmanager
def seeded(chosen: random.Random) -> Iterator[None]:
    """Production code in here does the same whenever ``chosen`` begins in the same state."""
    doubles = _Doubles(chosen)
    with (
        patch.object(primitives, "os", SimpleNamespace(urandom=chosen.randbytes)),
        patch.object(primitives, "hpke_seal", doubles.hpke_seal),
        patch.object(primitives, "hpke_open", doubles.hpke_open),
        patch.object(primitives, "object_hash", doubles.object_hash),
        patch.object(restore_crew, "ThreadPoolExecutor", _CallersThread),
        patch.object(copy, "ThreadPoolExecutor", _CallersThread),
        patch.object(primitives, "verify", _verify),
        patch.object(primitives, "kem_public_key", _kem_public_key),
        patch.object(access, "words_to_seed", _words_to_seed),
        patch.object(database, "FileMapping", _NoMapping),
        patch.object(writer, "FRAME_TARGET_BYTES", _FRAME_BYTES),
        patch.object(packer, "PACK_TARGET_BYTES", _PACK_BYTES),
        patch.object(regrouping, "FRAME_TARGET_BYTES", _FRAME_BYTES),
        patch.object(repacking, "PACK_TARGET_BYTES", _PACK_BYTES),
    ):
        yield


class _Doubles:
    """What stands in for functions of ``crypto.primitives``."""

    def __init__(self, chosen: random.Random) -> None:
        self._random = chosen
        self._names: dict[bytes, bytes] = {}
        self._real_hash = primitives.object_hash

    def object_hash(self, data: primitives.Buffer, *, max_threads: int = 1) -> bytes:
        digest = self._real_hash(data, max_threads=max_threads)
        name = self._names.get(digest)
        if name is None:
            name = self._names[digest] = self._random.randbytes(primitives.HASH_BYTES)
        return name

    def hpke_seal(self, public_key: bytes, info: bytes, plaintext: bytes) -> bytes:
        encapsulation = self._random.randbytes(_ENCAPSULATION_BYTES)
        sealed = bytearray(len(plaintext) + primitives.TAG_BYTES)
        primitives.seal_once(self._key(public_key, encapsulation), plaintext, info, sealed)
        return encapsulation + sealed

    def hpke_open(self, private_key: bytes, info: bytes, sealed: bytes) -> bytes:
        key = self._key(_kem_public_key(private_key), sealed[:_ENCAPSULATION_BYTES])
        plaintext = bytearray(max(len(sealed) - _ENCAPSULATION_BYTES - primitives.TAG_BYTES, 0))
        try:
            primitives.open_once(key, sealed[_ENCAPSULATION_BYTES:], info, plaintext)
        except (IntegrityError, ValueError) as error:
            raise IntegrityError("its sealed part fails authentication") from error
        return bytes(plaintext)

    def _key(self, public_key: bytes, encapsulation: bytes) -> bytes:
        return primitives.keyed_hash(self._real_hash(public_key), encapsulation, primitives.KEY_BYTES)


_kem_public_key = lru_cache(maxsize=64)(primitives.kem_public_key)
_words_to_seed = lru_cache(maxsize=16)(words_to_seed)
_verify_bytes = lru_cache(maxsize=4096)(primitives.verify)


def _verify(public_key: bytes, signature: bytes, message: primitives.Buffer) -> None:
    _verify_bytes(public_key, bytes(signature), bytes(message))


class _NoMapping:
    def __init__(self, path: Path) -> None:
        pass

    def release(self) -> None:
        pass


class _CallersThread:
    """An executor that does the work when it is handed in."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, work: Callable[..., _T], *arguments: Any) -> Future[_T]:
        future: Future[_T] = Future()
        try:
            future.set_result(work(*arguments))
        except Exception as error:  # noqa: BLE001  # whoever takes the result gets it; a crash goes straight through
            future.set_exception(error)
        return future

    def shutdown(self, *, wait: bool = True, cancel_futures: bool = False) -> None:
        pass
