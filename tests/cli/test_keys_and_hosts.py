"""``key``, ``host``, and every place that a passphrase can come from."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest

from seedcorn.testing.machine import PASSPHRASE, Machine


def test_key_list_needs_no_secret(machine: Machine) -> None:
    shown = machine.run("key", "list", "-r", machine.repository)
    assert shown.code == 0
    for expected in ("0: passphrase", "Label:      first passphrase", "KDF:        argon2id", "Memory:     64 KiB", "Time cost:  1", "Threads:    1"):
        assert expected in shown.out
    (slot,) = machine.run("key", "list", "-r", machine.repository, "--json").of_type("key")
    assert slot["kdf"]["memory_kib"] == 64


def test_add_and_remove_a_key(machine: Machine) -> None:
    new = machine.folder / "new"
    new.touch(mode=0o600)
    new.write_text("a second one\n")
    (first,) = machine.run("key", "list", "-r", machine.repository, "--json").of_type("key")
    last = machine.owner("key", "remove", first["id"])
    assert last.code == 2
    assert "last key slot" in last.err
    added = machine.owner("key", "add", "--new-passphrase-file", new, "--label", "deputy", "--json")
    assert added.code == 0, added.err
    labels = [slot["label"] for slot in machine.run("key", "list", "-r", machine.repository, "--json").of_type("key")]
    assert labels == ["first passphrase", "deputy"]
    assert machine.owner("key", "remove", first["id"][:8]).code == 0
    assert machine.owner("snapshots").code == 12
    assert machine.run("snapshots", "-r", machine.repository, "--passphrase-file", new).code == 0


def test_a_damaged_slot_from_the_first_alarm_to_its_end(machine: Machine) -> None:
    new = machine.folder / "new"
    new.touch(mode=0o600)
    new.write_text("a second one\n")
    assert machine.owner("key", "add", "--new-passphrase-file", new).code == 0
    first, *_ = (machine.repository / "keys").iterdir()
    first.chmod(0o600)
    first.write_bytes(first.read_bytes()[:-1] + b"?")
    listed = machine.run("key", "list", "-r", machine.repository, "--json")
    assert (listed.code, len(listed.of_type("key"))) == (13, 1)
    assert [error["object"] for error in listed.of_type("error")] == [f"keys/{first.name}"]
    good = next(file for file in (new, machine.secret) if machine.run("snapshots", "-r", machine.repository, "--passphrase-file", file).code == 0)
    checked = machine.run("check", "-r", machine.repository, "--passphrase-file", good)
    assert checked.code == 13 and f"`seedcorn key remove {first.name}`" in checked.err
    assert machine.run("key", "remove", first.name, "-r", machine.repository, "--passphrase-file", good).code == 0
    assert machine.run("check", "-r", machine.repository, "--passphrase-file", good).code == 0


def test_key_add_needs_a_new_passphrase(machine: Machine) -> None:
    finished = machine.owner("key", "add")
    assert finished.code == 12
    assert "--new-passphrase-file" in finished.err
    assert machine.owner("key", "add", "--new-passphrase-file", "missing").code == 2


def test_wrong_recovery_words(machine: Machine) -> None:
    words = machine.folder / "words"
    words.write_text("abandon " * 23 + "abandom")
    finished = machine.run("key", "recover", "-r", machine.repository, "--recovery-file", words, "--new-passphrase-file", machine.secret)
    assert finished.code == 12
    words.write_text("abandon " * 23 + "art")
    finished = machine.run("key", "recover", "-r", machine.repository, "--recovery-file", words, "--new-passphrase-file", machine.secret)
    assert finished.code == 12
    assert "another repository" in finished.err
    assert machine.run("key", "recover", "-r", machine.repository, "--recovery-file", "missing").code == 12


def test_a_second_host(machine: Machine, tmp_path: Path) -> None:
    added = machine.owner("host", "add", "web\x1b", "--out", machine.folder / "web.json")
    assert added.code == 2  # not a name
    assert not (machine.folder / "web.json").exists()
    assert machine.owner("host", "add", "web", "--out", machine.folder / "web.json").code == 0
    assert stat.S_IMODE((machine.folder / "web.json").stat().st_mode) == 0o600
    assert machine.owner("host", "add", "web2", "--out", machine.folder / "web.json").code == 2  # the file is kept
    assert machine.owner("host", "add", "web", "--out", machine.folder / "other.json").code == 2  # the name is taken

    web = Machine(tmp_path / "web")
    web.home.mkdir(parents=True)
    shutil.copy(machine.folder / "web.json", web.folder)
    not_yet = web.run("backup", "-r", machine.repository, machine.source)
    assert not_yet.code == 12
    assert "host install" in not_yet.err
    installed = web.run("host", "install", "web.json")
    assert installed.code == 0, installed.err
    (host_file,) = web.host_files
    assert stat.S_IMODE(host_file.stat().st_mode) == 0o600
    assert web.run("host", "install", "web.json").code == 0  # again: nothing changes
    assert web.run("backup", "-r", machine.repository, machine.source).code == 0
    assert [line["host"] for line in machine.owner("snapshots", "--json").lines] == ["here", "here", "web"]

    assert machine.owner("host", "revoke", "web").code == 0
    listed = machine.owner("host", "list", "--json").lines
    assert [(host["name"], host["revoked"], host["snapshots"]) for host in listed] == [("here", False, 2), ("web", True, 1)]
    refused = web.run("backup", "-r", machine.repository, machine.source)
    assert refused.code == 1
    assert "revoked" in refused.err
    assert machine.owner("host", "revoke", "nobody").code == 2


def test_a_damaged_host_file_by_what_the_messages_say(machine: Machine) -> None:
    (installed,) = machine.host_files
    installed.write_bytes(installed.read_bytes()[:100])
    damaged = machine.back_up("source")
    assert damaged.code == 12 and "`seedcorn host move NAME --domain D --out FILE`" in damaged.err
    taken = machine.owner("host", "add", "here", "--out", "new.json")
    assert taken.code == 2 and "`seedcorn host move here --domain 0 --out FILE`" in taken.err
    assert machine.owner("host", "move", "here", "--domain", "0", "--out", "new.json").code == 0
    in_the_way = machine.run("host", "install", "new.json")
    assert in_the_way.code == 2 and f"{installed} is in the way" in in_the_way.err
    installed.unlink()
    lost = machine.back_up("source")
    assert lost.code == 12 and "host move NAME" in lost.err and "host install" in lost.err
    assert machine.run("host", "install", "new.json").code == 0
    assert machine.back_up("source").code == 0


def test_domains(machine: Machine) -> None:
    for wrong in ("7", "other"):
        finished = machine.owner("host", "add", "web", "--out", "web.json", "--domain", wrong)
        assert finished.code == 2 and "--domain new" in finished.err
    added = machine.owner("host", "add", "web", "--out", "web.json", "--domain", "new", "--json")
    assert (added.code, added.of_type("summary")[0]["domain"]) == (0, 1)
    unsure = machine.owner("host", "add", "db", "--out", "db.json")
    assert unsure.code == 2 and "domains 0, 1" in unsure.err
    assert machine.owner("host", "move", "web", "--domain", "0", "--out", "web.json").code == 2  # the file is kept
    assert machine.owner("host", "move", "nobody", "--domain", "0", "--out", "moved.json").code == 2
    assert [(line["name"], line["domain"]) for line in machine.owner("host", "list", "--json").lines] == [("here", 0), ("web", 1)]
    for missing in (("--domain", "new"), ("--out", "moved.json")):
        assert machine.owner("host", "move", "here", *missing).code == 2
    assert not {"moved.json", "db.json"} & {path.name for path in machine.folder.iterdir()}

    moved = machine.owner("host", "move", "here", "--domain", "1", "--out", "moved.json")
    assert moved.code == 0 and "to domain 1" in moved.out and "export-maintain" not in moved.out  # which there was before
    assert stat.S_IMODE((machine.folder / "moved.json").stat().st_mode) == 0o600
    refused = machine.back_up("source")
    assert refused.code == 12 and "host install" in refused.err
    installed = machine.run("host", "install", "moved.json", "--json")
    assert installed.of_type("summary")[0]["domain"] == 1
    assert machine.back_up("source").code == 0

    assert machine.owner("host", "move", "here", "--domain", "1", "--out", "again.json").code == 0  # the file has been lost
    assert machine.back_up("source").code == 12
    assert machine.run("host", "install", "again.json").code == 0
    again = machine.back_up("source", "--json").of_type("summary")[0]
    assert (again["data_packs"], again["listing_packs"]) == (0, 0)
    assert machine.owner("check").code == 0


def test_quiet_is_quiet(machine: Machine) -> None:
    """What is done is not said; what can not be seen again (the words of a new repository) is still shown."""
    for arguments in (
        ("key", "add", "--new-passphrase-file", machine.secret),
        ("host", "add", "web", "--out", machine.folder / "web.json"),
        ("host", "move", "web", "--domain", "new", "--out", machine.folder / "moved.json"),
        ("host", "revoke", "web"),
    ):
        finished = machine.owner(*arguments, "-q")
        assert (finished.code, finished.out, finished.err) == (0, "", ""), arguments
    assert machine.run("host", "install", "web.json", "--host-file", "second.json", "-q").out == ""
    new = machine.run("init", "-q", "-r", "second", "--passphrase-file", machine.secret, "--host-file", "third.json")
    assert "Recovery words:" in new.out
    assert "Made repository" not in new.out


def test_a_machine_is_one_host(machine: Machine) -> None:
    assert machine.owner("host", "add", "web", "--out", machine.folder / "web.json").code == 0
    finished = machine.run("host", "install", "web.json")
    assert finished.code == 2
    assert "enrolled as here" in finished.err
    elsewhere = machine.run("host", "install", "web.json", "--host-file", machine.folder / "second.json")
    assert elsewhere.code == 0
    assert machine.back_up("source", SEEDCORN_HOST_FILE="second.json").code == 0
    assert machine.run("host", "install", machine.secret).code == 12


def test_a_policy_is_for_s3(machine: Machine) -> None:
    finished = machine.owner("host", "policy", "here")
    assert finished.code == 2
    assert "not on S3" in finished.err


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_host_file_that_others_can_read_is_refused(mode: int, machine: Machine) -> None:
    (host_file,) = machine.host_files
    host_file.chmod(mode)
    finished = machine.back_up("source")
    assert finished.code == 12
    assert "chmod 600" in finished.err


def test_a_host_file_of_another_repository(machine: Machine) -> None:
    other = Machine(machine.folder / "other")
    other.found()
    finished = machine.back_up("source", "--host-file", other.host_files[0])
    assert finished.code == 12
    assert "belongs to repository" in finished.err


def test_where_a_passphrase_comes_from(machine: Machine) -> None:
    credentials = machine.folder / "credentials"
    credentials.mkdir()
    shutil.copy(machine.secret, credentials / "seedcorn-passphrase")
    sources = (
        {"SEEDCORN_PASSPHRASE_FILE": str(machine.secret)},
        {"CREDENTIALS_DIRECTORY": str(credentials)},
        {"SEEDCORN_PASSPHRASE_COMMAND": f"cat '{machine.secret}'"},
        {"SEEDCORN_PASSPHRASE": PASSPHRASE},
    )
    for variables in sources:
        finished = machine.run("snapshots", "-r", machine.repository, **variables)
        assert finished.code == 0, variables
        assert ("is safer" in finished.err) == ("SEEDCORN_PASSPHRASE" in variables)
    assert machine.run("snapshots", "-r", machine.repository, "--passphrase-command", f"cat {machine.secret}").code == 0
    failing = machine.run("snapshots", "-r", machine.repository, "--passphrase-command", "false")
    assert failing.code == 12
    assert machine.run("snapshots", "-r", machine.repository, "--passphrase-command", "no-such-program").code == 12
    assert machine.run("snapshots", "-r", machine.repository, "--passphrase-file", "missing").code == 12


def test_a_passphrase_file_that_others_can_read_is_a_warning(machine: Machine) -> None:
    machine.secret.chmod(0o644)
    finished = machine.owner("snapshots")
    assert finished.code == 0
    assert "chmod 600" in finished.err


def test_a_backup_reads_no_passphrase(machine: Machine) -> None:
    finished = machine.back_up("source", SEEDCORN_PASSPHRASE_FILE="missing", SEEDCORN_PASSPHRASE_COMMAND="touch read")
    assert finished.code == 0
    assert not (machine.folder / "read").exists()


def test_the_host_file_holds_nothing_that_reads(machine: Machine) -> None:
    """What is in it is public, or signs, or makes ids: the words of the format, no more."""
    fields = json.loads(machine.host_files[0].read_text())
    assert fields.keys() == {
        "seedcorn_host", "repository", "host", "name", "url", "domain", "host_sign", "chunk_id", "listing_id", "cut", "index",
        "owner_sign", "read_kem", "maintain_kem", "maintain_sign",
    }  # fmt: skip
