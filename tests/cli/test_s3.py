"""The whole of it on a real S3 server, with credentials from the environment."""

from __future__ import annotations

import json
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
