"""From a snapshot to a directory: planned by frames, fetched and verified, written."""
