"""The stored vectors: what they say still holds, and our code still writes them."""

from __future__ import annotations

import hashlib
import hmac
import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from seedcorn.crypto import primitives, slots, words
from seedcorn.crypto.frames import Sealer
from seedcorn.crypto.keys import OwnerKey, OwnerSeed
from seedcorn.errors import CredentialError, IntegrityError
from seedcorn.ids import RepositoryId

VECTORS = Path(__file__).parents[2] / "vectors"
MAKE = runpy.run_path(str(VECTORS / "make.py"))
KEYS = json.loads((VECTORS / "keys.json").read_text())
FRAMES = json.loads((VECTORS / "frames.json").read_text())
IDS = json.loads((VECTORS / "ids.json").read_text())
OWNER = OwnerKey.from_seed(OwnerSeed(bytes.fromhex(KEYS["seed"])), RepositoryId(bytes.fromhex(KEYS["repository"])))


def test_our_code_writes_the_stored_files() -> None:
    for name, text in MAKE["documents"]().items():
        assert (VECTORS / name).read_text() == text, f"{name} would change: that is a change of the format"


def test_words() -> None:
    assert words.words_to_seed(KEYS["words"]).hex() == KEYS["seed"]


@pytest.mark.parametrize("name", KEYS["public"])
def test_public_keys(name: str) -> None:
    assert getattr(OWNER.public, name).hex() == KEYS["public"][name]


@pytest.mark.parametrize("vector", KEYS["domains"], ids=lambda vector: vector["domain"])
def test_domain_secrets(vector: dict[str, Any]) -> None:
    secrets = OWNER.domain(vector["domain"])
    assert secrets.chunk_id_key.hex() == vector["chunk_id"]
    assert secrets.listing_id_key.hex() == vector["listing_id"]
    assert secrets.cut_key.hex() == vector["cut"]
    assert secrets.index_key.hex() == vector["index"]
    assert str(secrets.cut_seed) == vector["cut_seed"]


@pytest.mark.parametrize("vector", KEYS["contexts"], ids=lambda vector: vector["label"])
def test_contexts(vector: dict[str, Any]) -> None:
    fields = [bytes.fromhex(field) if isinstance(field, str) else field for field in vector["fields"]]
    assert primitives.context(vector["label"], *fields).hex() == vector["context"]


@pytest.mark.parametrize("vector", KEYS["signatures"], ids=lambda vector: vector["by"])
def test_signatures(vector: dict[str, str]) -> None:
    primitives.verify(getattr(OWNER.public, vector["by"]), bytes.fromhex(vector["signature"]), bytes.fromhex(vector["message"]))


@pytest.mark.parametrize("vector", KEYS["hpke"], ids=lambda vector: vector["to"])
def test_hpke(vector: dict[str, str]) -> None:
    info, sealed = bytes.fromhex(vector["info"]), bytes.fromhex(vector["sealed"])
    right, wrong = (OWNER.open_read, OWNER.open_maintain) if vector["to"] == "read_kem" else (OWNER.open_maintain, OWNER.open_read)
    assert right(info, sealed).hex() == vector["plaintext"]
    with pytest.raises(IntegrityError):
        wrong(info, sealed)


# docs/format.md, "Objects" and "Keys", read line by line; nothing in these is shared with the code under test


def specified_expand(prk: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand with SHA-256."""
    out = block = b""
    for counter in range(1, 256):
        if len(out) >= length:
            break
        block = hmac.digest(prk, block + info + bytes([counter]), "sha256")
        out += block
    return out[:length]


def specified_derive(label: str, length: int) -> bytes:
    prk = hmac.digest(bytes.fromhex(KEYS["repository"]), bytes.fromhex(KEYS["seed"]), "sha256")
    return specified_expand(prk, b"seedcorn/1/" + label.encode(), length)


def specified_shared_secret(private: bytes, encapsulated: bytes) -> bytes:
    """X-Wing."""
    x25519 = X25519PrivateKey.from_private_bytes(private[64:])
    from_mlkem = MLKEM768PrivateKey.from_seed_bytes(private[:64]).decapsulate(encapsulated[:1088])
    from_x25519 = x25519.exchange(X25519PublicKey.from_public_bytes(encapsulated[1088:]))
    public = x25519.public_key().public_bytes_raw()
    return hashlib.sha3_256(from_mlkem + from_x25519 + encapsulated[1088:] + public + b"\x5c\x2e\x2f\x2f\x5e\x5c").digest()


def specified_hpke_open(private: bytes, info: bytes, sealed: bytes) -> bytes:
    """RFC 9180, base mode, suite 0x647a, 0x0001, 0x0002."""
    name = b"HPKE-v1" + b"HPKE" + bytes.fromhex("647a 0001 0002")

    def extract(salt: bytes, label: bytes, material: bytes) -> bytes:
        return hmac.digest(salt or bytes(32), name + label + material, "sha256")

    def expand(prk: bytes, label: bytes, length: int) -> bytes:
        return specified_expand(prk, length.to_bytes(2, "big") + name + label + schedule, length)

    schedule = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(specified_shared_secret(private, sealed[:1120]), b"secret", b"")
    return AESGCM(expand(secret, b"key", 32)).decrypt(expand(secret, b"base_nonce", 12), sealed[1120:], b"")


@pytest.mark.parametrize("vector", KEYS["hpke"], ids=lambda vector: vector["to"])
def test_hpke_is_what_the_format_describes(vector: dict[str, str]) -> None:
    private = specified_derive(vector["to"].replace("_", "-"), 96)
    opened = specified_hpke_open(private, bytes.fromhex(vector["info"]), bytes.fromhex(vector["sealed"]))
    assert opened.hex() == vector["plaintext"]


def test_slot() -> None:
    vector = KEYS["slot"]
    parameters = slots.KdfParameters(vector["memory_kib"], vector["iterations"], vector["lanes"], bytes.fromhex(vector["salt"]))
    associated_data, sealed = bytes.fromhex(vector["associated_data"]), bytes.fromhex(vector["sealed"])
    assert slots.unwrap_seed(vector["passphrase"], parameters, associated_data, sealed).hex() == KEYS["seed"]
    with pytest.raises(CredentialError):
        slots.unwrap_seed(vector["passphrase"] + "!", parameters, associated_data, sealed)


@pytest.mark.parametrize("vector", FRAMES["cases"], ids=lambda vector: f"{vector['label']}-{len(vector['plaintext']) // 2}")
def test_frames(vector: dict[str, str]) -> None:
    sealed, associated_data = bytes.fromhex(vector["sealed"]), bytes.fromhex(vector["associated_data"])
    key = bytes.fromhex(FRAMES["key"])
    assert Sealer(key, vector["label"]).open(sealed, associated_data).hex() == vector["plaintext"]
    with pytest.raises(IntegrityError):
        Sealer(key, "frame" if vector["label"] != "frame" else "footer").open(sealed, associated_data)


@pytest.mark.parametrize("vector", IDS["cases"], ids=lambda vector: f"{vector['content']}-{vector['length']}")
def test_ids(vector: dict[str, Any]) -> None:
    data = MAKE["content"](vector["content"], vector["length"])
    secrets = OWNER.domain(0)
    assert secrets.chunk_id(data).hex() == vector["chunk"]
    assert secrets.listing_id(data).hex() == vector["listing"]
    assert primitives.object_hash(data).hex() == vector["object"]
