"""store/probe.py: what the conformance probe alone may do. The contract of the stores covers the race; real servers, versions and checksums."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from seedcorn.errors import StoreError
from seedcorn.store.local import LocalStore
from seedcorn.store.probe import Probeable, RemoteProbeable


def test_which_stores_can_be_probed(tmp_path: Path, s3: Any) -> None:
    assert isinstance(LocalStore(tmp_path), Probeable)
    assert not isinstance(LocalStore(tmp_path), RemoteProbeable)
    assert isinstance(s3.store(), RemoteProbeable)


def test_a_directory_is_overwritten_by_who_may_write(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("doctor/1/a", b"first")
    store.overwrite("doctor/1/a", b"second")
    assert store.get("doctor/1/a") == b"second"
    assert [path.name for path in (tmp_path / "doctor" / "1").iterdir()] == ["a"]


def test_a_folder_is_cleared_of_folders_only(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for key in ("doctor/1/a/b/c", "doctor/1/d", "doctor/2/kept"):
        store.put(key, b"")
    store.delete(["doctor/1/a/b/c"])
    store.clear_folder("doctor/1/")
    assert store.get("doctor/1/d") == b""
    store.delete(["doctor/1/d"])
    store.clear_folder("doctor/1/")
    assert [path.name for path in (tmp_path / "doctor").iterdir()] == ["2"]
    store.clear_folder("doctor/never/")
    store.clear_folder("never/was/")


def test_no_link_is_followed_while_clearing(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "1" / "empty").mkdir(parents=True)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "doctor").symlink_to(outside)
    LocalStore(tmp_path / "store").clear_folder("doctor/1/")
    assert (outside / "1" / "empty").is_dir()


def test_conditions_that_the_store_does_not_know_are_not_its_own_refusal(s3: Any, error_reply: Any) -> None:
    store = s3.store()
    assert store.refuses_by_itself
    s3.rules.append(lambda asked: error_reply(501, "NotImplemented") if "if-none-match" in asked.headers else None)
    store.put("doctor/1/a", b"first")
    assert not store.refuses_by_itself


def test_an_overwrite_carries_no_condition_and_a_put_with_a_checksum_does(s3: Any) -> None:
    store = s3.store()
    store.overwrite("a", b"first")
    store.overwrite("a", b"second")
    assert s3.objects["a"] == b"second"
    assert store.takes_checksum("b", memoryview(b"data"), b"other")
    assert ["if-none-match" in asked.headers for asked in s3.asked if asked.method == "PUT"] == [False, False, True]
    assert s3.asked[-1].headers["content-md5"] == base64.b64encode(hashlib.md5(b"other").digest()).decode()


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (409, "OperationAborted"), (404, "NoSuchBucket")])
def test_a_put_that_is_refused_for_another_reason_tells_nothing_of_checksums(status: int, code: str, s3: Any, error_reply: Any) -> None:
    s3.rules.append(lambda asked: error_reply(status, code))
    with pytest.raises(StoreError):
        s3.store().takes_checksum("b", b"data", b"other")


def test_a_mismatch_is_told(s3: Any, error_reply: Any) -> None:
    s3.rules.append(lambda asked: error_reply(400, "BadDigest"))
    assert s3.store().takes_checksum("b", b"data", b"other") is False
