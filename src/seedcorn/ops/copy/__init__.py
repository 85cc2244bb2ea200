"""Snapshots brought to another repository."""
