"""``init``, ``backup``, ``restore``: there and back again by the real program."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from seedcorn.testing.machine import Machine
from seedcorn.testing.tree_state import describe, differences

BLOCK = [
    "StartTime", "EndTime", "ElapsedTime", "SourceFiles", "SourceFileSize", "NewFiles", "NewFileSize", "DeletedFiles", "ChangedFiles",
    "ChangedFileSize", "ChangedDeltaSize", "DeltaEntries", "RawDeltaSize", "TotalDestinationSizeChange", "Errors",
]  # fmt: skip


def stored_source(machine: Machine) -> str:
    path: str = machine.owner("snapshots", "latest", "--json").lines[0]["paths"][0]
    return path


def same(one: Path, other: Path) -> bool:
    return not differences(describe(one), describe(other))


def test_init_backup_restore_without_a_question(empty_machine: Machine) -> None:
    machine = empty_machine
    machine.secret.write_text("something long\n")
    machine.secret.chmod(0o600)
    words = machine.folder / "words"
    made = machine.owner("init", "--recovery-file", words)
    assert made.code == 0, made.err
    assert made.err == ""
    assert stat.S_IMODE(words.stat().st_mode) == 0o600
    assert len(words.read_text().split()) == 24
    assert words.read_text().splitlines()[0] not in made.out
    (host_file,) = machine.host_files
    assert stat.S_IMODE(host_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(host_file.parent.stat().st_mode) == 0o700

    assert machine.back_up("source").code == 0
    restored = machine.owner("restore", f"latest:{machine.source}", "--target", "out")
    assert restored.code == 0, restored.err
    assert same(machine.source, machine.folder / "out")

    again = machine.owner("init", "--recovery-file", machine.folder / "more-words")
    assert again.code == 2
    assert "already" in again.err
    assert not (machine.folder / "more-words").exists()


def test_init_prints_the_words_if_there_is_no_file_for_them(empty_machine: Machine) -> None:
    made = empty_machine.run("init", "-r", "repository", "--json", SEEDCORN_PASSPHRASE="a word")
    assert made.code == 0, made.err
    assert "SEEDCORN_PASSPHRASE_FILE is safer" in made.err
    (summary,) = made.of_type("summary")
    assert len(summary["recovery_words"]) == 24
    new = ("--new-passphrase-file", made_secret(empty_machine))
    recovered = empty_machine.run("key", "recover", "-r", "repository", *new, typed=" ".join(summary["recovery_words"]))
    assert recovered.code == 0, recovered.err
    assert empty_machine.owner("snapshots").code == 0


def made_secret(machine: Machine) -> Path:
    machine.secret.touch(mode=0o600)
    machine.secret.write_text("a new one")
    return machine.secret


@pytest.mark.parametrize("variable", ["SEEDCORN_CONFIG_DIR", "SEEDCORN_HOST_FILE"])
def test_no_repository_is_made_whose_host_file_can_not_be_written(variable: str, empty_machine: Machine) -> None:
    empty_machine.secret.touch(mode=0o600)
    empty_machine.secret.write_text("something\n")
    words = empty_machine.folder / "words"
    impossible = {variable: str(empty_machine.source / "file" / "below")}
    refused = empty_machine.owner("init", "--recovery-file", words, **impossible)
    assert refused.code == 1 and "can not be written" in refused.err
    assert not words.exists() and not [path for path in empty_machine.repository.rglob("*") if path.is_file()]
    assert empty_machine.owner("init", "--recovery-file", words).code == 0
    assert empty_machine.back_up("source").code == 0


def test_init_refuses_before_it_does_anything(empty_machine: Machine) -> None:
    machine = empty_machine
    missing = machine.owner("init", "--recovery-file", machine.folder / "words")
    assert missing.code == 2
    assert "umask 077" in missing.err  # what to do
    machine.secret.touch(mode=0o600)
    assert machine.owner("init", "--recovery-file", machine.folder / "words").code == 12  # empty
    machine.secret.write_text("something")
    taken = machine.folder / "taken"
    taken.write_text("older words")
    assert machine.owner("init", "--recovery-file", taken).code == 2
    assert machine.owner("init", "--host-file", taken).code == 2
    assert taken.read_text() == "older words"
    assert not machine.repository.exists()


def test_the_statistics_block(machine: Machine) -> None:
    (machine.source / "new").write_bytes(b"x" * 2048)
    finished = machine.back_up("source")
    lines = finished.out.splitlines()
    assert lines[0] == "--------------[ Backup Statistics ]--------------"
    assert [line.split()[0] for line in lines[1:16]] == BLOCK
    assert lines[16] == "-" * len(lines[0])
    assert re.fullmatch(r"StartTime \d+\.\d\d \(\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\)", lines[1])
    assert "NewFileSize 10061 (9.83 KB)" in lines  # another machine's source: all of it is new
    assert re.search(r"^Snapshot +[0-9a-f]{64}$", finished.out, re.MULTILINE)
    assert machine.back_up("source", "-q").out == ""


def test_backup_as_json(machine: Machine) -> None:
    finished = machine.back_up("source", "--json", "--tag", "a", "--tag", "b", "-H", "elsewhere")
    *before, summary = finished.lines
    assert {line["message_type"] for line in before} <= {"status"}
    assert summary["message_type"] == "summary"
    for name in BLOCK[3:]:
        assert isinstance(summary[re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()], int)
    assert summary["requests"]["put"] >= 3
    assert summary["requests"].keys() == {"put", "get", "head", "list", "delete"}
    assert summary["start_time"] <= summary["end_time"]
    assert summary["elapsed_seconds"] > 0
    (snapshot,) = machine.owner("snapshots", "latest", "--json").lines
    assert snapshot["id"] == summary["snapshot_id"]
    assert (snapshot["tags"], snapshot["host"]) == (["a", "b"], "elsewhere")


def test_a_source_that_can_not_be_read(machine: Machine) -> None:
    finished = machine.back_up("source", "no\nsuch")
    assert finished.code == 3
    assert f"seedcorn: error: {machine.folder}/no\\nsuch: No such file or directory\n" in finished.err
    assert "\nErrors 1\n" in finished.out
    finished = machine.back_up("source", "missing", "--json")
    assert finished.code == 3
    (error,) = finished.of_type("error")
    assert error["path"] == f"{machine.folder}/missing"
    assert finished.lines[-1]["errors"] == 1
    (snapshot,) = machine.owner("snapshots", "latest", "--json").lines
    assert not snapshot["complete"]
    assert machine.back_up("missing").code == 1  # then there is nothing to store


def test_a_dry_run_stores_nothing(machine: Machine) -> None:
    def files() -> list[Path]:
        return sorted(path for path in machine.repository.rglob("*") if path.is_file())

    (machine.source / "big").write_bytes(os.urandom(100_000))
    before = files()
    finished = machine.back_up("source", "-n", "--json")
    assert finished.code == 0
    assert finished.lines[-1]["snapshot_id"] is None
    assert finished.lines[-1]["total_destination_size_change"] > 100_000
    assert files() == before
    assert "would be" in machine.back_up("source", "--dry-run").out
    assert files() == before
    assert machine.back_up("source", "--json").lines[-1]["total_destination_size_change"] > 100_000  # the state was not led to believe otherwise


def test_standard_input(machine: Machine) -> None:
    dump = "insert into t values (1);\n" * 10_000
    finished = machine.run("backup", "-r", machine.repository, "--stdin", "--stdin-filename", "t.sql", typed=dump)
    assert finished.code == 0, finished.err
    assert machine.owner("restore", "latest:/t.sql", "-t", "out").code == 0
    assert (machine.folder / "out" / "t.sql").read_text() == dump


def test_excludes(machine: Machine) -> None:
    for name in ("a.tmp", "b.tmp", "keep", "cache/CACHEDIR.TAG", "cache/x"):
        path = machine.source / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
    (machine.folder / "patterns").write_text("# temporary\n*.tmp\n")
    assert machine.back_up("source", "--exclude-file", "patterns", "-e", "!b.tmp", "-e", "sub", "--exclude-caches", "-x", "-f").code == 0
    listed = machine.owner("ls", f"latest:{machine.source}", "-R").out
    assert "b.tmp" in listed
    assert "keep" in listed
    assert "a.tmp" not in listed
    assert "/sub" not in listed
    assert "cache/x" not in listed


def test_a_path_that_is_not_text(machine: Machine) -> None:
    name = os.fsdecode(b"caf\xe9")
    (machine.folder / name).mkdir()
    (machine.folder / name / "in").write_text("it")
    assert machine.back_up(name).code == 0
    (snapshot,) = machine.owner("snapshots", "latest", "--json").lines
    assert "paths_base64" in snapshot
    assert machine.owner("restore", f"latest:{machine.folder}/{name}", "-t", "out").code == 0
    assert (machine.folder / "out" / "in").read_text() == "it"


def test_an_earlier_snapshot(machine: Machine) -> None:
    source = stored_source(machine)
    assert machine.owner("restore", f"latest~1:{source}", "-t", "out", "-q").out == ""
    assert (machine.folder / "out" / "file").read_bytes() == b"content\n" * 1000
    older = machine.owner("snapshots", "latest~1", "--json").lines[0]["short_id"]
    assert machine.owner("restore", f"{older}:{source}/sub/other", "-t", "one").code == 0
    assert [path.name for path in (machine.folder / "one").iterdir()] == ["other"]
    assert machine.owner("restore", "latest~2").code == 2
    assert machine.owner("restore", f"latest:{source}/not-there").code == 2


def test_the_target_is_new_or_empty(machine: Machine) -> None:
    finished = machine.owner("restore", "latest", "--json")
    assert finished.code == 0
    target = Path(finished.lines[-1]["target"])
    assert target.parent == machine.folder
    assert re.fullmatch(r"seedcorn-restore-[0-9a-f]{12}", target.name)
    again = machine.owner("restore", "latest")
    assert again.code == 2
    assert "not empty" in again.err


def test_what_is_there_already(machine: Machine) -> None:
    source = stored_source(machine)
    target = machine.folder / "out"
    target.mkdir()
    (target / "file").write_text("mine")
    kept = machine.owner("restore", f"latest:{source}", "-t", target, "--overwrite", "never", "--json")
    assert kept.code == 0
    assert kept.lines[-1]["skipped"] == 1
    assert (target / "file").read_text() == "mine"
    assert machine.owner("restore", f"latest:{source}", "-t", target, "--overwrite", "always").code == 0
    assert (target / "file").read_bytes().endswith(b"and more")


def test_parts_and_dry_run(machine: Machine) -> None:
    source = stored_source(machine)
    dry = machine.owner("restore", f"latest:{source}", "-n", "-t", "out", "--json").lines[-1]
    assert dry["dry_run"]
    assert dry["entries"] > 3
    assert not (machine.folder / "out").exists()
    assert machine.owner("restore", f"latest:{source}", "-t", "out", "-i", "other", "--processes", "0").code == 0
    assert [path.name for path in (machine.folder / "out").rglob("*") if path.is_file()] == ["other"]
    assert machine.owner("restore", f"latest:{source}", "-t", "rest", "-e", "sub").code == 0
    assert not (machine.folder / "rest" / "sub").exists()


def test_damage_is_named_and_the_rest_comes_back(machine: Machine) -> None:
    (machine.source / "file").write_bytes(os.urandom(300_000))
    before = set(machine.repository.glob("packs/*/*"))
    assert machine.back_up("source").code == 0
    (pack,) = (path for path in set(machine.repository.glob("packs/*/*")) - before if path.stat().st_size > 200_000)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(data)
    finished = machine.owner("restore", f"latest:{machine.source}", "-t", "out", "--json")
    assert finished.code == 13
    assert any("file" in error["message"] for error in finished.of_type("error"))
    assert (machine.folder / "out" / "sub" / "other").read_bytes() == b"other"
    assert not (machine.folder / "out" / "file").exists()
    checked = machine.owner("check", "--read-data", "--json")
    assert checked.code == 13
    assert checked.lines[-1]["affected_count"] >= 1
    assert any(line["path"] == f"{machine.source}/file" for line in checked.of_type("affected"))


def test_a_rolled_back_store_is_reported_and_still_read(machine: Machine) -> None:
    assert machine.owner("snapshots").code == 0
    newest = max(machine.repository.glob("snapshots/*/*"))
    newest.unlink()
    for arguments in (("snapshots",), ("ls",), ("stats",), ("check",), ("restore", "latest", "-t", "out")):
        finished = machine.owner(*arguments)
        assert finished.code == 13, arguments
        assert "rolled back" in finished.err
        assert finished.out
    assert (machine.folder / "out").is_dir()


def test_status_lines_come_while_it_runs(machine: Machine) -> None:
    command = machine.command("backup", "-r", machine.repository, "--stdin", "--json")
    with subprocess.Popen(command, env=machine.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"x" * 100_000)
        process.stdin.flush()
        statuses = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.stdin.close()
        assert json.loads(process.stdout.read().splitlines()[-1])["message_type"] == "summary"
        assert process.wait(60) == 0
    assert [line["message_type"] for line in statuses] == ["status", "status"]
    assert statuses[-1]["source_bytes"] == 100_000
