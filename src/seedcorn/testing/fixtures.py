"""Real servers as pytest fixtures, started once a session when a test first asks for one.

Load it with ``pytest_plugins = ["seedcorn.testing.fixtures"]`` in the top conftest. Under xdist each worker has its own servers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Protocol

import pytest

from seedcorn.store.address import open_store
from seedcorn.store.api import Store
from seedcorn.store.options import StoreOptions
from seedcorn.testing.ceph import CephCluster
from seedcorn.testing.servers import Azurite, Ministack, RcloneServe, S3Server, SeaweedFS
from seedcorn.testing.swift import Swift

__all__ = ["FreshStore", "azurite", "ceph", "fresh_store", "ministack", "rclone_serve", "seaweedfs", "swift"]


class FreshStore(Protocol):
    """The fixture ``fresh_store``."""

    def __call__(self, server: S3Server | Azurite, options: StoreOptions = ...) -> Store: ...


_BUCKET = "seedcorn-tests"
_DEFAULTS = StoreOptions()
_numbers = itertools.count()


@pytest.fixture(scope="session")
def ministack() -> Iterator[Ministack]:
    """A light S3 that enforces create-only puts."""
    with Ministack() as server:
        yield server


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[SeaweedFS]:
    """A real engine with durable data."""
    with SeaweedFS() as server:
        yield server


@pytest.fixture(scope="session")
def rclone_serve() -> Iterator[RcloneServe]:
    """An S3 that ignores conditions and ranges."""
    with RcloneServe() as server:
        yield server


@pytest.fixture(scope="session")
def swift() -> Iterator[Swift]:
    """An S3 whose create-only puts race."""
    with Swift() as server:
        yield server


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """An Azure blob store."""
    with Azurite() as server:
        yield server


@pytest.fixture(scope="session")
def ceph() -> Iterator[CephCluster]:
    """A cluster of three OSDs."""
    with CephCluster(osds=3) as server:
        yield server


@pytest.fixture
def fresh_store() -> Iterator[FreshStore]:
    """Opens a new, empty prefix on a running server; closed after the test."""
    with ExitStack() as stack:

        def open_fresh(server: S3Server | Azurite, options: StoreOptions = _DEFAULTS) -> Store:
            server.make_bucket(_BUCKET)  # one for all: to some servers a bucket is a costly thing
            address = server.address(_BUCKET, f"test/{next(_numbers)}")
            store = open_store(address, credentials=server.credentials, options=options)
            stack.callback(store.close)
            return store

        yield open_fresh
