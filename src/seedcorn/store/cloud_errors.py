"""Reads the failures of obstore, which carry the store's answer as text only, and says them in our words.

Owns the table from what a store answers to what a person should do. Knows no requests and makes none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from seedcorn.errors import AccessDeniedError, ObjectNotFoundError, StoreError, StoreUnavailableError

__all__ = ["Answer", "Place"]

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9]+)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,200})", re.DOTALL)
_METADATA_SERVICE = "169.254.169.254"  # of a cloud machine, in every cloud
_NOT_SUPPORTED_CODES = frozenset({"NotImplemented", "UnsupportedHeader", "UnsupportedOperation"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cloud store is, in the words of its messages."""

    bucket: str
    endpoint: str  # a URL, or the provider's name where the endpoint follows from it
    region: str
    key_name: str  # the setting that holds the access key
    secret_name: str

    def __str__(self) -> str:
        return f"bucket {self.bucket!r} at {self.endpoint}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a failed request brought back: the HTTP status (0 if there was no answer), the store's error code (or empty), and the whole text."""

    status: int
    code: str
    text: str

    @classmethod
    def of(cls, error: BaseException) -> Answer:
        text = str(error)
        status, code = _STATUS.search(text), _CODE.search(text)
        number = int(status[1]) if status else 404 if isinstance(error, FileNotFoundError) else 0
        return cls(number, code[1] if code else "", text)

    @property
    def is_missing_object(self) -> bool:
        return self.status == 404 and self.code not in ("NoSuchBucket", "ContainerNotFound")

    @property
    def is_range_ignored(self) -> bool:
        """The whole object came back where a range was asked for."""
        return "NotPartial" in self.text

    @property
    def is_redirection(self) -> bool:
        """One that the library did not follow: it does so for what reads, if it is told where to."""
        return 300 <= self.status < 400 or "redirect without LOCATION" in self.text

    @property
    def is_about_one_of_many(self) -> bool:
        """A bulk delete was done, but for one object at least."""
        return "request failed for key" in self.text

    @property
    def is_not_supported(self) -> bool:
        """The store does not know this kind of request (or a condition on it)."""
        return self.status == 501 or self.code in _NOT_SUPPORTED_CODES

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in (0, 408, 429) or self.status >= 500

    def as_store_error(self, place: Place, key: str) -> StoreError:
        """The error to raise for a request about ``key`` (or a prefix)."""
        if _METADATA_SERVICE in self.text:  # asked for a role's credentials because none were given; what it answered is of no interest
            return AccessDeniedError(f"no credentials for {place}: set {place.key_name} and {place.secret_name}", key=key)
        if self.code in _BY_CODE:
            kind, words = _BY_CODE[self.code]
            return kind(words.format(place=place), key=key)
        if self.is_missing_object:
            return ObjectNotFoundError(f"there is no such object in {place}", key=key)
        if self.is_redirection:
            region = f", and that AWS_REGION, now {place.region!r}, is the region of the bucket" if place.region else ""
            return StoreError(f"{place} sends requests elsewhere: check the endpoint (https:// instead of http://?){region}", key=key)
        if self.status == 0:
            return self._without_answer(place, key)
        return self._by_status(place, key)

    def _by_status(self, place: Place, key: str) -> StoreError:
        detail = self.code or "no further word"
        if (message := _MESSAGE.search(self.text)) is not None:
            detail += f": {message[1].split(chr(10))[0].strip()}"
        if self.status in (401, 403):
            return AccessDeniedError(f"{place} refuses this ({detail}): check what {place.key_name} may do there", key=key)
        if self.may_pass:
            return StoreUnavailableError(f"{place} answered {self.status} ({detail}) until the retries were used up: try again later", key=key)
        return StoreError(f"{place} answered {self.status} ({detail})", key=key)

    def _without_answer(self, place: Place, key: str) -> StoreError:
        for needle, kind, words in _BY_TEXT:
            if needle in self.text:
                return kind(words.format(place=place), key=key)
        first_line = self.text.partition("\n")[0][:300]
        return StoreError(f"{place}: {first_line}", key=key)


_BY_CODE: dict[str, tuple[type[StoreError], str]] = {
    "NoSuchBucket": (StoreError, "there is no {place}: create it, or correct the name"),
    "ContainerNotFound": (StoreError, "there is no {place}: create the container, or correct the name"),
    "InvalidAccessKeyId": (AccessDeniedError, "{place} does not know this access key: check {place.key_name}"),
    "SignatureDoesNotMatch": (AccessDeniedError, "{place} finds the signature wrong: check {place.secret_name}"),
    "AuthenticationFailed": (AccessDeniedError, "{place} does not accept this key: check {place.key_name} and {place.secret_name}"),
    "AuthorizationFailure": (AccessDeniedError, "{place} refuses this: check what {place.key_name} may do there"),
    "ExpiredToken": (AccessDeniedError, "{place}: the temporary credentials have expired: get new ones"),
    "RequestTimeTooSkewed": (AccessDeniedError, "{place} finds this machine's clock wrong: set it, and keep it set by NTP"),
    "AuthorizationHeaderMalformed": (StoreError, "{place} is in another region than {place.region!r}: set AWS_REGION to the region of the bucket"),
    "PermanentRedirect": (StoreError, "{place} is in another region than {place.region!r}: set AWS_REGION to the region of the bucket"),
    "InvalidRange": (StoreError, "the object ends before the range that was asked for"),
    "QuotaExceeded": (StoreError, "the quota of {place} is used up"),
}

# Without an HTTP answer the cause stands somewhere in the library's chain of sources; the first line that fits wins.
_BY_TEXT: tuple[tuple[str, type[StoreError], str], ...] = (
    ("InvalidCertificate", StoreError, "the TLS certificate of {place} is not trusted: give its CA certificate"),
    ("InvalidContentType", StoreError, "{place} does not speak TLS on this port: is it an http:// endpoint?"),
    ("dns error", StoreUnavailableError, "no address is known for {place}: check the endpoint and the network"),
    (
        "ConnectionRefused",
        StoreUnavailableError,
        "{place} refuses connections: check the endpoint, HTTPS_PROXY if it is set, and that the server is running",
    ),
    (
        "Connection refused",
        StoreUnavailableError,
        "{place} refuses connections: check the endpoint, HTTPS_PROXY if it is set, and that the server is running",
    ),
    ("TimedOut", StoreUnavailableError, "{place} did not answer in time: check the network, or raise the timeout"),
    ("kind: Timeout", StoreUnavailableError, "{place} did not answer in time: check the network, or raise the timeout"),
    ("ConnectionReset", StoreUnavailableError, "{place} broke the connection off: is the server being restarted?"),
    ("kind: Connect", StoreUnavailableError, "{place} can not be reached: check the endpoint, the network, and HTTPS_PROXY if it is set"),
    ("HTTP error", StoreUnavailableError, "the connection to {place} broke off until the retries were used up: try again later"),
)
