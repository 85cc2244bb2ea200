"""Key slots: wrong passphrases, tampering, and parameters that must not be obeyed."""

from __future__ import annotations

import dataclasses

import pytest

from seedcorn.crypto import primitives
from seedcorn.crypto.keys import OwnerSeed
from seedcorn.crypto.slots import KdfParameters, unwrap_seed, wrap_seed
from seedcorn.errors import CredentialError, IntegrityError, UsageError

pytestmark = pytest.mark.made_up_keys  # the salt is always the same

SEED = OwnerSeed(b"s" * 32)
AD = primitives.context("slot", b"part 1")
CHEAP = KdfParameters(memory_kib=64, iterations=1, lanes=1, salt=bytes(16))
GIB = 1024 * 1024


def test_round_trip() -> None:
    sealed = wrap_seed("correct horse", CHEAP, AD, SEED)
    assert len(sealed) == 48
    assert unwrap_seed("correct horse", CHEAP, AD, sealed) == SEED


@pytest.mark.parametrize("passphrase", ["correct hors", "Correct horse", "correct horse ", "", "\N{SNOWMAN}"])
def test_a_wrong_passphrase_is_a_credential_error(passphrase: str) -> None:
    sealed = wrap_seed("correct horse", CHEAP, AD, SEED)
    with pytest.raises(CredentialError, match="passphrase"):
        unwrap_seed(passphrase, CHEAP, AD, sealed)


def test_composed_and_decomposed_letters_are_one_passphrase() -> None:
    sealed = wrap_seed("cafe\N{COMBINING ACUTE ACCENT}", CHEAP, AD, SEED)
    assert unwrap_seed("caf\N{LATIN SMALL LETTER E WITH ACUTE}", CHEAP, AD, sealed) == SEED


def test_an_empty_passphrase_is_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        wrap_seed("", CHEAP, AD, SEED)


def test_a_passphrase_that_is_not_text_is_refused() -> None:
    with pytest.raises(UsageError, match="Unicode"):
        wrap_seed("\udcff", CHEAP, AD, SEED)


def test_a_changed_slot_does_not_open() -> None:
    sealed = wrap_seed("p", CHEAP, AD, SEED)
    attempts = [(CHEAP, AD, sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]) for at in range(48)]
    attempts += [
        (CHEAP, b"", sealed),
        (dataclasses.replace(CHEAP, salt=b"t" * 16), AD, sealed),
        (dataclasses.replace(CHEAP, iterations=2), AD, sealed),
    ]
    for parameters, associated_data, slot in attempts:
        with pytest.raises(CredentialError):
            unwrap_seed("p", parameters, associated_data, slot)


@pytest.mark.parametrize("length", [0, 16, 47, 49])
def test_a_slot_of_another_length_is_refused_before_any_work(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(primitives, "argon2id", None)
    with pytest.raises(IntegrityError, match="48"):
        unwrap_seed("p", CHEAP, AD, bytes(length))


@pytest.mark.parametrize(
    "hostile",
    [
        {"memory_kib": 4 * GIB + 1},
        {"memory_kib": 63},
        {"memory_kib": 0},
        {"memory_kib": -1},
        {"memory_kib": 2**63},
        {"memory_kib": 64, "lanes": 9},
        {"iterations": 17},
        {"iterations": 0},
        {"lanes": 17},
        {"lanes": 0},
        {"salt": b""},
        {"salt": bytes(17)},
    ],
    ids=str,
)
def test_parameters_outside_the_caps_can_not_be_made(hostile: dict[str, int | bytes]) -> None:
    reasonable: dict[str, int | bytes] = {"memory_kib": 65536, "iterations": 3, "lanes": 4, "salt": bytes(16)}
    with pytest.raises(IntegrityError):
        KdfParameters(**(reasonable | hostile))  # type: ignore[arg-type]  # one mapping for fields of two types


def test_parameters_at_the_caps_can_be_made() -> None:
    KdfParameters(memory_kib=4 * GIB, iterations=16, lanes=16, salt=bytes(16))
    KdfParameters(memory_kib=64, iterations=1, lanes=8, salt=bytes(16))


def test_fresh_parameters() -> None:
    one, two = KdfParameters.fresh(), KdfParameters.fresh()
    assert (one.memory_kib, one.iterations, one.lanes) == (256 * 1024, 3, 4)
    assert one.salt != two.salt
