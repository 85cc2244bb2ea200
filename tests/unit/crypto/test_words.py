"""The 24 words: published answers, and what a person is told who copied them wrongly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedcorn.crypto.keys import OwnerSeed
from seedcorn.crypto.words import WORDS, seed_to_words, words_to_seed
from seedcorn.errors import CredentialError

# from the test vectors of BIP-39
PUBLISHED = {
    "00" * 32: "abandon " * 23 + "art",
    "7f" * 32: "legal winner thank year wave sausage worth useful " * 2 + "legal winner thank year wave sausage worth title",
    "80" * 32: "letter advice cage absurd amount doctor acoustic avoid " * 2 + "letter advice cage absurd amount doctor acoustic bless",
    "ff" * 32: "zoo " * 23 + "vote",
}
GOOD = PUBLISHED["7f" * 32].split()


@pytest.mark.parametrize("seed", PUBLISHED)
def test_published_answers(seed: str) -> None:
    assert " ".join(seed_to_words(OwnerSeed(bytes.fromhex(seed)))) == PUBLISHED[seed]
    assert words_to_seed(PUBLISHED[seed]).hex() == seed


@given(st.binary(min_size=32, max_size=32))
def test_round_trip(seed: bytes) -> None:
    words = seed_to_words(OwnerSeed(seed))
    assert len(words) == WORDS
    assert words_to_seed(" ".join(words)) == seed


def test_case_and_white_space_do_not_matter() -> None:
    text = "\n\t" + "\n".join(word.upper() for word in GOOD) + "  "
    assert words_to_seed(text) == words_to_seed(" ".join(GOOD))


@pytest.mark.parametrize("form", ["{}", "{}.", "{})", "{}:"])
def test_numbers_do_not_count(form: str) -> None:
    numbered = " ".join(f"{form.format(number)} {word}" for number, word in enumerate(GOOD, start=1))
    assert words_to_seed(numbered).hex() == "7f" * 32


def test_an_unknown_word_is_named_with_what_may_be_meant() -> None:
    with pytest.raises(CredentialError, match=r"word 6, 'sausege', is not on the list of words: sausage\?$"):
        words_to_seed(" ".join([*GOOD[:5], "sausege", *GOOD[6:]]))


def test_a_word_like_no_other_gets_no_suggestion() -> None:
    with pytest.raises(CredentialError, match=r"word 1, 'qqqqqq', is not on the list of words$"):
        words_to_seed(" ".join(["qqqqqq", *GOOD[1:]]))


@pytest.mark.parametrize("words", [[], GOOD[:23], GOOD[:12], [*GOOD, "zoo"]], ids=len)
def test_a_wrong_number_of_words_is_counted(words: list[str]) -> None:
    with pytest.raises(CredentialError, match=f"24 words, here are {len(words)}"):
        words_to_seed(" ".join(words))


@pytest.mark.parametrize("words", [["zoo", *GOOD[1:]], [GOOD[1], GOOD[0], *GOOD[2:]]], ids=["replaced", "swapped"])
def test_a_known_word_in_the_wrong_place_fails_the_checksum(words: list[str]) -> None:
    with pytest.raises(CredentialError, match="not the right one"):
        words_to_seed(" ".join(words))
