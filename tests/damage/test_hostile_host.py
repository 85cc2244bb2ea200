"""An enrolled host that lies: all that it signs is well signed. It must hurt nobody's backups but its own, and cause nothing but IntegrityErrors."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from pyroaring import BitMap

from seedcorn.errors import IntegrityError
from seedcorn.events import SystemClock, VoidMonitor
from seedcorn.format.codec import SUITE
from seedcorn.format.names import parse_numbered_key, snapshot_key
from seedcorn.format.pack import FrameEntry, KeyRow, PackEntry, PackKind
from seedcorn.format.snapshot import NeededFrames, SnapshotMaintain, SnapshotOwner, SnapshotPublic, Statistics
from seedcorn.format.tree import Extra, Kind, Node
from seedcorn.ids import HostId, SessionId, SnapshotId, host_mark
from seedcorn.ops import access
from seedcorn.ops.browse import Browser
from seedcorn.ops.check.check import CheckOptions, CheckResult, check
from seedcorn.repo.bindings import session_binding
from seedcorn.repo.index import build_segment, open_segment
from seedcorn.repo.roots.snapshots import build_snapshot
from seedcorn.testing.damage import copy_store
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import Machine, SmallRepository, make_tree, read_tree

ROOT = Node(b"", Kind.DIRECTORY, 0o755, 0, 0, 0, 0, 0, 0, 0)


class Stage:
    """A copy of a repository with an honest host, whose tree must stay readable, and a liar whose objects are listed before or after its."""

    def __init__(self, repository: SmallRepository, liar: Machine, expected: dict[bytes, bytes | None]) -> None:
        assert isinstance(repository.store, MemoryStore)
        self.repository = repository
        self.store = copy_store(repository.store)
        self.liar = liar
        self.expected = expected

    def session(self, name: bytes = b"L" * 8) -> SessionId:
        """One of the liar's own."""
        return SessionId(host_mark(self.liar.host_file.key.host) + name)

    def put_segment(self, rows: KeyRow, packs: list[PackEntry], number: int = 1) -> None:
        key, data = build_segment(self.liar.repository, self.session(), number, rows, packs)
        self.store.put(key, data)

    def put_snapshot(self, needed: tuple[NeededFrames, ...] = (), root: Node = ROOT) -> str:
        repository = self.liar.repository
        public = SnapshotPublic(repository.repository, repository.host, 1, b"", self.session(), 0)
        maintain = SnapshotMaintain(0, bytes(16), (), True, needed, ())
        owner = SnapshotOwner(host_name="liar", paths=(b"/",), root=root, start_ns=0, end_ns=0, statistics=Statistics())
        key, _, data = build_snapshot(repository, public, maintain, owner)
        self.store.put(key, data)
        return key

    def row(self, session: bytes, session_key: bytes = b"k" * 32) -> KeyRow:
        repository = self.liar.repository
        sealed = repository.key.seal_read(session_binding(repository.repository, repository.host, session), session_key)
        return KeyRow(session, repository.host, SUITE, sealed)

    def look(self) -> tuple[Browser, CheckResult]:
        """A new client's view; the honest host's last snapshot must be there in full."""
        browser = self.repository.browser(store=self.store, fresh=True)
        result = check(browser, CheckOptions(read_data=True), SystemClock(), VoidMonitor())
        own = [snapshot for snapshot in browser.snapshots if snapshot.host == self.repository.first.host_file.key.host]
        assert read_tree(browser, own[-1].id.hex()) == self.expected
        return browser, result


@pytest.fixture(scope="module", params=["liar listed first", "liar listed last"])
def repository_of_two(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[tuple[SmallRepository, Machine]]:
    folder = tmp_path_factory.mktemp("two")
    with SmallRepository(MemoryStore(), folder) as repository:
        repository.backup(make_tree(folder / "tree", {f"f{n}": b"honest %d" % n * 400 for n in range(5)}))
        honest = repository.first.host_file.key.host
        liar = repository.machine("liar 0")
        for attempt in range(1, 60):
            if (liar.host_file.key.host < honest) == (request.param == "liar listed first"):
                break
            liar = repository.machine(f"liar {attempt}")
        yield repository, liar


@pytest.fixture
def stage(repository_of_two: tuple[SmallRepository, Machine]) -> Stage:
    repository, liar = repository_of_two
    return Stage(repository, liar, read_tree(repository.browser()))


def honest_frame(stage: Stage) -> tuple[SessionId, PackEntry]:
    """The session of the honest host, and a pack entry that claims its first frame for one of the liar's own."""
    browser = stage.repository.browser()
    session = next(record.session for record in browser.state.sessions().values())
    record = b"c" * 24 + (100).to_bytes(4, "little")
    return session, PackEntry(b"p" * 32, PackKind.DATA, (FrameEntry(session, 0, 1000, 140, 100, record),))


def _records(stage: Stage, session: bytes, seq: int) -> bytes:
    """The chunk records of one of the honest host's frames, as its own segment lists them."""
    honest = stage.repository.first
    for key, data in sorted(stage.store.objects.items()):
        name = parse_numbered_key(key)
        if key.startswith("index/") and name is not None and name.host == honest.host_file.key.host:
            registry = access.registry(stage.repository.owner())
            opened = open_segment(data, name, stage.repository.made.repository, honest.host_file.key.index_key, registry)
            for pack in opened.packs:
                for frame in pack.frames:
                    if (frame.session, frame.seq) == (session, seq):
                        return frame.records
    raise AssertionError("no such frame")


def test_claiming_another_hosts_session(stage: Stage) -> None:
    session, entry = honest_frame(stage)
    stage.put_segment(stage.row(session), [entry])
    browser, result = stage.look()
    assert [problem.message for problem in result.problems] == ["carries the key of another host's session: it counts for nothing"]
    assert {record.host for record in browser.state.sessions().values()} == {stage.repository.first.host_file.key.host}


@pytest.mark.parametrize("key_row", ["true", "garbage"])
def test_a_thief_of_a_host_can_not_shadow_its_earlier_frames(key_row: str, stage: Stage) -> None:
    """With the host's own key: a segment that sorts before all others gives its old frames other places, or their session another key."""
    honest = stage.repository.first
    browser = stage.repository.browser()
    number, record = next((number, record) for number, record in browser.state.sessions().items() if record.host == honest.host_file.key.host)
    ordinals = [ordinal for ordinal, _, _, _ in browser.state.frames() if ordinal >> 32 == number]
    row = KeyRow(record.session, record.host, SUITE, browser.state.sealed_key(number) if key_row == "true" else bytes(1168))
    frames = tuple(
        FrameEntry(record.session, seq, 1000 + 10 * seq, place.sealed_bytes, place.raw_bytes, _records(stage, record.session, seq))
        for seq, place in ((ordinal & 0xFFFFFFFF, place) for ordinal, place in sorted(browser.state.frame_places(ordinals).items()))
    )
    stage.liar = honest
    stage.put_segment(row, [PackEntry(b"\0" * 32, PackKind.DATA, frames)], number=0)
    _, result = stage.look()
    assert result.exit_code == 13


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_a_session_key_of_another_length(length: int, stage: Stage) -> None:
    record = b"c" * 24 + (100).to_bytes(4, "little")
    session = stage.session()
    frame = FrameEntry(session, 0, 1000, 140, 100, record)
    stage.put_segment(stage.row(session, b"k" * length), [PackEntry(b"p" * 32, PackKind.DATA, (frame,))])
    content = record
    stage.put_snapshot((NeededFrames(session, BitMap([0]).serialize()),), msgspec.structs.replace(ROOT, content=content, size=1))
    _, result = stage.look()
    assert result.exit_code == 13


def test_a_session_key_of_a_suite_of_the_future(stage: Stage) -> None:
    """Whoever relied on what is listed with it could not read it back."""
    row = msgspec.structs.replace(stage.row(stage.session()), suite=2)
    frame = FrameEntry(stage.session(), 0, 1000, 140, 100, b"c" * 24 + (100).to_bytes(4, "little"))
    stage.put_segment(row, [PackEntry(b"p" * 32, PackKind.DATA, (frame,))])
    browser, result = stage.look()
    assert result.exit_code == 13
    assert any("suite 2" in str(problem) for problem in result.problems)
    assert stage.session() not in {record.session for record in browser.state.sessions().values()}


@pytest.mark.parametrize("length", [0, 7, 8, 15, 17, 600])
def test_a_session_id_of_another_length(length: int, stage: Stage) -> None:
    stage.put_segment(stage.row(stage.session(b"S" * 600)[:length]), [])
    _, result = stage.look()
    assert result.exit_code == 13


@pytest.mark.parametrize("pack", [b"", b"p" * 31, b"p" * 600], ids=len)
def test_a_pack_id_of_another_length(pack: bytes, stage: Stage) -> None:
    frame = FrameEntry(stage.session(), 0, 1000, 140, 100, b"c" * 24 + (100).to_bytes(4, "little"))
    stage.put_segment(stage.row(stage.session()), [PackEntry(pack, PackKind.DATA, (frame,))])
    _, result = stage.look()
    assert result.exit_code == 13


@pytest.mark.parametrize(
    "frame",
    [
        FrameEntry(b"S" * 8, -1, 1000, 140, 100, b"c" * 24 + b"\x64\0\0\0"),
        FrameEntry(b"S" * 8, 1 << 32, 1000, 140, 100, b"c" * 24 + b"\x64\0\0\0"),
        FrameEntry(b"S" * 8, 0, -1, 140, 100, b"c" * 24 + b"\x64\0\0\0"),
        FrameEntry(b"S" * 8, 0, 1 << 63, 140, 100, b"c" * 24 + b"\x64\0\0\0"),
        FrameEntry(b"S" * 8, 0, 1000, 0, 100, b"c" * 24 + b"\x64\0\0\0"),
        FrameEntry(b"S" * 8, 0, 1000, 1 << 40, 100, b"c" * 24 + b"\x64\0\0\0"),
        FrameEntry(b"S" * 8, 0, 1000, 140, 1 << 40, b"c" * 24 + b"\x64\0\0\0"),
        FrameEntry(b"S" * 8, 0, 1000, 140, 99, b"c" * 24 + b"\x64\0\0\0"),
        FrameEntry(b"S" * 8, 0, 1000, 140, 100, b"c" * 24),
        FrameEntry(b"S" * 8, 0, 1000, 140, 100, b""),
        FrameEntry(b"T" * 8, 0, 1000, 140, 100, b"c" * 24 + b"\x64\0\0\0"),
    ],
    ids=range(11),
)
def test_frame_entries_that_can_not_be(frame: FrameEntry, stage: Stage) -> None:
    """Of one of the liar's own sessions."""
    own = msgspec.structs.replace(frame, session=stage.session(frame.session))
    stage.put_segment(stage.row(stage.session(b"S" * 8)), [PackEntry(b"p" * 32, PackKind.DATA, (own,))])
    _, result = stage.look()
    assert any(problem.object_name.startswith("index/") for problem in result.problems)


BITMAPS = {
    "empty": b"",
    "ones": b"\xff" * 40,
    "zeros": bytes(8),
    "short": BitMap(range(5)).serialize()[:-1],
    "all": BitMap(range(1 << 32)).serialize(),
}


@pytest.mark.parametrize("bitmap", BITMAPS.values(), ids=BITMAPS)
def test_a_set_of_frames_that_is_none_or_of_all_numbers(bitmap: bytes, stage: Stage) -> None:
    session, _ = honest_frame(stage)
    key = stage.put_snapshot((NeededFrames(session, bitmap),))
    _, result = stage.look()
    assert key in {problem.object_name for problem in result.problems}


@pytest.mark.parametrize(
    "root",
    [
        msgspec.structs.replace(ROOT, content=b"x"),
        msgspec.structs.replace(ROOT, content=b"c" * 24 + b"\xff\xff\xff\xff"),
        msgspec.structs.replace(ROOT, content=b"c" * 28, extra=Extra(depth=1_000_000)),
        msgspec.structs.replace(ROOT, content=b"c" * 28, extra=Extra(depth=-1)),
        msgspec.structs.replace(ROOT, kind=99, content=b"c" * 28),
        msgspec.structs.replace(ROOT, size=-5, mode=1 << 60, content=b"c" * 28),
    ],
    ids=["records", "length", "deep", "negative depth", "kind", "numbers"],
)
def test_a_root_that_can_not_be_listed(root: Node, stage: Stage) -> None:
    stage.put_snapshot(root=root)
    browser, result = stage.look()
    assert result.exit_code == 13
    lying = next(snapshot for snapshot in browser.snapshots if snapshot.owner.host_name == "liar")
    with pytest.raises(IntegrityError):
        list(browser.reader.list_directory(lying.owner.root))


@pytest.fixture
def one_gibibyte_more() -> Iterator[None]:
    """No more memory than that, beyond what the process has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    used = next(int(line.split()[1]) << 10 for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (used + (1 << 30), hard))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@pytest.mark.usefixtures("one_gibibyte_more")
def test_a_name_that_claims_the_highest_number_costs_nothing(stage: Stage) -> None:
    """Nobody has to sign anything to put a name into the store; counting up to it would take all memory."""
    host = HostId(stage.liar.host_file.key.host)
    key = snapshot_key(host, 9_999_999_999, SnapshotId(bytes(32)))
    stage.store.put(key, b"")
    _, result = stage.look()
    assert key in {problem.object_name for problem in result.problems}
