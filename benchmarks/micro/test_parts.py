"""The parts by themselves: cut, hash, compress, seal, open, and listings."""

from __future__ import annotations

import random

import pytest

from benchmarks.micro.conftest import Measure
from seedcorn import compression
from seedcorn.chunking import Cutter, tier_for
from seedcorn.crypto import primitives
from seedcorn.crypto.frames import Sealer
from seedcorn.format.tree import Kind, Node, RunCutter, decode_own_nodes, encode_nodes

MIB = 1 << 20
WORDS = 4096


@pytest.fixture
def text(rng: random.Random, scale: int) -> bytes:
    """8 MiB that compress about as well as a file system does."""
    words = [rng.randbytes(rng.randrange(2, 8)) for _ in range(WORDS)]
    size = 8 * MIB * scale // 1000
    return b" ".join(rng.choices(words, k=size // 5))[:size].ljust(size)


@pytest.fixture
def nodes(rng: random.Random, scale: int) -> list[Node]:
    names = sorted(f"file-{number}.txt".encode() for number in range(scale))
    return [
        Node(name, Kind.FILE, 0o644, 0, 0, rng.randrange(1 << 60), rng.randrange(1 << 60), number, 5, 3000, rng.randbytes(28), None)
        for number, name in enumerate(names)
    ]


def encode_runs(nodes: list[Node]) -> list[bytes]:
    cutter = RunCutter()
    return [encode_nodes(run) for run in (*cutter.add(nodes), cutter.finish())]


@pytest.mark.parametrize("of_bytes", [100_000, 8 * MIB, 300 * MIB], ids=["8 KiB", "16 KiB", "512 KiB"])
def test_cut(measure: Measure, text: bytes, of_bytes: int) -> None:
    """Into chunks of this average."""
    measure(max(1, len(text) // MIB), "MiB", lambda: Cutter(1).cuts(memoryview(text), tier_for(of_bytes), start=True, final=True))


@pytest.mark.parametrize("length", [300, 3_000, 30_000])
def test_hash_a_chunk(measure: Measure, rng: random.Random, length: int) -> None:
    measure(1, "chunk", primitives.keyed_hash, bytes(32), rng.randbytes(length))


def test_hash_a_pack(measure: Measure, text: bytes) -> None:
    measure(max(1, len(text) // MIB), "MiB", primitives.object_hash, text)


@pytest.mark.parametrize("level", [1, 2, 3, 6])
def test_compress_a_frame(measure: Measure, text: bytes, level: int) -> None:
    measure(1, "MiB", compression.compress, text[:MIB], level)


def test_decompress_a_frame(measure: Measure, text: bytes) -> None:
    frame = text[:MIB]
    packed = compression.compress(frame)
    measure(1, "MiB", compression.decompress_zstd, packed, len(frame))


def test_seal_a_frame(measure: Measure, text: bytes) -> None:
    measure(1, "MiB", Sealer(bytes(32), "frame").seal, text[:MIB], b"binding")


def test_open_a_frame(measure: Measure, text: bytes) -> None:
    sealer = Sealer(bytes(32), "frame")
    measure(1, "MiB", sealer.open, sealer.seal(text[:MIB], b"binding"), b"binding")


def test_encode_a_listing(measure: Measure, nodes: list[Node]) -> None:
    measure(len(nodes), "node", lambda: encode_runs(nodes))


def test_decode_a_listing(measure: Measure, nodes: list[Node]) -> None:
    runs = encode_runs(nodes)
    measure(len(nodes), "node", lambda: [decode_own_nodes(run) for run in runs])
