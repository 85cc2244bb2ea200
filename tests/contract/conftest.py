"""The servers that the conformance suite runs against."""

from seedcorn.testing.fixtures import azurite, fresh_store, ministack, rclone_serve, seaweedfs, swift

__all__ = ["azurite", "fresh_store", "ministack", "rclone_serve", "seaweedfs", "swift"]
