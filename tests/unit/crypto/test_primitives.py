"""Published answers of every algorithm, and that each failure to authenticate is an IntegrityError."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from hypothesis import given
from hypothesis import strategies as st

import seedcorn
from seedcorn.crypto import primitives
from seedcorn.errors import IntegrityError, SeedcornError

KEM_PRIVATE = bytes(range(96))
KEM_PUBLIC = primitives.kem_public_key(KEM_PRIVATE)
LABELS = st.from_regex(r"[a-z][a-z0-9/-]{0,20}", fullmatch=True)
FIELDS = st.lists(st.binary(max_size=40), max_size=5)


def test_context_is_what_the_format_says() -> None:
    assert primitives.context("header") == b"seedcorn/1/header"
    assert primitives.context("a", b"xyz", 258) == b"seedcorn/1/a" + b"\x03\0\0\0xyz" + b"\x08\0\0\0" + b"\x02\x01" + bytes(6)


@given(LABELS, FIELDS, LABELS, FIELDS)
def test_contexts_differ_when_anything_differs(label: str, fields: list[bytes], other_label: str, other_fields: list[bytes]) -> None:
    same = (label, fields) == (other_label, other_fields)
    assert (primitives.context(label, *fields) == primitives.context(other_label, *other_fields)) is same


@given(FIELDS, st.data())
def test_contexts_differ_when_fields_are_split_differently(fields: list[bytes], data: st.DataObject) -> None:
    joined = b"".join(fields)
    cut = data.draw(st.integers(0, len(joined)))
    if fields != [joined[:cut], joined[cut:]]:
        assert primitives.context("x", *fields) != primitives.context("x", joined[:cut], joined[cut:])


@pytest.mark.parametrize("number", [-1, 2**64])
def test_context_refuses_integers_that_do_not_fit(number: int) -> None:
    with pytest.raises(OverflowError):
        primitives.context("x", number)


def test_blake3_has_its_published_answers() -> None:
    key = b"whats the Elvish word for friend"
    assert primitives.keyed_hash(key, b"").hex() == "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26"
    assert primitives.object_hash(b"").hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"


def test_blake3_is_the_same_on_any_number_of_threads_and_any_length_is_a_prefix() -> None:
    data = bytes(range(256)) * 8192
    assert primitives.object_hash(data, max_threads=2) == primitives.object_hash(memoryview(data))
    assert primitives.keyed_hash(bytes(32), data, 24) == primitives.keyed_hash(bytes(32), data)[:24]


@pytest.mark.parametrize("length", [32, 96])
def test_derive_is_hkdf_sha256(length: int) -> None:
    extracted = hmac.digest(b"salt", b"seed", "sha256")
    output = block = b""
    for counter in range(1, 4):
        block = hmac.digest(extracted, block + b"seedcorn/1/label" + bytes([counter]), hashlib.sha256)
        output += block
    assert primitives.derive(b"seed", b"salt", "label", length) == output[:length]


def test_ed25519_has_its_published_answer() -> None:
    private = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")  # RFC 8032, section 7.1, test 2
    assert primitives.sign_public_key(private).hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    assert primitives.sign(private, b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


@pytest.mark.made_up_keys
def test_aes_gcm_has_its_published_answer() -> None:
    out = bytearray(32)  # McGrew and Viega, test case 14
    primitives.seal_once(bytes(32), bytes(16), b"", out)
    assert out.hex() == "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"


def flips(data: bytes, step: int = 1) -> list[bytes]:
    return [data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :] for at in range(0, len(data), step)]


def test_a_signature_holds_for_one_key_and_message_only() -> None:
    private = b"p" * 32
    public = primitives.sign_public_key(private)
    message = primitives.context("signature", b"SEEDSNAP") + b"body"
    signature = primitives.sign(private, message)
    primitives.verify(public, signature, message)
    forgeries = [(public, bad, message) for bad in [*flips(signature), b"", signature[:-1], signature + b"\0", bytes(64)]]
    forgeries += [(bad, signature, message) for bad in [*flips(public), b"", public[:-1], bytes(32)]]
    forgeries += [(public, signature, bad) for bad in [*flips(message), b"", primitives.context("signature", b"SEEDINDX") + b"body"]]
    for forgery in forgeries:
        with pytest.raises(IntegrityError, match="signature"):
            primitives.verify(*forgery)


def test_hpke_round_trip() -> None:
    for plaintext in (b"", b"k" * 32, bytes(100_000)):
        sealed = primitives.hpke_seal(KEM_PUBLIC, b"info", plaintext)
        assert len(sealed) == 1088 + 32 + len(plaintext) + 16
        assert primitives.hpke_open(KEM_PRIVATE, b"info", sealed) == plaintext
    assert len(KEM_PUBLIC) == primitives.KEM_PUBLIC_BYTES


def test_hpke_is_randomised() -> None:
    assert primitives.hpke_seal(KEM_PUBLIC, b"", b"x") != primitives.hpke_seal(KEM_PUBLIC, b"", b"x")


def test_hpke_opens_nothing_that_was_changed() -> None:
    sealed = primitives.hpke_seal(KEM_PUBLIC, b"info", b"plaintext")
    attempts = [(KEM_PRIVATE, b"info", bad) for bad in [*flips(sealed, 9), *flips(sealed)[-40:], b"", sealed[:1119], sealed[:-1], sealed + b"\0"]]
    attempts += [(KEM_PRIVATE, bad, sealed) for bad in (b"", b"infos", b"Info")]
    attempts += [(bytes(96), b"info", sealed), (bytes(64) + KEM_PRIVATE[64:], b"info", sealed), (KEM_PRIVATE[:64] + bytes(32), b"info", sealed)]
    for attempt in attempts:
        with pytest.raises(IntegrityError):
            primitives.hpke_open(*attempt)


@pytest.mark.parametrize("public", [b"", KEM_PUBLIC[:-1], b"\xff" * 1216])
def test_hpke_seals_to_no_malformed_key(public: bytes) -> None:
    with pytest.raises(IntegrityError, match="malformed"):
        primitives.hpke_seal(public, b"", b"secret")


def test_a_backend_without_ml_kem_is_refused_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing:
        @staticmethod
        def from_seed_bytes(_: bytes) -> None:
            raise UnsupportedAlgorithm("not here")

        from_public_bytes = from_seed_bytes

    monkeypatch.setattr(primitives, "MLKEM768PrivateKey", Missing)
    monkeypatch.setattr(primitives, "MLKEM768PublicKey", Missing)
    with pytest.raises(SeedcornError, match="no ML-KEM-768"):
        primitives.kem_public_key(KEM_PRIVATE)
    with pytest.raises(SeedcornError, match="no ML-KEM-768"):
        primitives.hpke_open(KEM_PRIVATE, b"", bytes(1200))
    with pytest.raises(SeedcornError, match="no ML-KEM-768"):
        primitives.hpke_seal(KEM_PUBLIC, b"", b"")


def test_argon2id_depends_on_everything() -> None:
    def derive(passphrase: bytes = b"p", salt: bytes = b"s" * 16, memory_kib: int = 64, iterations: int = 1, lanes: int = 1) -> bytes:
        return primitives.argon2id(passphrase, salt, memory_kib=memory_kib, iterations=iterations, lanes=lanes)

    derived = [derive(), derive(b"q"), derive(salt=b"t" * 16), derive(memory_kib=72), derive(iterations=2), derive(lanes=2)]
    assert len(set(derived)) == 6
    assert {len(key) for key in derived} == {32}
    assert derive() == derived[0]


@pytest.mark.parametrize(("failure", "advice"), [(UnsupportedAlgorithm("not here"), "no Argon2id"), (MemoryError(), "needs 2 MiB of free memory")])
def test_argon2id_that_this_machine_can_not_do(failure: Exception, advice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise failure

    monkeypatch.setattr(primitives, "Argon2id", fail)
    with pytest.raises(SeedcornError, match=advice):
        primitives.argon2id(b"p", b"s" * 16, memory_kib=2048, iterations=1, lanes=1)


def test_random_bytes_are_not_repeated() -> None:
    assert len({primitives.random_bytes(16) for _ in range(1000)}) == 1000


def test_one_module_reaches_the_algorithms() -> None:
    """The uniqueness test listens at ``seal_once``; it must be the only way to AES-GCM."""
    package = Path(str(seedcorn.__file__)).parent
    importers = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"(from|import) (cryptography|blake3)\b", path.read_text())
    }
    assert importers == {"crypto/primitives.py"}
    assert (package / "crypto/primitives.py").read_text().count("AESGCM(") == 2
