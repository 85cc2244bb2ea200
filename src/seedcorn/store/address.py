"""What a person types after ``-r``, and the store it stands for. Owns the spellings; the only module that knows all kinds of stores.

Credentials never stand in an address, so it may be shown and written down.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote

from seedcorn.errors import UsageError
from seedcorn.store.api import Store
from seedcorn.store.options import StoreOptions

if TYPE_CHECKING:
    from seedcorn.store.providers import Provider

__all__ = ["StoreAddress", "open_store", "parse_address"]

_EXAMPLES = "for example /srv/backup, s3://bucket/prefix, s3:https://objects.example.org/bucket/prefix, gs://bucket/prefix or az://container/prefix"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_SEGMENT = re.compile(r"[A-Za-z0-9._=@+-]+")  # what every store and the library between leave as it is
_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?|\[[0-9a-fA-F:]+\](:\d{1,5})?")
_AMAZON = "s3.amazonaws.com"


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A parsed address. ``path`` for a directory, else ``bucket``, ``prefix`` (no slash at either end) and, if it was named, ``endpoint``."""

    kind: Literal["local"] | Provider
    bucket: str = ""
    prefix: str = ""
    endpoint: str = ""
    path: Path = Path()

    def __str__(self) -> str:
        if self.kind == "local":
            return str(self.path)
        place = "/".join(part for part in (self.bucket, self.prefix) if part)
        return f"s3:{self.endpoint}/{place}" if self.endpoint else f"{self.kind}://{place}"


def parse_address(text: str) -> StoreAddress:
    """The address that ``text`` spells.

    Raises:
        UsageError: it spells none; the message says what is wrong and gives examples.
    """
    if text.startswith("/"):
        return StoreAddress("local", path=Path(text))
    if text.startswith("file://"):
        return _file(text)
    scheme, colon, rest = text.partition(":")
    if colon and scheme == "s3" and not rest.startswith("//"):
        return _s3_with_endpoint(text, rest)
    if colon and scheme in ("s3", "gs", "az") and rest.startswith("//"):
        bucket, prefix = _bucket_and_prefix(text, rest[2:])
        return StoreAddress("s3" if scheme == "s3" else "gs" if scheme == "gs" else "az", bucket, prefix)
    if colon and re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        raise UsageError(f"{text!r}: seedcorn has no store of the kind {scheme!r}; write {_EXAMPLES}")
    raise UsageError(f"{text!r} is neither the absolute path of a directory nor the URL of a bucket; write {_EXAMPLES}")


def open_store(address: str | StoreAddress, *, credentials: Mapping[str, str], options: StoreOptions) -> Store:
    """The store at ``address``. Makes no request yet: the first one tells whether it can be reached.

    Args:
        address: as typed, or parsed.
        credentials: values under the names of the providers' environment variables (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ``AWS_CA_BUNDLE``,
            ``GOOGLE_APPLICATION_CREDENTIALS``, ``AZURE_STORAGE_ACCOUNT_NAME`` ...); other names are ignored. See ``providers``.
        options: patience and TLS of a cloud store.

    Raises:
        UsageError: the address or the credentials make no sense.
    """
    parsed = parse_address(address) if isinstance(address, str) else address
    if parsed.kind == "local":
        from seedcorn.store.local import LocalStore

        return LocalStore(parsed.path)
    from seedcorn.store.cloud import CloudStore  # loads a large library that a local repository has no use for
    from seedcorn.store.providers import ca_bundle, cloud_settings

    if options.ca_certificate is None:
        options = replace(options, ca_certificate=ca_bundle(credentials))
    settings = cloud_settings(parsed.kind, parsed.bucket, parsed.prefix, parsed.endpoint, credentials)
    return CloudStore(str(parsed), settings, options)


def _file(text: str) -> StoreAddress:
    path = unquote(text.removeprefix("file://"))
    if not path.startswith("/"):
        raise UsageError(f"{text!r} is not the URL of a directory: it takes three slashes, as in file:///srv/backup")
    return StoreAddress("local", path=Path(path))


def _s3_with_endpoint(text: str, rest: str) -> StoreAddress:
    """restic's spelling: ``s3:https://host[:port]/bucket/prefix``, where ``https://`` may be left out."""
    scheme, host_and_path = "https", rest
    for candidate in ("https", "http"):
        if rest.startswith(f"{candidate}://"):
            scheme, host_and_path = candidate, rest.removeprefix(f"{candidate}://")
    host, _, path = host_and_path.partition("/")
    if "@" in host:
        raise UsageError("an address holds no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead")
    if not _HOST.fullmatch(host):
        raise UsageError(f"{text!r} names no host; write s3:https://objects.example.org/bucket/prefix")
    bucket, prefix = _bucket_and_prefix(text, path)
    return StoreAddress("s3", bucket, prefix, "" if host == _AMAZON else f"{scheme}://{host}")


def _bucket_and_prefix(text: str, path: str) -> tuple[str, str]:
    bucket, _, prefix = path.partition("/")
    if "@" in bucket:
        raise UsageError("an address holds no credentials and no account: set them in the provider's variables (AWS_*, GOOGLE_*, AZURE_*)")
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(f"{text!r} names no bucket; write {_EXAMPLES}")
    prefix = prefix.rstrip("/")
    for segment in prefix.split("/") if prefix else ():
        if not _SEGMENT.fullmatch(segment) or segment in (".", ".."):
            raise UsageError(f"{text!r}: the prefix may hold letters, digits and . _ = @ + - between single slashes, which {segment!r} does not")
    return bucket, prefix
