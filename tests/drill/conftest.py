"""The servers on which the drill is run."""

from seedcorn.testing.fixtures import ministack, seaweedfs

__all__ = ["ministack", "seaweedfs"]
