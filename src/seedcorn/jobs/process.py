"""This process as the operating system sees it: no core dumps, enough descriptors, an allocator that keeps large buffers.

Best effort throughout: a system that refuses or lacks one of these still makes good backups.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from contextlib import suppress

__all__ = ["prepare_process"]

DESCRIPTORS_LIMIT = 65536
_PR_SET_DUMPABLE = 4
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8  # of mallopt(3)
_MIB = 1 << 20


def prepare_process() -> None:
    """Call once, before any secret is read and any large buffer is made."""
    _forbid_core_dumps()
    _raise_descriptor_limit()
    _keep_large_buffers()


def _forbid_core_dumps() -> None:
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # neither a debugger of the same user nor a pipe in core_pattern


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_LIMIT if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_LIMIT)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _keep_large_buffers() -> None:
    """Otherwise glibc gives every buffer of a megabyte or more back to the system and faults it in again: measured 0.3 ms for each MiB."""
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):  # AttributeError: a C library without mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 256 * _MIB)
        mallopt(_M_TRIM_THRESHOLD, 512 * _MIB)
        mallopt(_M_TOP_PAD, 64 * _MIB)
        mallopt(_M_ARENA_MAX, 1)  # one heap for all threads, which allocate little and in large pieces: 9 MB less in a first backup
