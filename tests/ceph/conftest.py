"""The cluster that these tests share."""

from seedcorn.testing.fixtures import ceph, fresh_store

__all__ = ["ceph", "fresh_store"]
