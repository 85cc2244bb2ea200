"""The whole of it on a real S3 server, with credentials from the environment."""

from __future__ import annotations

import json
import os
import uuid

from seedcorn.testing.machine import Machine
from seedcorn.testing.servers import Ministack


def test_a_repository_on_s3(empty_machine: Machine, ministack: Ministack) -> None:
    machine = empty_machine
    machine.secret.touch(mode=0o600)
    machine.secret.write_text("something long")
    ministack.make_bucket("command-line")
    prefix = uuid.uuid4().hex
    machine.variables.update(ministack.credentials | {"AWS_ENDPOINT_URL": ministack.endpoint, "SEEDCORN_REPOSITORY": f"s3://command-line/{prefix}"})
    reading = ("--passphrase-file", machine.secret)

    made = machine.run("init", *reading, "--recovery-file", "words", "--host", "here")
    assert made.code == 0, made.err
    stored = machine.run("backup", "source", "--json")
    assert stored.code == 0, stored.err
    assert stored.lines[-1]["requests"]["put"] <= 5
    assert machine.run("check", "--read-data", *reading).code == 0
    assert machine.run("restore", f"latest:{machine.source}", "-t", "out", *reading, "--connections", "2").code == 0
    assert (machine.folder / "out" / "file").read_bytes() == b"content"

    policy = machine.run("host", "policy", "here", *reading)
    assert policy.code == 0, policy.err
    statements = json.loads(policy.out)["Statement"]
    assert f"arn:aws:s3:::command-line/{prefix}/seedcorn.json" in str(statements)
    assert "s3:Delete" not in policy.out

    elsewhere = machine.run("backup", "source", "-r", f"s3:{ministack.endpoint}/command-line/elsewhere")
    assert elsewhere.code == 10
    assert "seedcorn init" in elsewhere.err


def test_one_small_file_costs_four_gets(empty_machine: Machine, ministack: Ministack) -> None:
    """Header, key slot, listings and content, in a tree whose listings fill several frames."""
    machine = empty_machine
    machine.secret.touch(mode=0o600)
    machine.secret.write_text("something long")
    ministack.make_bucket("one-file")
    machine.variables.update(
        ministack.credentials | {"AWS_ENDPOINT_URL": ministack.endpoint, "SEEDCORN_REPOSITORY": f"s3://one-file/{uuid.uuid4().hex}"}
    )
    reading = ("--passphrase-file", machine.secret)
    for number in range(12_000):
        folder = machine.source / f"{number % 3}" / f"{number % 40}" / "deep"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:05}-{'long name' * 20}").write_text(f"{number}")
    (machine.source / "1" / "31" / "deep" / "wanted").write_bytes(os.urandom(5_000))
    assert machine.run("init", *reading, "--recovery-file", "words", "--host", "here").code == 0
    assert machine.run("backup", "source").code == 0
    listed = machine.run("ls", "-R", "latest", "--json", *reading)
    assert len(listed.lines) > 12_000

    wanted = f"{machine.source}/1/31/deep/wanted"
    for number, what in enumerate([(f"latest:{wanted}",), ("latest", "-i", wanted)]):
        restored = machine.run("restore", *what, "-t", f"out-{number}", "--json", *reading)
        assert restored.code == 0, restored.err
        summary = restored.lines[-1]
        assert summary["files"] == 1
        assert summary["requests"] == {"put": 0, "get": 4, "list": 8, "head": 0, "delete": 0}
    assert (machine.folder / "out-0" / "wanted").read_bytes() == (machine.source / "1" / "31" / "deep" / "wanted").read_bytes()
