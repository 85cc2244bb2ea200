"""``python -m reliability.overhead``: what safety costs, in bytes of a real repository and in seconds of CPU, as one line of JSON.

Owns the tree that is backed up (half of it does not compress) and the arithmetic over stored objects. The repository is read as a thief of the disk
would read it: without a key. docs/format.md says what lies where.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.measure import Cost, measured
from benchmarks.peers import Seedcorn
from seedcorn.crypto.frames import SEAL_OVERHEAD
from seedcorn.crypto.primitives import SIGNATURE_BYTES, TAG_BYTES
from seedcorn.format.codec import Envelope, Magic, decode, encode
from seedcorn.format.pack import TRAILER_BYTES, KeyRow, SegmentPublic, parse_pack_head, parse_trailer

__all__ = ["bytes_of_safety", "make_tree"]

_ROUNDS = 3
_FILE_BYTES = (4 << 10, 60 << 10, 960 << 10)
_ENCAPSULATION_BYTES = 1120
_SIGNED_ROOMS = ("hosts", "index", "snapshots", "receipts", "checkpoints")


def main(arguments: Sequence[str] | None = None) -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m reliability.overhead", description=__doc__)
    parser.add_argument("--mebibytes", type=int, default=1024, help="size of the tree (default: %(default)s)")
    size_bytes = parser.parse_args(arguments).mebibytes << 20
    with tempfile.TemporaryDirectory(prefix="seedcorn-overhead-") as name:
        folder = Path(name)
        make_tree(folder / "tree", size_bytes)
        measured([sys.executable, "-c", "pass"], {})  # whatever is to be written of the tree is written
        costs: dict[str, list[Cost]] = {"verified": [], "unverified": []}
        for number in range(_ROUNDS):
            for kind in costs:
                costs[kind].append(_back_up(folder / f"{kind}-{number}", folder / "tree", verify=kind == "verified"))
        objects = _objects(folder / "verified-0" / "repository")
    cpu = {f"cpu_seconds_{kind}": [round(cost.cpu_seconds, 3) for cost in found] for kind, found in costs.items()}
    medians = {kind: statistics.median(cost.cpu_seconds for cost in found) for kind, found in costs.items()}
    stored = {"source_bytes": size_bytes, "stored_bytes": sum(map(len, objects.values())), "objects": len(objects)}
    more = {"verification_cpu_seconds": round(medians["verified"] - medians["unverified"], 3)}
    print(json.dumps(stored | {"safety_bytes": bytes_of_safety(objects)} | cpu | more))
    return 0


def make_tree(folder: Path, size_bytes: int) -> None:
    """Files of three sizes, every other one of numbered lines of text, the rest of noise; the same each time."""
    chosen, made, number = random.Random(2008), 0, 0
    while made < size_bytes:
        length = min(_FILE_BYTES[number % len(_FILE_BYTES)], size_bytes - made)
        path = folder / f"{number // 500}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chosen.randbytes(length) if number % 2 else _text(number, length))
        made, number = made + length, number + 1


def _text(number: int, length: int) -> bytes:
    lines = [b"%08d: the seed corn of %08d is not eaten\n" % (line, number * line) for line in range(length // 40 + 1)]
    return b"".join(lines)[:length].ljust(length)


def bytes_of_safety(objects: Mapping[str, bytes]) -> dict[str, int]:
    """What a repository would not hold if nothing in it were sealed, signed or confirmed, by purpose."""
    found: Counter[str] = Counter()
    for key, data in objects.items():
        room = key.partition("/")[0]
        if room in _SIGNED_ROOMS:
            found["signatures"] += SIGNATURE_BYTES
        if room == "packs":
            head, _ = parse_pack_head(data)
            frame_count, footer_bytes = parse_trailer(data)
            found["session keys, sealed to the owner"] += _key_row_bytes(head.key_rows)
            found["salts and tags of frames"] += frame_count * SEAL_OVERHEAD
            found["packs' footers, the second copy of the index"] += footer_bytes + TRAILER_BYTES
        elif room == "index":
            rows = decode(Envelope.parse(Magic.SEGMENT, data).parts[0], SegmentPublic).key_rows
            found["session keys, sealed to the owner"] += _key_row_bytes(rows)
            found["salts and tags of segments"] += SEAL_OVERHEAD
        elif room == "snapshots":
            found["snapshots' parts, sealed to owner and maintainer"] += 2 * (_ENCAPSULATION_BYTES + TAG_BYTES)
        elif room == "receipts":
            found["receipts"] += len(data) - SIGNATURE_BYTES
    return dict(found)


def _key_row_bytes(rows: Sequence[KeyRow]) -> int:
    return sum(len(encode(row)) for row in rows)


def _back_up(home: Path, tree: Path, *, verify: bool) -> Cost:
    home.mkdir()
    program = Seedcorn(home)
    program.init()
    options = () if verify else ("--no-verify-seal",)
    return measured([sys.executable, "-m", "seedcorn", "backup", "-q", *options, tree], program.environment)


def _objects(repository: Path) -> dict[str, bytes]:
    return {path.relative_to(repository).as_posix(): path.read_bytes() for path in repository.rglob("*") if path.is_file()}


if __name__ == "__main__":
    sys.exit(main())
