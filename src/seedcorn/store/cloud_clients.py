"""The library's own stores, of which one place needs several: timeouts and retries are settings of a store there, not of a request.

Owns how long a request may take and how often it is tried again, TLS, credentials, and every setting that the environment could otherwise choose.
Makes no request. Beside ``cloud`` the only importer of obstore.
"""

from __future__ import annotations

import os
from datetime import timedelta
from enum import Enum
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

from obstore.store import AzureStore, GCSStore, S3Store

from seedcorn.errors import StoreError
from seedcorn.store.api import LARGEST_OBJECT_BYTES
from seedcorn.store.options import StoreOptions
from seedcorn.store.providers import AccessKey, CloudSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from obstore.store import ClientConfig, RetryConfig, S3Credential

__all__ = ["Client", "CloudClients", "Load"]

Client = S3Store | GCSStore | AzureStore

_PACK_BYTES = 80 << 20  # the most that a put carries as a rule (docs/format.md, "Objects"); something larger needs a faster line
_SMALL_BYTES = 1 << 20  # a put of at most this much needs no longer timeout


class Load(Enum):
    """What a request carries, and so how long it may take as a whole."""

    SMALL = "little either way"
    UP = "up to a pack"
    DOWN = "an object of unknown size comes: while anything comes it may take long, and silence is noticed at once"

    @classmethod
    def of_put(cls, sent_bytes: int) -> Load:
        """That of a put."""
        return cls.UP if sent_bytes > _SMALL_BYTES else cls.SMALL


class CloudClients:
    """Opens what is needed when it is needed, and keeps it. Threads may share it; processes that were forked may not."""

    def __init__(self, settings: CloudSettings, options: StoreOptions) -> None:
        self._settings = settings
        self._options = options
        self._over_http = settings.place.endpoint.startswith("http://")
        self._open: dict[tuple[Load, bool, bool], Client] = {}
        self._lock = Lock()
        self._process = os.getpid()

    def take(self, load: Load, *, first: bool, bulk_delete: bool = True) -> Client:
        """The client for a request. ``first``: the store has not answered yet, so its address may be misspelt; or not this kind of request, and the
        library would repeat a 501 for minutes. Then there are few retries.

        Raises:
            StoreError: this process is a fork of the one that opened the store; the library's threads are not in it.
        """
        if os.getpid() != self._process:
            raise StoreError("a cloud store can not be used after a fork: open it in the process that uses it")
        with self._lock:
            client = self._open.get((load, first, bulk_delete))
            if client is None:
                client = self._open[load, first, bulk_delete] = self._new(load, first=first, bulk_delete=bulk_delete)
            return client

    def with_headers(self, headers: Mapping[str, str]) -> Client:
        """A client of its own that sends these headers with everything."""
        return self._new(Load.SMALL, first=True, headers=headers)

    def close(self) -> None:
        """Give back all connections."""
        with self._lock:
            self._open.clear()

    def _new(self, load: Load, *, first: bool, bulk_delete: bool = True, headers: Mapping[str, str] | None = None) -> Client:
        """The library's configuration is typed by provider; ours is a table, hence the casts."""
        settings = self._settings
        common: dict[str, Any] = {"prefix": settings.prefix or None, "client_options": self._http(load), "retry_config": self._retry(first)}
        if headers:
            common["client_options"]["default_headers"] = dict(headers)
        config: dict[str, Any] = {**settings.config, **self._details(bulk_delete)}
        if settings.provider == "gs":
            return GCSStore(settings.place.bucket, config=cast(Any, config), **common)
        if settings.provider == "az":
            return AzureStore(settings.place.bucket, config=cast(Any, config), **common)
        if settings.access_key is not None:
            common["credential_provider"] = _FixedKey(settings.access_key)
        return S3Store(settings.place.bucket, config=cast(Any, config), **common)

    def _details(self, bulk_delete: bool) -> dict[str, Any]:
        """The settings that are ours to choose. Each is always given, so that nothing in the environment can choose otherwise."""
        if self._settings.provider != "s3":
            return {}
        unsigned = self._options.unsigned_payload and not self._over_http
        return {"conditional_put": "etag", "disable_bulk_delete": not bulk_delete, "unsigned_payload": unsigned}

    def _http(self, load: Load) -> ClientConfig:
        options = self._options
        largest_bytes = {Load.SMALL: 0, Load.UP: _PACK_BYTES, Load.DOWN: LARGEST_OBJECT_BYTES}[load]
        http: ClientConfig = {
            "timeout": timedelta(seconds=options.timeout_seconds + largest_bytes / options.slowest_bytes_per_second),
            "connect_timeout": timedelta(seconds=options.connect_timeout_seconds),
            "allow_http": self._over_http,
        }
        if load is Load.DOWN:  # for a put it would begin with the request, not with the end of what is sent
            http["read_timeout"] = timedelta(seconds=options.timeout_seconds)
        if options.ca_certificate is not None:
            http["root_certificate"] = options.ca_certificate
        return http

    def _retry(self, first: bool) -> RetryConfig:
        return {
            "max_retries": self._options.first_retries if first else self._options.retries,
            "retry_timeout": timedelta(seconds=self._options.retry_timeout_seconds),
            "backoff": {"init_backoff": timedelta(milliseconds=250), "max_backoff": timedelta(seconds=15), "base": 2},
        }


class _FixedKey:
    """Hands the library one access key. Given as settings instead, a session token of the environment would be mixed into it."""

    def __init__(self, key: AccessKey) -> None:
        self._credential: S3Credential = {
            "access_key_id": key.key_id,
            "secret_access_key": key.secret,
            "token": key.session_token,
            "expires_at": None,
        }

    def __call__(self) -> S3Credential:
        return self._credential
