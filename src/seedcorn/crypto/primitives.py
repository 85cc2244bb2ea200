"""The algorithms of suite 1, each behind one function with bytes on both sides.

Owns the choice of algorithms, the only source of randomness of the package, and the translation of a failed authentication into
``IntegrityError``. Must never know what the bytes mean: no object, path or store.

Invariant: AES-256-GCM is reached only through ``seal_once`` and ``open_once``, which use the zero nonce. Whoever calls ``seal_once`` hands in a
key that seals nothing else, ever. The suite's uniqueness test listens there.

docs/format.md, sections "Objects" (suite, context) and "Keys".
"""

from __future__ import annotations

import os

from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey, Suite
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from seedcorn.errors import IntegrityError, SeedcornError

__all__ = [
    "HASH_BYTES",
    "KEM_PRIVATE_BYTES",
    "KEM_PUBLIC_BYTES",
    "KEY_BYTES",
    "SIGNATURE_BYTES",
    "TAG_BYTES",
    "Buffer",
    "argon2id",
    "context",
    "derive",
    "hpke_open",
    "hpke_seal",
    "kem_public_key",
    "keyed_hash",
    "object_hash",
    "open_once",
    "random_bytes",
    "seal_once",
    "sign",
    "sign_public_key",
    "verify",
]

Buffer = bytes | bytearray | memoryview

KEY_BYTES = 32  # of every symmetric key and every Ed25519 key, private or public
HASH_BYTES = 32
SIGNATURE_BYTES = 64
TAG_BYTES = 16
KEM_PRIVATE_BYTES = 64 + 32  # seed of ML-KEM-768, private key of X25519
KEM_PUBLIC_BYTES = 1184 + 32  # encapsulation key of ML-KEM-768, public key of X25519

_DOMAIN = "seedcorn/1/"  # goes before every label, in contexts and in derivations
_MLKEM_SEED_BYTES = 64
_MLKEM_PUBLIC_BYTES = 1184
_ZERO_NONCE = bytes(12)


def context(label: str, *fields: bytes | int) -> bytes:
    """The bytes that bind a ciphertext or signature to its place: associated data, HPKE info, or prefix of a signed message.

    Integers are written as 8 bytes, little-endian; every field is preceded by its length in 4 bytes, so no two lists of fields look alike.
    """
    parts = [f"{_DOMAIN}{label}".encode("ascii")]
    for field in fields:
        if isinstance(field, int):
            field = field.to_bytes(8, "little")
        parts += (len(field).to_bytes(4, "little"), field)
    return b"".join(parts)


def random_bytes(length: int) -> bytes:
    """``length`` bytes from the operating system's generator."""
    return os.urandom(length)


def keyed_hash(key: bytes, data: Buffer, length: int = HASH_BYTES) -> bytes:
    """Keyed BLAKE3 of ``data`` under a 32-byte key: the first ``length`` bytes of output."""
    return blake3(data, key=key).digest(length)


def object_hash(data: Buffer, *, max_threads: int = 1) -> bytes:
    """BLAKE3 of a whole object, 32 bytes. ``max_threads`` above 1 pays for itself from about 1 MiB."""
    return blake3(data, max_threads=max_threads).digest()


def derive(seed: bytes, salt: bytes, label: str, length: int = KEY_BYTES) -> bytes:
    """HKDF-SHA256 of ``seed`` for one purpose, named by ``label``."""
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=context(label)).derive(seed)


def argon2id(passphrase: bytes, salt: bytes, *, memory_kib: int, iterations: int, lanes: int) -> bytes:
    """Argon2id, 32 bytes out. The caller has checked the parameters against its caps.

    Raises:
        SeedcornError: the backend lacks Argon2id, or this machine lacks the memory.
    """
    try:
        kdf = Argon2id(salt=salt, length=KEY_BYTES, iterations=iterations, lanes=lanes, memory_cost=memory_kib)
        return kdf.derive(passphrase)
    except UnsupportedAlgorithm as error:
        raise _unsupported("Argon2id") from error
    except MemoryError as error:
        raise SeedcornError(f"this passphrase needs {memory_kib // 1024} MiB of free memory to be checked, and the system gave less") from error


def seal_once(key: bytes, plaintext: Buffer, associated_data: bytes, out: Buffer) -> int:
    """AES-256-GCM with the zero nonce under a key that seals nothing else: ciphertext and tag into ``out``, which has exactly their length."""
    return AESGCM(key).encrypt_into(_ZERO_NONCE, plaintext, associated_data, out)


def open_once(key: bytes, sealed: Buffer, associated_data: bytes, out: Buffer) -> int:
    """The reverse of ``seal_once``, into an ``out`` of exactly the plaintext's length. After a failure ``out`` holds bytes that nobody may use.

    Raises:
        IntegrityError: wrong key, changed bytes, or other associated data: nobody can tell which.
    """
    try:
        return AESGCM(key).decrypt_into(_ZERO_NONCE, sealed, associated_data, out)
    except InvalidTag as error:
        raise IntegrityError("its contents fail authentication") from error


def hpke_seal(public_key: bytes, info: bytes, plaintext: bytes) -> bytes:
    """HPKE base mode to a ``KEM_PUBLIC_BYTES`` long key: encapsulation (1120 bytes), ciphertext, tag."""
    try:
        mlkem = MLKEM768PublicKey.from_public_bytes(public_key[:_MLKEM_PUBLIC_BYTES])
        x25519 = X25519PublicKey.from_public_bytes(public_key[_MLKEM_PUBLIC_BYTES:])
        return _hpke_suite().encrypt(plaintext, MLKEM768X25519PublicKey(mlkem, x25519), info)
    except UnsupportedAlgorithm as error:
        raise _unsupported("ML-KEM-768") from error
    except ValueError as error:
        raise IntegrityError("the public key to seal to is malformed") from error


def hpke_open(private_key: bytes, info: bytes, sealed: bytes) -> bytes:
    """The reverse of ``hpke_seal``.

    Raises:
        IntegrityError: sealed to another key or for another ``info``, or changed.
    """
    key = _kem_private_key(private_key)
    try:
        return _hpke_suite().decrypt(sealed, key, info)
    except (InvalidTag, ValueError) as error:
        raise IntegrityError("its sealed part fails authentication") from error


def kem_public_key(private_key: bytes) -> bytes:
    """The public half, ``KEM_PUBLIC_BYTES``, of a ``KEM_PRIVATE_BYTES`` long key."""
    try:
        mlkem = MLKEM768PrivateKey.from_seed_bytes(private_key[:_MLKEM_SEED_BYTES]).public_key().public_bytes_raw()
    except UnsupportedAlgorithm as error:
        raise _unsupported("ML-KEM-768") from error
    return mlkem + X25519PrivateKey.from_private_bytes(private_key[_MLKEM_SEED_BYTES:]).public_key().public_bytes_raw()


def sign(private_key: bytes, message: Buffer) -> bytes:
    """Ed25519 signature, 64 bytes."""
    return Ed25519PrivateKey.from_private_bytes(private_key).sign(message)


def verify(public_key: bytes, signature: bytes, message: Buffer) -> None:
    """Checks an Ed25519 signature.

    Raises:
        IntegrityError: not signed by that key, or changed since; also a key or signature that has no valid form.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise IntegrityError("its signature is not valid") from error


def sign_public_key(private_key: bytes) -> bytes:
    """The public half of an Ed25519 key."""
    return Ed25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def _hpke_suite() -> Suite:
    return Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def _kem_private_key(private_key: bytes) -> MLKEM768X25519PrivateKey:
    try:
        mlkem = MLKEM768PrivateKey.from_seed_bytes(private_key[:_MLKEM_SEED_BYTES])
    except UnsupportedAlgorithm as error:
        raise _unsupported("ML-KEM-768") from error
    return MLKEM768X25519PrivateKey(mlkem, X25519PrivateKey.from_private_bytes(private_key[_MLKEM_SEED_BYTES:]))


def _unsupported(algorithm: str) -> SeedcornError:
    return SeedcornError(
        f"the installed cryptography package has no {algorithm} (its OpenSSL is too old or of another make): "
        "install the package's own wheel; seedcorn does not fall back to anything weaker"
    )
