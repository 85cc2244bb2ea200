"""``seedcorn host``: the machines that may back up."""

from __future__ import annotations

from seedcorn.cli.invocation import Invocation
from seedcorn.cli.options import declare_dry_run
from seedcorn.cli.output import shown
from seedcorn.cli.parser import Command, Group, Parser
from seedcorn.cli.render_json import SHORT_ID_DIGITS, time_text
from seedcorn.cli.render_text import count_text, local_time, table
from seedcorn.errors import EXIT_DONE


def _declare_add(parser: Parser) -> None:
    parser.word("name", "NAME", "What to call the machine.")
    parser.required_option("--out", metavar="FILE", help="Write its host file here, then bring it to the machine.")
    parser.option("--domain", metavar="D|new", help="Its deduplication domain, a number as in `host list`. Usually the one that all hosts are in.")


def add(invocation: Invocation) -> int:
    """Enrol another machine."""
    from seedcorn.events import SystemClock
    from seedcorn.jobs.host_files import enroll_to_file

    options = invocation.options
    name, path = options.name, invocation.path(options.out)
    host_file = enroll_to_file(invocation.owner().repository, name, path, SystemClock(), domain=options.domain)
    domain = host_file.key.secrets.domain
    invocation.output.emit("summary", host=name, host_id=host_file.key.host.hex(), domain=domain, host_file=str(path))
    invocation.output.report(
        f"Enrolled {shown(name)} in domain {domain}. Bring {shown(str(path))} to it over a safe way, and run there:  seedcorn host install FILE"
    )
    _tell_of_new_domain(invocation)
    return EXIT_DONE


def _tell_of_new_domain(invocation: Invocation) -> None:
    from seedcorn.ops.domains import NEW_DOMAIN

    if invocation.options.domain == NEW_DOMAIN:
        invocation.output.report(
            "The domain is new: `prune` refuses maintain files from before. If there are any, make new ones:  seedcorn key export-maintain --out FILE"
        )


def _declare_move(parser: Parser) -> None:
    _declare_name(parser)
    parser.required_option("--domain", metavar="D|new", help="The deduplication domain to move it to, a number as in `host list`.")
    parser.required_option("--out", metavar="FILE", help="Write its new host file here, then bring it to the machine.")


def move(invocation: Invocation) -> int:
    """Move a machine to another deduplication domain, with a new host file.

    What it has backed up stays and can be read; the next backup stores everything anew. In the domain that it is in already it only gets the file.
    """
    from seedcorn.events import SystemClock
    from seedcorn.jobs.host_files import move_to_file

    options = invocation.options
    path = invocation.path(options.out)
    host_file = move_to_file(invocation.owner().repository, options.name, path, SystemClock(), domain=options.domain)
    domain = host_file.key.secrets.domain
    invocation.output.emit("summary", host=host_file.name, host_id=host_file.key.host.hex(), domain=domain, host_file=str(path))
    invocation.output.report(
        f"Moved {shown(host_file.name)} to domain {domain}. Its old host file is refused from now on: bring {shown(str(path))} to it over a safe "
        "way, and run there:  seedcorn host install FILE\n"
        "Unless it was in that domain before, its next backup stores everything anew, as nothing of another domain is reused. Older snapshots stay "
        "readable."
    )
    _tell_of_new_domain(invocation)
    return EXIT_DONE


def _declare_install(parser: Parser) -> None:
    parser.word("file", "FILE", "A host file, made by `seedcorn host add` or `seedcorn host move`.")


def install(invocation: Invocation) -> int:
    """Let this machine back up, with a host file that the owner has made for it."""
    from seedcorn.jobs.host_files import install_host_file

    source = invocation.path(invocation.options.file)
    host_file, path = install_host_file(source, invocation.environment, invocation.options.host_file)
    output = invocation.output
    key = host_file.key
    output.emit(
        "summary", host=host_file.name, host_id=key.host.hex(), domain=key.secrets.domain, repository=key.repository.hex(), host_file=str(path)
    )
    output.report(f"This machine is {shown(host_file.name)} now. Delete {shown(str(source))}, then:  seedcorn backup -r {shown(host_file.url)} /etc")
    return EXIT_DONE


def list_hosts(invocation: Invocation) -> int:
    """Show the enrolled machines. Needs the passphrase: their names are sealed."""
    from seedcorn.ops import access

    output, session = invocation.output, invocation.owner()
    rows = []
    for host, newest in access.list_hosts(session.repository, session.state):
        since = host.public.created_ns
        state = "revoked" if host.revoked else "enrolled"
        output.emit("host", id=host.host.hex(), name=host.name, revoked=host.revoked, domain=host.domain, snapshots=newest, recorded=time_text(since))
        rows.append([host.host.hex()[:SHORT_ID_DIGITS], shown(host.name), state, str(host.domain), local_time(since), str(newest)])
    for line in table(["ID", "Name", "State", " Domain", "Since", " Snapshots"], rows):
        output.line(line)
    return EXIT_DONE


def _declare_name(parser: Parser) -> None:
    parser.word("name", "NAME", "Its name, or the beginning of its id; see `host list`.")


def _declare_revoke(parser: Parser) -> None:
    _declare_name(parser)
    parser.option("--last-seq", metavar="N", type=int, help="Count its snapshots up to this number, 0 for none. [the newest good one]")
    declare_dry_run(parser)


def revoke(invocation: Invocation) -> int:
    """Accept nothing more from a machine. What it has backed up stays.

    A thief of its host file signs as the machine does: name the last snapshot from before that with --last-seq. What comes later counts for nothing,
    and `prune` deletes what only that needs.
    """
    from seedcorn.ops.revoke import plan_revocation
    from seedcorn.ops.revoke import revoke as carry_out

    session, options, output = invocation.owner(), invocation.options, invocation.output
    plan = plan_revocation(session.repository, session.state, options.name, last_seq=options.last_seq)
    for key in plan.left_out:
        output.report(f"counts for nothing: {key}")
    for doubt in plan.doubts:
        output.warn(doubt)
    if not options.dry_run:
        carry_out(session.repository, plan, session.clock)
    output.emit(
        "summary",
        host=plan.host.name,
        host_id=plan.host.host.hex(),
        last_seq=plan.last_seq,
        kept=plan.kept,
        left_out=list(plan.left_out),
        doubts=list(plan.doubts),
        dry_run=options.dry_run,
    )
    name = shown(plan.host.name)
    kept = f"{count_text(plan.kept, 'snapshot')} of {name} up to number {plan.last_seq}"
    if options.dry_run:
        output.report(f"Would {'ask for --last-seq' if plan.doubts else f'revoke {name} and keep {kept}'}")
    else:
        output.report(f"Revoked {name}; what stays is {kept}. Take its credential away at the store, too: only that keeps it from writing there.")
    return EXIT_DONE


def policy(invocation: Invocation) -> int:
    """Print the IAM policy for the credential of a machine, for a repository on S3."""
    import json

    from seedcorn.jobs.environment import bucket_of
    from seedcorn.ops import access

    bucket, prefix = bucket_of(invocation.place)
    rules = access.host_policy(access.find_host(invocation.owner().repository, invocation.options.name), bucket, prefix)
    invocation.output.emit("policy", policy=rules)
    invocation.output.line(json.dumps(rules, indent=2))
    return EXIT_DONE


COMMAND = Group.of(
    "Manage machines that may back up.",
    {
        "add": Command(add, _declare_add, "seedcorn host add web --out web.json\nseedcorn host add customer --domain new --out customer.json"),
        "install": Command(install, _declare_install, "seedcorn host install web.json\nshred -u web.json"),
        "list": Command(list_hosts, examples="seedcorn host list\nseedcorn host list --json"),
        "move": Command(move, _declare_move, "seedcorn host move web --domain new --out web.json\nseedcorn host move db --domain 1 --out db.json"),
        "revoke": Command(revoke, _declare_revoke, "seedcorn host revoke web\nseedcorn host revoke web --last-seq 41 -n"),
        "policy": Command(policy, _declare_name, "seedcorn host policy web -r s3://bucket/prefix > web-policy.json\nseedcorn host policy 41d0"),
    },
)
