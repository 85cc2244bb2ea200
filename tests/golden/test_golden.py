"""Every repository that a released format version has written can still be read, whole, and gone on with; and nothing that a program may write is
missing in it: the page of the format says what there is."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.golden.make import make
from tests.golden.tree import from_json

import seedcorn
from seedcorn.events import RecordingMonitor
from seedcorn.format.codec import VERSION, Envelope, Magic, decode
from seedcorn.format.collection import CheckpointPublic, CollectionRecord, ForgetRecord, Receipt, ReceiptState, Stage, VerifiedRecord
from seedcorn.format.header import HostPublic, HostState, SlotPublic
from seedcorn.format.names import SPARES
from seedcorn.format.pack import NO_SESSION, PackHead, PackKind, SegmentPublic, parse_pack_head, parse_trailer
from seedcorn.format.relocation import RelocationRecord, RelocationStage
from seedcorn.format.snapshot import SnapshotPublic
from seedcorn.ids import HostId, PackId
from seedcorn.jobs.owner_session import OwnerSession
from seedcorn.ops.browse import Snapshot, Standing
from seedcorn.ops.check.check import CheckOptions, check
from seedcorn.repo.roots.collections import named_packs
from seedcorn.testing.trees import Entry, describe, differences

GOLDEN = Path(__file__).parent
FORMAT = GOLDEN.parents[1] / "docs" / "format.md"
VERSIONS = ["1"]
READABLE = {Standing.CONFIRMED, Standing.UNCONFIRMED}
PUBLIC_PARTS: dict[Magic, type] = {
    Magic.SEGMENT: SegmentPublic,
    Magic.SNAPSHOT: SnapshotPublic,
    Magic.HOST: HostPublic,
    Magic.SLOT: SlotPublic,
    Magic.RECEIPT: Receipt,
    Magic.CHECKPOINT: CheckpointPublic,
    Magic.FORGET: ForgetRecord,
    Magic.COLLECTION: CollectionRecord,
    Magic.VERIFIED: VerifiedRecord,
    Magic.RELOCATION: RelocationRecord,
}
T = TypeVar("T")


@dataclass(frozen=True)
class Golden:
    """What is kept of one version, in a folder that tests may write to."""

    folder: Path

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    @cached_property
    def secrets(self) -> dict[str, Any]:
        return self._load("secrets.json")

    @cached_property
    def expected(self) -> dict[str, Any]:
        return self._load("expected.json")

    def _load(self, name: str) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.folder / name).read_text())
        return loaded

    @cached_property
    def objects(self) -> dict[str, bytes]:
        """Every object by its key."""
        files = sorted(path for path in self.repository.rglob("*") if path.is_file())
        return {str(path.relative_to(self.repository)): path.read_bytes() for path in files}

    def parts(self, magic: Magic, shape: type[T]) -> list[T]:
        """The readable first part of every object of one kind."""
        return [decode(Envelope.parse(magic, data).parts[0], shape) for data in self.objects.values() if data.startswith(magic.mark)]

    def pack_heads(self) -> list[PackHead]:
        return [parse_pack_head(data)[0] for data in self.objects.values() if data.startswith(Magic.PACK.mark)]

    def owner(self, name: str = "owner", **secret: str) -> OwnerSession:
        """The owner on a new machine. To be closed."""
        return seedcorn.open_owner(self.repository, state_dir=self.folder / name, **(secret or {"words": self.secrets["words"]}))  # type: ignore[arg-type]

    def private(self, name: str) -> Path:
        """A file that holds a secret, with the mode that git does not keep."""
        path = self.folder / name
        path.chmod(0o600)
        return path

    def tree_of(self, snapshot: Snapshot) -> dict[bytes, Entry]:
        """What was backed up."""
        return from_json(self.expected["trees"][self.expected["snapshots"][snapshot.id.hex()]["tree"]])

    def assert_restores(self, session: OwnerSession, snapshot: Snapshot) -> None:
        """Bit for bit, with everything that the tree had besides."""
        target = self.folder / f"restored-{snapshot.id.hex()[:8]}"
        result = session.restore(snapshot, target, path=self.expected["snapshots"][snapshot.id.hex()]["path"], processes=0)
        assert result.errors == ()
        assert differences(self.tree_of(snapshot), describe(target), owners=os.geteuid() == 0) == []
        shutil.rmtree(target)


@pytest.fixture(params=VERSIONS)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Golden:
    # All files are as old as each other, as they are after a checkout: nothing may depend on the times of a store that was copied.
    shutil.copytree(GOLDEN / request.param, tmp_path / "golden", copy_function=shutil.copyfile)
    return Golden(tmp_path / "golden")


@pytest.fixture
def owner(golden: Golden) -> Iterator[OwnerSession]:
    with golden.owner() as session:
        yield session


# -- is everything in it ---------------------------------------------------------------------------------------------------------------------


def test_no_version_is_forgotten() -> None:
    assert sorted(path.name for path in GOLDEN.iterdir() if path.is_dir() and path.name.isdigit()) == VERSIONS
    assert str(VERSION) in VERSIONS


def documented_keys() -> dict[str, re.Pattern[str]]:
    """Every form of a key in the table of docs/format.md, and what fits it."""
    table = FORMAT.read_text().partition("| key | object | written by |\n")[2].partition("\n\n")[0]
    forms = []
    for row in table.splitlines()[1:]:
        form, *endings = re.findall(r"`([^`]+)`", row.split(" | ")[0])
        forms += [form, *(re.sub(r"(\.[a-z]+)?$", ending, form, count=1) for ending in endings)]
    return {form: re.compile(re.sub(r"<[^>]*>", "[0-9a-f]+", form.replace(".", r"\.")).replace("…", ".+")) for form in forms}


def documented_magics() -> set[bytes]:
    (line,) = (line for line in FORMAT.read_text().splitlines() if line.startswith("| 8 | magic: "))
    return {magic.encode() for magic in re.findall(r"`([A-Z]{8})`", line)}


def assert_nothing_is_missing(golden: Golden) -> None:
    forms = documented_keys()
    found = {key: [form for form, pattern in forms.items() if pattern.fullmatch(key)] for key in golden.objects}
    assert [key for key, fitting in found.items() if len(fitting) != 1] == []
    assert {fitting[0] for fitting in found.values()} == forms.keys()
    assert documented_magics() == {data[:8] for data in golden.objects.values()} & documented_magics() == {magic.mark for magic in Magic}


def test_every_kind_of_object_is_in_it(golden: Golden) -> None:
    assert len(documented_keys()) >= 15  # the table is still read
    assert_nothing_is_missing(golden)


def test_every_state_of_an_object_is_in_it(golden: Golden) -> None:
    assert {record.state for record in golden.parts(Magic.HOST, HostPublic)} == set(HostState)
    assert {record.state for record in golden.parts(Magic.RECEIPT, Receipt)} == set(ReceiptState)
    collections = golden.parts(Magic.COLLECTION, CollectionRecord)
    assert {record.stage for record in collections} == set(Stage)
    for name in ("packs", "frames", "expired", "expired_checkpoints", "removed", "copies"):
        assert any(getattr(record, name) for record in collections), name
    forgets = golden.parts(Magic.FORGET, ForgetRecord)
    assert any(record.forgotten for record in forgets) and any(record.taken_back for record in forgets)
    relocations = golden.parts(Magic.RELOCATION, RelocationRecord)
    stages = Counter(record.stage for record in relocations)
    assert stages[RelocationStage.ANNOUNCED] > stages[RelocationStage.DONE] > 0
    for name in ("frames", "snapshots", "earlier"):
        assert any(getattr(record, name) for record in relocations), name
    heads = golden.pack_heads()
    assert {head.kind for head in heads} == set(PackKind)
    assert {head.session == NO_SESSION for head in heads} == {True, False}  # those of a maintainer, who has moved frames
    segments = golden.parts(Magic.SEGMENT, SegmentPublic)
    assert {segment.session == NO_SESSION for segment in segments} == {True, False}
    assert any(segment.session == NO_SESSION and len(segment.packs) > 8 for segment in segments)  # merged
    (spare,) = (key for key in golden.objects if key.startswith(SPARES))
    assert golden.objects[spare] != golden.objects[spare.removeprefix(SPARES)]  # which is damaged
    assert len(golden.parts(Magic.SLOT, SlotPublic)) == len(golden.secrets["passphrases"]) == 2


def test_the_generator_still_makes_one(tmp_path: Path) -> None:
    make(tmp_path / "made")
    made = Golden(tmp_path / "made")
    assert_nothing_is_missing(made)
    assert sum(map(len, made.objects.values())) < 650_000
    with made.owner() as session:
        assert session.browser.problems == ()


# -- can it be read --------------------------------------------------------------------------------------------------------------------------


def test_every_object_can_be_parsed(golden: Golden) -> None:
    for magic, shape in PUBLIC_PARTS.items():
        assert golden.parts(magic, shape), magic
    for key, data in golden.objects.items():
        if key.startswith("packs/"):
            head, begin = parse_pack_head(data)
            frames, footer_bytes = parse_trailer(data)
            assert head.key_rows and frames and 0 < footer_bytes < len(data) - begin
    assert PUBLIC_PARTS.keys() == set(Magic) - {Magic.PACK}


@pytest.mark.parametrize("secret", ["first passphrase", "second passphrase", "words"])
def test_every_secret_shows_every_snapshot(golden: Golden, secret: str) -> None:
    first, second = golden.secrets["passphrases"]
    given = {"first passphrase": {"passphrase": first}, "second passphrase": {"passphrase": second}, "words": {"words": golden.secrets["words"]}}
    with golden.owner(**given[secret]) as session:
        assert session.browser.problems == ()
        standings = {snapshot.id.hex(): snapshot.standing.value for snapshot in session.browser.all_snapshots}
        assert standings == {name: one["standing"] for name, one in golden.expected["snapshots"].items()}
        assert set(standings.values()) == {standing.value for standing in Standing} - {Standing.UNREADABLE.value}
        assert {snapshot.standing for snapshot in session.snapshots()} == READABLE


def test_every_tree_can_be_listed(golden: Golden, owner: OwnerSession) -> None:
    for snapshot in owner.snapshots():
        top = os.fsencode(golden.expected["snapshots"][snapshot.id.hex()]["path"])
        monitor = RecordingMonitor()
        listed = {entry.path[len(top) + 1 :]: entry.node for entry in owner.browser.walk(owner.browse(snapshot, top), monitor)}
        expected = golden.tree_of(snapshot)
        del expected[b"."]
        assert listed.keys() == expected.keys() and monitor.errors == []
        assert all(listed[path].mode == entry.mode and listed[path].mtime_ns == entry.mtime_ns for path, entry in expected.items())


def test_every_snapshot_restores(golden: Golden, owner: OwnerSession) -> None:
    for snapshot in owner.snapshots():
        golden.assert_restores(owner, snapshot)


def test_every_byte_is_good(owner: OwnerSession) -> None:
    monitor = RecordingMonitor()
    result = check(owner.browser, CheckOptions(read_data=True), owner.clock, monitor)
    assert result.problems == () and monitor.errors == []
    assert result.read_packs == result.packs > 0


# -- can it be gone on with ------------------------------------------------------------------------------------------------------------------


def test_a_maintainer_of_that_day_sees_what_is_marked_and_does_nothing(golden: Golden) -> None:
    before = dict(golden.objects)
    file = golden.private("maintain.json")
    with seedcorn.open_maintainer(golden.repository, maintain_file=file, state_dir=golden.folder / "maintainer") as session:
        plan = session.plan_prune()
    (mark,) = (record for record in golden.parts(Magic.COLLECTION, CollectionRecord) if record.stage is Stage.MARK)
    assert plan.waiting == named_packs([mark]) and plan.is_empty
    assert Golden(golden.folder).objects == before


def test_what_is_forgotten_can_be_taken_back(golden: Golden, owner: OwnerSession) -> None:
    kept, _ = _forgotten(golden, owner)
    assert len(kept) == 2
    assert set(owner.undelete([snapshot.id.hex() for snapshot in kept])) == {snapshot.id for snapshot in kept}
    with golden.owner("another") as session:
        back = [snapshot for snapshot in session.snapshots() if snapshot.id in {one.id for one in kept}]
        assert [snapshot.standing for snapshot in back] == [Standing.CONFIRMED] * 2
        for snapshot in back:
            golden.assert_restores(session, snapshot)


def test_what_was_swept_can_not(golden: Golden, owner: OwnerSession) -> None:
    _, swept = _forgotten(golden, owner)
    for snapshot in swept:
        with pytest.raises(seedcorn.SeedcornError, match="can not be taken back"):
            owner.undelete([snapshot.id.hex()])
    assert swept


def _forgotten(golden: Golden, owner: OwnerSession) -> tuple[list[Snapshot], list[Snapshot]]:
    """The forgotten snapshots that no sweep has named, and those that one has."""
    named = {ref.snapshot for record in golden.parts(Magic.COLLECTION, CollectionRecord) for ref in record.removed}
    found = [snapshot for snapshot in owner.browser.all_snapshots if snapshot.standing is Standing.FORGOTTEN]
    return [snapshot for snapshot in found if snapshot.id not in named], [snapshot for snapshot in found if snapshot.id in named]


def test_collections_take_what_nothing_needs_and_nothing_else(golden: Golden, owner: OwnerSession) -> None:
    for _ in range(2):
        owner.prune(grace_seconds=0, allow_large=True)
    assert owner.plan_prune(grace_seconds=0).is_empty
    marked = {pack for record in golden.parts(Magic.COLLECTION, CollectionRecord) if record.stage is Stage.MARK for pack in named_packs([record])}
    assert marked.isdisjoint(_packs(golden.repository))
    with golden.owner("another") as session:
        assert session.browser.problems == ()
        confirmed = [snapshot for snapshot in session.snapshots() if snapshot.standing is Standing.CONFIRMED]
        expected = [name for name, one in golden.expected["snapshots"].items() if one["standing"] == Standing.CONFIRMED.value]
        assert sorted(snapshot.id.hex() for snapshot in confirmed) == sorted(expected)
        for snapshot in confirmed:
            golden.assert_restores(session, snapshot)


def _packs(repository: Path) -> set[tuple[HostId, PackId]]:
    return {(HostId(bytes.fromhex(path.parent.name)), PackId(bytes.fromhex(path.name))) for path in (repository / "packs").glob("*/*")}


def test_a_host_of_that_day_goes_on(golden: Golden, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "small.txt").write_bytes(b"one chunk\n")  # which is in the repository
    (source / "new").write_bytes(b"of today\n")
    with seedcorn.open(golden.repository, host_file=golden.private("host.json"), state_dir=golden.folder / "host") as session:
        result = session.backup([source])
    assert result.exit_code == 0 and result.statistics.raw_delta_size == len(b"of today\n")
    assert result.snapshot is not None
    with golden.owner() as owner:
        assert owner.browser.problems == ()
        assert owner.restore(result.snapshot.hex(), tmp_path / "restored", path=source, processes=0).errors == ()
    assert differences(describe(source), describe(tmp_path / "restored")) == []
