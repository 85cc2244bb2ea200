"""A small S3 that does as it is told: keeps objects, and answers chosen requests wrongly."""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from seedcorn.store.address import open_store
from seedcorn.store.api import Store
from seedcorn.store.options import StoreOptions

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret-example"}


@dataclass(frozen=True)
class Reply:
    """What goes back; ``status`` 0 breaks the connection off."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def error(cls, status: int, code: str) -> Reply:
        return cls(status, f"<Error><Code>{code}</Code><Message>as told</Message></Error>".encode())


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    path: str  # without the bucket
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes


Rule = Callable[[Asked], Reply | None]


class ScriptedS3:
    """``rules`` are asked first, in order; where none has a reply, the request is done properly."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.objects: dict[str, bytes] = {}
        self.rules: list[Rule] = []
        self.asked: list[Asked] = []
        self.scheme = "https" if tls else "http"
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, unquote(parts.path).removeprefix("/bucket").lstrip("/"), parse_qs(parts.query, True), headers, body)
                scripted.asked.append(asked)
                reply = next((reply for rule in scripted.rules if (reply := rule(asked))), None) or scripted.do(asked)
                if reply.status == 0:
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                length = {"content-length": str(len(reply.body))}
                for name, value in {**length, **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _any  # noqa: N815  # the names that the base class looks for

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def store(self, **options: float) -> Store:
        """The store under test, opened on this server."""
        chosen = StoreOptions(**{"retries": 3, "first_retries": 2, **options})  # type: ignore[arg-type]
        return open_store(f"s3:{self.endpoint}/bucket", credentials=KEYS, options=chosen)

    def count(self, method: str) -> int:
        return sum(asked.method == method for asked in self.asked)

    def do(self, asked: Asked) -> Reply:
        data = self.objects.get(asked.path)
        if asked.method == "PUT":
            if data is not None and "if-none-match" in asked.headers:
                return Reply.error(412, "PreconditionFailed")
            self.objects[asked.path] = asked.body
            return Reply(200, headers={"etag": f'"{hashlib.md5(asked.body).hexdigest()}"'})
        if asked.method == "DELETE":
            self.objects.pop(asked.path, None)
            return Reply(204)
        if "list-type" in asked.query:
            return self.listing(sorted(self.objects))
        if data is None:
            return Reply.error(404, "NoSuchKey")
        dates = {"last-modified": "Sun, 22 Nov 2026 10:00:00 GMT", "etag": '"e"'}
        return Reply(200, data, dates)

    def listing(self, keys: list[str], *, more: str = "") -> Reply:
        rows = "".join(
            f"<Contents><Key>{key}</Key><LastModified>2026-11-22T10:00:00.000Z</LastModified>"
            f"<ETag>&quot;{hashlib.md5(self.objects[key]).hexdigest()}&quot;</ETag><Size>{len(self.objects[key])}</Size></Contents>"
            for key in keys
        )
        token = f"<NextContinuationToken>{more}</NextContinuationToken>" if more else ""
        return Reply(200, f"<ListBucketResult><IsTruncated>{str(bool(more)).lower()}</IsTruncated>{token}{rows}</ListBucketResult>".encode())


@pytest.fixture
def s3() -> Iterator[ScriptedS3]:
    server = ScriptedS3()
    yield server
    server.close()


@pytest.fixture
def own_certificate(tmp_path: Path) -> Path:
    """A PEM file with a key and a certificate for 127.0.0.1 that signs itself."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "seedcorn test")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - timedelta(1), now + timedelta(1))
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = builder.add_extension(alternative, critical=False).sign(key, SHA256())
    path = tmp_path / "certificate.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(secret + certificate.public_bytes(Encoding.PEM))
    return path


@pytest.fixture
def s3_over_tls(own_certificate: Path) -> Iterator[ScriptedS3]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own_certificate)
    server = ScriptedS3(context)
    yield server
    server.close()


@pytest.fixture
def error_reply() -> Callable[[int, str], Reply]:
    return Reply.error


@pytest.fixture
def reply() -> type[Reply]:
    return Reply
