"""``seedcorn host``: the machines that may back up."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from seedcorn.cli.invocation import Invocation
from seedcorn.cli.options import add_command, add_common_options, new_app
from seedcorn.cli.output import shown
from seedcorn.cli.render_json import SHORT_ID_DIGITS, time_text
from seedcorn.cli.render_text import local_time, table
from seedcorn.errors import EXIT_DONE
from seedcorn.events import SystemClock
from seedcorn.jobs.environment import bucket_of
from seedcorn.jobs.host_files import enroll_to_file, install_host_file
from seedcorn.ops import access

app = new_app("Manage machines that may back up.")
add_common_options(app)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name, or the beginning of its id; see `host list`.")]


@add_command(app)
def add(
    invocation: Invocation,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call the machine.")],
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="Write its host file here, then bring it to the machine.")],
) -> int:
    """Enrol another machine."""
    path = invocation.path(out)
    host_file = enroll_to_file(invocation.owner().repository, name, path, SystemClock())
    invocation.output.emit("summary", host=name, host_id=host_file.key.host.hex(), host_file=str(path))
    invocation.output.line(f"Enrolled {shown(name)}. Bring {shown(str(path))} to it over a safe way, and run there:  seedcorn host install FILE")
    return EXIT_DONE


@add_command(app)
def install(invocation: Invocation, file: Annotated[str, typer.Argument(metavar="FILE", help="A host file, made by `seedcorn host add`.")]) -> int:
    """Let this machine back up, with a host file that the owner has made for it."""
    source = invocation.path(file)
    host_file, path = install_host_file(source, invocation.environment, invocation.options.host_file)
    output = invocation.output
    output.emit("summary", host=host_file.name, host_id=host_file.key.host.hex(), repository=host_file.key.repository.hex(), host_file=str(path))
    output.line(f"This machine is {shown(host_file.name)} now. Delete {shown(str(source))}, then:  seedcorn backup -r {shown(host_file.url)} /etc")
    return EXIT_DONE


@add_command(app, "list")
def list_hosts(invocation: Invocation) -> int:
    """Show the enrolled machines. Needs the passphrase: their names are sealed."""
    output = invocation.output
    rows = []
    for host, newest in access.list_hosts(invocation.owner().repository):
        since = host.public.created_ns
        output.emit("host", id=host.host.hex(), name=host.name, revoked=host.revoked, snapshots=newest, recorded=time_text(since))
        rows.append([host.host.hex()[:SHORT_ID_DIGITS], shown(host.name), "revoked" if host.revoked else "enrolled", local_time(since), str(newest)])
    for line in table(["ID", "Name", "State", "Since", " Snapshots"], rows):
        output.line(line)
    return EXIT_DONE


@add_command(app)
def revoke(invocation: Invocation, name: Name) -> int:
    """Accept nothing more from a machine. What it has backed up stays."""
    host = access.revoke(invocation.owner().repository, name, SystemClock())
    invocation.output.emit("summary", host=host.name, host_id=host.host.hex())
    invocation.output.line(f"Revoked {shown(host.name)}. Take its credential away at the store, too: only that keeps it from writing there.")
    return EXIT_DONE


@add_command(app)
def policy(invocation: Invocation, name: Name) -> int:
    """Print the IAM policy for the credential of a machine, for a repository on S3."""
    bucket, prefix = bucket_of(invocation.place)
    rules = access.host_policy(access.find_host(invocation.owner().repository, name), bucket, prefix)
    invocation.output.emit("policy", policy=rules)
    invocation.output.line(json.dumps(rules, indent=2))
    return EXIT_DONE
