"""A machine is stolen: its host file, its local state, and access to every object of the store. What can be read with that? Nothing."""

from __future__ import annotations

import itertools
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.acceptance.program import Program
from tests.acceptance.theft import private_keys_of, sealed_to_the_owner, secrets_of, with_derived
from tests.acceptance.workshop import Workshop, open_workshop

from seedcorn.crypto import primitives
from seedcorn.crypto.frames import Sealer
from seedcorn.crypto.keys import OwnerKey, OwnerSeed
from seedcorn.crypto.words import seed_to_words
from seedcorn.errors import CredentialError, IntegrityError
from seedcorn.format.names import parse_numbered_key
from seedcorn.ops import access
from seedcorn.ops.access import HostFile
from seedcorn.ops.backup.recall import listing_key
from seedcorn.repo.bindings import frame_binding, slot_binding
from seedcorn.repo.hosts import load_registry
from seedcorn.repo.index import open_segment
from seedcorn.store.local import LocalStore
from seedcorn.testing.repositories import PASSPHRASE, make_tree

_GONE = "ledger-of-1893"  # a name, and content, that only the past knows
_TEXT = b"The harvest of the year 1893 was stored in the northern barn. "
_NOISE = random.Random(1893).randbytes(100_000)


@pytest.fixture
def stolen(folder: Path) -> Iterator[Workshop]:
    """A host that has backed up a directory, which was then deleted, and has backed up again."""
    with open_workshop(folder, LocalStore(folder / "repository"), settled=True) as workshop:
        make_tree(workshop.source, {f"{_GONE}/{_GONE}.txt": _TEXT * 500, f"{_GONE}/noise-1893": _NOISE, "kept": b"kept " * 1000})
        assert workshop.backup().result.exit_code == 0
        shutil.rmtree(workshop.source / _GONE)
        assert workshop.backup().result.exit_code == 0
        yield workshop


def _objects(workshop: Workshop) -> dict[str, bytes]:
    return {info.key: workshop.store.get(info.key) for info in workshop.store.list("")}


def _assert_closed(attempt: Callable[[], object]) -> None:
    with pytest.raises((IntegrityError, CredentialError)):
        attempt()


def test_it_still_backs_up(stolen: Workshop) -> None:
    data = stolen.machine.host_file.serialize()
    stolen.machine.host_file = HostFile.parse(data, source="the stolen file")
    make_tree(stolen.source, {"new": b"new"})
    assert stolen.backup().result.exit_code == 0
    assert stolen.restore().errors == []


def test_no_byte_of_content_and_no_name_lies_open(stolen: Workshop) -> None:
    host_file = stolen.machine.host_file.serialize()
    state_files = [path.read_bytes() for path in (stolen.folder / "states").rglob("*") if path.is_file()]
    assert state_files
    contents = (_TEXT[:24], _NOISE[:24], _NOISE[50_000:50_024], _NOISE[-24:], b"kept kept kept")
    for haystack in (host_file, *state_files, *_objects(stolen).values()):
        assert not any(needle in haystack for needle in contents)
    names = (_GONE, "noise-1893", "kept", "source", str(stolen.folder))
    assert not any(name.encode() in host_file for name in names[:-1]), "it knows where the repository is, and what it is called itself"
    for key, data in _objects(stolen).items():
        assert not any(name.encode() in data or name in key for name in (*names, stolen.machine.host_file.name))


def test_the_state_lists_nothing_that_is_gone_from_the_disk(stolen: Workshop) -> None:
    """It names what was on the disk at the last run, which the thief can see there; the listings of what was deleted are deleted."""
    state = stolen.machine.state
    top = os.fsencode(stolen.source)
    cache = state.listings(0)
    listing = cache.get(listing_key(top))
    assert listing is not None
    assert [node.name for node in cache.nodes(listing_key(top), listing)] == [b"kept"]
    assert cache.get(listing_key(top + b"/" + _GONE.encode())) is None


@pytest.mark.parametrize("replacement", ["a file", "a link", "nothing, and it was itself the path that is backed up"])
def test_listings_go_with_their_directories(workshop: Workshop, replacement: str) -> None:
    make_tree(workshop.source, {"kept": b"x", "directory/below/name": b"x"})
    directory = workshop.source / "directory"
    paths = [directory, workshop.source / "kept"] if "itself" in replacement else [workshop.source]
    workshop.backup(*paths)
    keys = [listing_key(os.fsencode(path)) for path in (directory, directory / "below")]
    assert all(workshop.machine.state.listings(0).get(key) is not None for key in keys)
    shutil.rmtree(directory)
    if replacement == "a file":
        directory.write_bytes(b"x")
    elif replacement == "a link":
        directory.symlink_to("kept")
    workshop.backup(*paths)
    assert all(workshop.machine.state.listings(0).get(key) is None for key in keys)


def test_no_secret_of_a_host_opens_a_frame_in_any_role(stolen: Workshop) -> None:
    host = stolen.machine.host_file.key
    objects = _objects(stolen)
    registry = load_registry(stolen.store, host.repository, host.public)
    keys = [*secrets_of(stolen.machine.host_file.serialize()), bytes(32)]
    frames = 0
    for key, data in objects.items():
        name = parse_numbered_key(key)
        if not key.startswith("index/") or name is None:
            continue
        for entry in open_segment(data, name, host.repository, host.index_key, registry).packs:  # where things lie, a host may know
            pack = objects[f"packs/{host.host.hex()}/{entry.pack.hex()}"]
            for frame in entry.frames:
                sealed = pack[frame.offset : frame.offset + frame.sealed_bytes]
                assert len(sealed) == frame.sealed_bytes
                binding = frame_binding(entry.kind, host.repository, frame.session, frame.seq)
                for secret, label in itertools.product(with_derived(keys, host.repository), ("frame", "footer", "segment")):
                    _assert_closed(lambda: Sealer(secret, label).open(sealed, binding))  # noqa: B023  # called at once
                frames += 1
    assert frames >= 3


def test_no_secret_of_a_host_opens_what_issealed_to_the_owner(stolen: Workshop) -> None:
    """Session keys, both sealed parts of snapshots, and hosts' names: with each secret as the seed, and each three as the private key."""
    host = stolen.machine.host_file.key
    secrets = secrets_of(stolen.machine.host_file.serialize())
    private_keys = private_keys_of(secrets, host.repository)
    sealed = list(sealed_to_the_owner(_objects(stolen), host.repository, host.host))
    assert {what for what, _, _ in sealed} == {"session key", "snapshot for maintainers", "snapshot for the owner", "host name"}
    kinds = {what: (info, data) for what, info, data in sealed}
    for info, data in kinds.values():
        for private_key in private_keys:
            _assert_closed(lambda: primitives.hpke_open(private_key, info, data))  # noqa: B023
    for secret in secrets:
        assert OwnerKey.from_seed(OwnerSeed(secret), host.repository).public != host.public


def test_no_secret_of_a_host_opens_a_key_slot_or_passes_for_a_passphrase(stolen: Workshop) -> None:
    secrets = secrets_of(stolen.machine.host_file.serialize())
    ((slot,), _) = access.keys(stolen.store)
    for secret in secrets:
        out = bytearray(32)
        _assert_closed(lambda: primitives.open_once(secret, slot.sealed_seed, slot_binding(slot.public_part), out))  # noqa: B023
        for passphrase in (secret.hex(), secret.hex().upper(), secret.decode("latin-1"), ""):
            with pytest.raises(CredentialError):
                access.open_owner(stolen.store, passphrase)
        with pytest.raises(CredentialError):
            access.open_owner_with_words(stolen.store, " ".join(seed_to_words(OwnerSeed(secret))))
    assert access.open_owner(stolen.store, PASSPHRASE).repository == stolen.machine.host_file.key.repository


def test_a_host_has_nothing_to_ask_for_reading(stolen: Workshop) -> None:
    """The capability itself: a host's key and repository have no way to open anything."""
    repository = stolen.machine.repository
    openers = [name for thing in (repository, repository.key, repository.key.public) for name in dir(thing) if "open" in name or "seed" in name]
    assert openers == ["cut_seed"] if "cut_seed" in openers else openers == []


_READING = (
    ("snapshots",),
    ("ls", "latest"),
    ("restore", "latest", "--target", "stolen"),
    ("check",),
    ("check", "--read-data"),
    ("stats",),
    ("key", "add"),
    ("host", "list"),
    ("host", "add", "another", "--out", "another.host"),
)


def test_every_command_that_reads_asks_for_the_passphrase(folder: Path) -> None:
    source = make_tree(folder / "source", {_GONE: _TEXT * 10})
    program = Program(folder / "machine", folder / "repository")
    assert program.run("init", "--recovery-file", folder / "words", secret=True).code == 0
    program.passphrase_file.unlink()
    (folder / "words").unlink()

    assert program.run("backup", source, "--json").summary["snapshot_id"]
    for command in _READING:
        finished = program.run(*command)
        assert finished.code == 12, (command, finished)
        assert _GONE not in finished.output + finished.errors
        assert str(source) not in finished.output + finished.errors
    assert not any(path.is_file() for path in program.home.rglob("*"))

    program.passphrase_file.write_text("not the passphrase\n")
    program.passphrase_file.chmod(0o600)
    for command in _READING[:3]:
        assert program.run(*command, secret=True).code == 12, command
