"""What hosts do in a world: back up, and go on with another host file. Production code, each backup in a process of its own.

Owns these jobs. What a backup reports as done is a promise from then on.
"""

from __future__ import annotations

import os

from seedcorn.events import VoidMonitor
from seedcorn.ops import access
from seedcorn.ops.backup.backup import BackupOptions, BackupResult, backup
from seedcorn.repo.content.packer import PackerOptions
from seedcorn.repo.content.writer import WriterOptions
from seedcorn.testing.simulation.machines import Host
from seedcorn.testing.simulation.process import Purpose
from seedcorn.testing.simulation.scheduler import Actor
from seedcorn.testing.simulation.world import World

__all__ = ["WRITER", "back_up", "move"]

WRITER = WriterOptions(PackerOptions(workers=0, connections=1), checkpoint_packs=1)


def back_up(world: World, actor: Actor, host: Host) -> BackupResult:
    """Back up a host's files."""
    tree = dict(host.source.tree)
    with world.process(actor, host.state, Purpose("backup", writes=True)) as connection:
        process = world.processes[actor.name]
        repository = access.open_host(connection, host.host_file)
        options = BackupOptions(host.name, writer=WRITER)
        result = backup(repository, host.state.opened, [os.fsencode(host.source.folder)], options, actor.clock, VoidMonitor())
        world.promise(host, result, tree, process)
    return result


def move(world: World, actor: Actor, host: Host) -> None:
    """The owner moves a host to the other dedup domain and brings it its new file, whatever it is doing meanwhile. None of that fails."""
    domain = 1 - host.host_file.key.secrets.domain
    host.host_file = access.move(world.owner(world.store.contents), host.name, actor.clock, domain=str(domain))
    world.outcomes["move: done"] += 1
