"""Writes the known-answer vectors of this folder from our own code: ``PYTHONPATH=src python tests/vectors/make.py``.

A file here changes only with the format. What is random in real life (salts, HPKE) is fixed: salts by a patched generator, HPKE by keeping the
ciphertext that is in the file. Every input is in the file or named by ``content``, so that another implementation can use them without this script.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from seedcorn.chunking import TIERS, Cutter
from seedcorn.crypto import primitives, slots, words
from seedcorn.crypto.frames import Sealer
from seedcorn.crypto.keys import OwnerKey, OwnerSeed
from seedcorn.ids import RepositoryId

VECTORS = Path(__file__).parent
SEED = OwnerSeed(bytes(range(32)))
REPOSITORY = RepositoryId(bytes(range(100, 116)))


def content(name: str, length: int) -> bytes:
    """Reproducible bytes: ``zeros``, ``pattern`` (0, 1, … 250 over and over), or else SHAKE-128 of the name."""
    if name == "zeros":
        return bytes(length)
    if name == "pattern":
        return (bytes(range(251)) * (length // 251 + 1))[:length]
    return hashlib.shake_128(name.encode()).digest(length)


def keys() -> dict[str, Any]:
    """Everything derived from a seed, a signature, an HPKE message to each KEM key, a key slot."""
    owner = OwnerKey.from_seed(SEED, REPOSITORY)
    domains = [owner.domain(number) for number in (0, 7)]
    return {
        "seed": SEED.hex(),
        "words": " ".join(words.seed_to_words(SEED)),
        "repository": REPOSITORY.hex(),
        "public": {name: getattr(owner.public, name).hex() for name in ("owner_sign", "read_kem", "maintain_kem", "maintain_sign")},
        "domains": [
            {
                "domain": domain.domain,
                "chunk_id": domain.chunk_id_key.hex(),
                "listing_id": domain.listing_id_key.hex(),
                "cut": domain.cut_key.hex(),
                "cut_seed": str(domain.cut_seed),
                "index": domain.index_key.hex(),
            }
            for domain in domains
        ],
        "contexts": [
            {"label": "header", "fields": [], "context": primitives.context("header").hex()},
            {"label": "example", "fields": ["00ff", 258, ""], "context": primitives.context("example", b"\x00\xff", 258, b"").hex()},
        ],
        "signatures": [
            {"by": "owner_sign", "message": b"seeds".hex(), "signature": owner.sign(b"seeds").hex()},
            {"by": "maintain_sign", "message": b"seeds".hex(), "signature": owner.maintain_key().sign(b"seeds").hex()},
        ],
        "hpke": [
            _hpke("read_kem", owner.public.seal_read, owner.open_read),
            _hpke("maintain_kem", owner.public.seal_maintain, owner.open_maintain),
        ],
        "slot": _slot(),
    }


def _hpke(to: str, seal: Callable[[bytes, bytes], bytes], open_sealed: Callable[[bytes, bytes], bytes]) -> dict[str, str]:
    info, plaintext = primitives.context("vector", to.encode()), b"for the holder of " + to.encode()
    path = VECTORS / "keys.json"
    sealed = next((bytes.fromhex(old["sealed"]) for old in json.loads(path.read_text())["hpke"] if old["to"] == to), b"") if path.exists() else b""
    if not sealed or open_sealed(info, sealed) != plaintext:
        sealed = seal(info, plaintext)
    return {"to": to, "info": info.hex(), "plaintext": plaintext.hex(), "sealed": sealed.hex()}


def _slot() -> dict[str, Any]:
    parameters = slots.KdfParameters(memory_kib=1024, iterations=2, lanes=2, salt=bytes(range(16)))
    associated_data = primitives.context("slot", b"public part")
    return {
        "passphrase": "caf\N{LATIN SMALL LETTER E WITH ACUTE} au lait",
        "memory_kib": parameters.memory_kib,
        "iterations": parameters.iterations,
        "lanes": parameters.lanes,
        "salt": parameters.salt.hex(),
        "associated_data": associated_data.hex(),
        "sealed": slots.wrap_seed("cafe\N{COMBINING ACUTE ACCENT} au lait", parameters, associated_data, SEED).hex(),
    }


def frames() -> dict[str, Any]:
    """Sealed messages under each label."""
    key = content("session key", 32)
    cases = []
    for number, (label, length) in enumerate([("frame", 0), ("frame", 1), ("frame", 1000), ("footer", 100), ("segment", 100)]):
        salt = content(f"salt {number}", 24)
        associated_data = primitives.context(label, number)
        plaintext = content(f"plaintext {number}", length)
        with mock.patch.object(primitives, "random_bytes", return_value=salt):
            sealed = Sealer(key, label).seal(plaintext, associated_data)
        cases.append({"label": label, "associated_data": associated_data.hex(), "plaintext": plaintext.hex(), "sealed": sealed.hex()})
    return {"key": key.hex(), "cases": cases}


def ids() -> dict[str, Any]:
    """Ids of chunks under the keys of ``keys.json``, domain 0, and of whole objects."""
    domain = OwnerKey.from_seed(SEED, REPOSITORY).domain(0)
    cases = []
    for name, length in [("zeros", 0), ("zeros", 1), ("pattern", 1024), ("pattern", 1025), ("noise", 100_000)]:
        data = content(name, length)
        cases.append(
            {
                "content": name,
                "length": length,
                "chunk": domain.chunk_id(data).hex(),
                "listing": domain.listing_id(data).hex(),
                "object": primitives.object_hash(data).hex(),
            }
        )
    return {"cases": cases}


def chunks() -> dict[str, Any]:
    """Cuts of whole contents in every tier."""
    cases = []
    for tier in TIERS:
        for seed in (0, 0x0123456789ABCDEF, 0xFEDCBA9876543210):
            for name, length in [
                ("noise", 5 * tier.avg_bytes + 1),
                ("pattern", 5 * tier.avg_bytes),
                ("zeros", 4 * tier.avg_bytes + 3),
                ("noise", tier.avg_bytes),
            ]:
                lengths = Cutter(seed).cuts(memoryview(content(name, length)), tier, start=True, final=True)
                cases.append({"avg_bytes": tier.avg_bytes, "seed": str(seed), "content": name, "length": length, "chunks": lengths})
    return {"cases": cases}


def documents() -> dict[str, str]:
    """File name to what belongs into it."""
    made = {"keys.json": keys(), "frames.json": frames(), "ids.json": ids(), "chunks.json": chunks()}
    return {name: json.dumps(document, indent=1) + "\n" for name, document in made.items()}


if __name__ == "__main__":
    for name, text in documents().items():
        (VECTORS / name).write_text(text)
