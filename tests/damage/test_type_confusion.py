"""No object passes for one of another kind: not even under a name that fits its bytes, and not to the parsers inside."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest

from seedcorn.crypto import primitives
from seedcorn.crypto.keys import new_owner_seed
from seedcorn.crypto.words import seed_to_words
from seedcorn.errors import CredentialError, IntegrityError
from seedcorn.events import SystemClock, VoidMonitor
from seedcorn.format.codec import Envelope, Magic, decode
from seedcorn.format.header import HostPublic, SlotPublic, parse_header
from seedcorn.format.names import parse_numbered_key
from seedcorn.format.pack import FrameEntry, PackEntry, PackHead, PackKind, SegmentPublic, parse_pack_head, parse_trailer
from seedcorn.format.snapshot import SnapshotMaintain, SnapshotOwner, SnapshotPublic
from seedcorn.format.tree import decode_nodes
from seedcorn.ops import access
from seedcorn.ops.browse import open_browser
from seedcorn.ops.check.check import CheckOptions, check
from seedcorn.repo.content.ranges import coalesce
from seedcorn.repo.index import open_segment
from seedcorn.repo.packs import open_pack
from seedcorn.testing.damage import OBJECT_KINDS, Pristine, copy_store, keys_by_kind

NAMED_BY_HASH = {"data pack", "listing pack", "segment", "snapshot"}
BINARY = {"slot": Magic.SLOT, "host record": Magic.HOST, "data pack": Magic.PACK, "segment": Magic.SEGMENT, "snapshot": Magic.SNAPSHOT}


def renamed(key: str, data: bytes) -> str:
    """``key`` with the hash of ``data`` in the place of its own."""
    return key[:-64] + primitives.object_hash(data).hex()


@pytest.mark.parametrize(("kind", "other"), [pair for pair in permutations(OBJECT_KINDS, 2) if pair[0] in NAMED_BY_HASH])
def test_an_object_of_another_kind_under_a_name_that_fits(kind: str, other: str, pristine: Pristine) -> None:
    keys = keys_by_kind(pristine.store)
    planted = pristine.store.objects[keys[other][0]]
    store = copy_store(pristine.store)
    key = renamed(keys[kind][0], planted)
    if "pack" in kind and "pack" in other:  # packs share a room: listings in the place of data are found by the index alone
        key = keys[kind][0]
    del store.objects[keys[kind][0]]
    store.objects[key] = planted
    browser = open_browser(pristine.repository.owner(store), pristine.repository.new_state())
    result = check(browser, CheckOptions(read_data=True), SystemClock(), VoidMonitor())
    assert result.exit_code == 13
    if kind in ("segment", "snapshot"):
        assert key in {problem.object_name for problem in result.problems}


@pytest.mark.parametrize("other", OBJECT_KINDS)
def test_the_parsers_refuse_each_others_objects(other: str, pristine: Pristine) -> None:
    repository = pristine.repository
    keys = keys_by_kind(pristine.store)
    data = pristine.store.objects[keys[other][0]]
    owner = repository.owner()
    host = repository.first.host_file.key.host
    segment_name = parse_numbered_key(keys["segment"][0])
    assert segment_name is not None
    registry = access.registry(owner)
    parsers: dict[str, Callable[[], object]] = {
        "header": lambda: parse_header(data),
        "slot": lambda: Envelope.parse(Magic.SLOT, data),
        "host record": lambda: Envelope.parse(Magic.HOST, data),
        "snapshot": lambda: Envelope.parse(Magic.SNAPSHOT, data),
        "segment": lambda: Envelope.parse(Magic.SEGMENT, data),
        "data pack": lambda: parse_pack_head(data),
        "a pack's end": lambda: parse_trailer(data),
        "a whole pack": lambda: open_pack(data, host, owner.repository, owner.key),
        "a whole segment": lambda: open_segment(data, segment_name, owner.repository, owner.key.index_key, registry),
        "a listing": lambda: decode_nodes(data),
    }
    fitting = {
        "data pack": {"data pack", "a pack's end", "a whole pack"},
        "listing pack": {"data pack", "a pack's end", "a whole pack"},
        "segment": {"segment", "a whole segment"},
    }.get(other, {other})
    for name, parse in parsers.items():
        if name not in fitting:
            with pytest.raises(IntegrityError):
                parse()


def test_the_parts_inside_refuse_each_other(pristine: Pristine) -> None:
    """What is public in each kind, given to the decoders of the others: arrays of other shapes."""
    keys = keys_by_kind(pristine.store)
    parts = {kind: Envelope.parse(magic, pristine.store.objects[keys[kind][0]]).parts[0] for kind, magic in BINARY.items() if kind != "data pack"}
    shapes: dict[str, type] = {"slot": SlotPublic, "host record": HostPublic, "segment": SegmentPublic, "snapshot": SnapshotPublic}
    for (kind, part), (other, shape) in ((a, b) for a in parts.items() for b in shapes.items()):
        if kind == other:
            decode(part, shape)
            continue
        with pytest.raises(IntegrityError):
            decode(part, shape)
    for part in parts.values():
        for shape in (PackHead, PackEntry, FrameEntry, SnapshotMaintain, SnapshotOwner):
            with pytest.raises(IntegrityError):
                decode(part, shape)


def test_sealed_parts_do_not_open_in_each_others_place(pristine: Pristine) -> None:
    """The two sealed parts of one snapshot, exchanged; the signature made good by the host itself."""
    repository = pristine.repository
    key = next(key for key in pristine.trees if repository.first.host_file.key.host.hex() in key)
    envelope = Envelope.parse(Magic.SNAPSHOT, pristine.store.objects[key])
    public, maintain, owner_part = envelope.parts
    owner = repository.owner()
    contexts = [primitives.context(label, public) for label in ("snapshot-maintain", "snapshot-owner", "host", "segment", "slot")]
    opened = 0
    for sealed in (maintain, owner_part):
        for info in contexts:
            for open_part in (owner.key.open_maintain, owner.key.open_read):
                try:
                    open_part(info, sealed)
                    opened += 1
                except IntegrityError:
                    continue
    assert opened == 2


def test_a_data_frame_is_not_a_listing_frame(pristine: Pristine) -> None:
    browser = pristine.repository.browser(fresh=True)
    for ordinal, _, _, _ in list(browser.state.frames()):
        place = browser.state.frame_places([ordinal])[ordinal]
        (wanted,) = coalesce({ordinal: place})
        ((_, _, sealed),) = browser.reader.read_range(wanted)
        browser.reader.open_frame(ordinal, place, sealed)
        other = PackKind.DATA if place.kind == PackKind.LISTING else PackKind.LISTING
        moved = type(place)(place.host, place.pack, place.offset, place.sealed_bytes, place.raw_bytes, int(other))
        with pytest.raises(IntegrityError):
            browser.reader.open_frame(ordinal, moved, sealed)
        with pytest.raises(IntegrityError):
            browser.reader.open_frame(ordinal ^ 1, place, sealed)


def test_the_words_of_another_repository_do_not_open_this_one(pristine: Pristine) -> None:

    with pytest.raises(CredentialError):
        access.open_owner_with_words(pristine.store, " ".join(seed_to_words(new_owner_seed())))
