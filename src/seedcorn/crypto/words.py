"""The owner seed on paper: 24 English words of the BIP-39 list.

Owns what a person may get wrong while copying, and what they are told. Must never know where the words are typed or shown.
Sole importer of ``mnemonic``, of which only the word list and its arithmetic are used, not BIP-39's derivation of wallets.

docs/format.md, section "Keys".
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from seedcorn.crypto.keys import OwnerSeed
from seedcorn.errors import CredentialError

if TYPE_CHECKING:
    from mnemonic import Mnemonic

__all__ = ["WORDS", "seed_to_words", "words_to_seed"]

WORDS = 24


@cache
def _bip39() -> Mnemonic:
    """The list, read when first needed: opening with a passphrase or a host file never does."""
    from mnemonic import Mnemonic

    return Mnemonic("english")


def seed_to_words(seed: OwnerSeed) -> list[str]:
    """The 24 words of a 32-byte seed. The last one carries 8 bits of checksum."""
    return _bip39().to_mnemonic(seed).split(" ")


def words_to_seed(text: str) -> OwnerSeed:
    """The seed of 24 words, in any case and with any white space between them; numbers (1, 2., 3:) do not count.

    Raises:
        CredentialError: saying which word is not on the list and what may be meant, or that some word is another one than was written down.
    """
    known = frozenset(_bip39().wordlist)
    words = [word for word in text.lower().split() if not word.rstrip(".:)").isdigit()]
    for number, word in enumerate(words, start=1):
        if word not in known:
            raise CredentialError(f"word {number}, {word!r}, is not on the list of words{_suggestion(word)}")
    if len(words) != WORDS:
        raise CredentialError(f"an owner key has {WORDS} words, here are {len(words)}: look for one that is missing or was typed twice")
    try:
        return OwnerSeed(bytes(_bip39().to_entropy(words)))
    except ValueError as error:
        raise CredentialError("all words are on the list, but one is not the right one or two changed places: compare with the paper") from error


def _suggestion(word: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, _bip39().wordlist, n=3, cutoff=0.7)
    return f": {' or '.join(close)}?" if close else ""
