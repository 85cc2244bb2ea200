"""Every exception that seedcorn raises on purpose, typed by what the caller can do about it.

Owns the tree below and the exit code of each branch; knows nothing else of the package. Anything that escapes a public function and is not in
this tree is a bug of ours.

    SeedcornError                 1   the run failed
    ├── UsageError                2   the request makes no sense: change the command line or the configuration
    ├── RepositoryNotFoundError  10   there is no repository at that place
    ├── CredentialError          12   wrong passphrase, wrong key, or a key that may not do this
    ├── IntegrityError           13   stored bytes are not what was written; ``object_name`` says which
    │   ├── AlteredError         13   bytes are not those of their name
    │   └── ForeignSessionError  13   a host says of another one's session that it is its own: counts for nothing
    ├── SourceError               3   a source could not be read; the run goes on without it
    ├── TargetError               1   a restored file could not be written; the run goes on without it
    └── StoreError                1   the object store answered with a failure
        ├── ObjectNotFoundError  1   no object of that name
        ├── ObjectExistsError    1   a create-only put met an object with other bytes
        ├── AccessDeniedError    1   the store refused the credential
        └── StoreUnavailableError 1  no answer, or none in time; may pass by itself
"""

from __future__ import annotations

__all__ = [
    "EXIT_DONE",
    "EXIT_FAILED",
    "EXIT_INTEGRITY",
    "EXIT_INTERRUPTED",
    "EXIT_SOURCE_ERRORS",
    "AccessDeniedError",
    "AlteredError",
    "CredentialError",
    "ForeignSessionError",
    "IntegrityError",
    "ObjectExistsError",
    "ObjectNotFoundError",
    "RepositoryNotFoundError",
    "SeedcornError",
    "SourceError",
    "StoreError",
    "StoreUnavailableError",
    "TargetError",
    "UsageError",
]

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_SOURCE_ERRORS = 3
EXIT_INTEGRITY = 13
EXIT_INTERRUPTED = 130


class SeedcornError(Exception):
    """Root of the tree. ``str()`` of it is a whole sentence for a person: what happened, to what, and what to do.

    ``when_told`` is what is left of that for whoever has heard the monitor, if the operation has told it of the causes one by one; else empty.
    """

    exit_code = EXIT_FAILED
    when_told = ""


class UsageError(SeedcornError):
    """The request itself is wrong."""

    exit_code = 2


class RepositoryNotFoundError(SeedcornError):
    """No repository at the given place."""

    exit_code = 10


class CredentialError(SeedcornError):
    """A passphrase, key or host file that does not open what it was used on."""

    exit_code = 12


class IntegrityError(SeedcornError):
    """Stored bytes that fail authentication, a limit, or a rule of the format. ``object_name`` is the store key, path or id concerned."""

    exit_code = EXIT_INTEGRITY

    def __init__(self, message: str, *, object_name: str = "", when_told: str = "") -> None:
        super().__init__(f"{object_name}: {message}" if object_name else message)
        self.message = message
        self.object_name = object_name
        self.when_told = when_told

    def named(self, object_name: str) -> IntegrityError:
        """The same failure with the object it was found in, unless it already has a name."""
        return self if self.object_name else type(self)(self.message, object_name=object_name)


class ForeignSessionError(IntegrityError):
    """What lies in the room of one host names a session of another one as its own. No program writes that, so nothing true can depend on it."""


class AlteredError(IntegrityError):
    """An object's bytes are not those of its name: whoever put it may have put something true."""


class SourceError(SeedcornError):
    """A file, directory or command that could not be read while backing up. ``path`` is raw bytes as the system gave them."""

    exit_code = EXIT_SOURCE_ERRORS

    def __init__(self, path: bytes, message: str) -> None:
        super().__init__(f"{printable(path)}: {message}")
        self.path = path
        self.message = message


class TargetError(SeedcornError):
    """A path that could not be written while restoring. ``path`` is raw bytes relative to the target."""

    def __init__(self, path: bytes, message: str) -> None:
        super().__init__(f"{printable(path)}: {message}")
        self.path = path
        self.message = message


class StoreError(SeedcornError):
    """The object store failed. ``key`` is the object's key relative to the repository."""

    def __init__(self, message: str, *, key: str = "") -> None:
        super().__init__(f"{key}: {message}" if key else message)
        self.key = key


class ObjectNotFoundError(StoreError):
    """No object under ``key``."""


class ObjectExistsError(StoreError):
    """A create-only put found ``key`` taken by different bytes."""


class AccessDeniedError(StoreError):
    """The store knows the request and refuses it."""


class StoreUnavailableError(StoreError):
    """The store did not answer, or not in time, after all retries."""


def printable(name: bytes) -> str:
    """A file name for a terminal: valid printable UTF-8 as it is, all else (control characters, bad bytes) as Python writes it, as in ``\\n``."""
    text = name.decode("utf-8", "surrogateescape")
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")
