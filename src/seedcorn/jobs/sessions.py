"""What every opened repository has, as a front end holds it: store, local state and clock belong to the session.

``host_session`` is a host that writes, ``owner_session`` an owner who reads; neither loads the other. What they return comes from ops.
"""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self

from seedcorn.events import Clock
from seedcorn.ops import access

__all__ = ["Session"]


class Session:
    """A context manager: closes what it was given, last first."""

    def __init__(self, store: access.Store, state: access.State, clock: Clock) -> None:
        self.state = state
        self.clock = clock
        self._resources = ExitStack()
        self._resources.callback(store.close)
        self._resources.callback(state.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give back connections and the state's files. The session is of no use afterwards."""
        self._resources.close()
