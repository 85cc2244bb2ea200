"""Real object stores on the loopback address, started for a test and gone after it.

Owns one process group per server process, a short temporary directory, and the ports in use. Every server binds 127.0.0.1 only, is ready when
``start`` returns, and is ended by SIGKILL: on ``stop``, at the end of the ``with`` block, and by the kernel if the test process dies. (The kernel
watches the thread that started it: start servers in a thread that outlives them.) The programs come from the project's ``servers`` extra and from
system packages.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar, Self

from seedcorn.testing.ports import PortLeases
from seedcorn.testing.signing import azure_request, s3_request

__all__ = ["Azurite", "Ministack", "RcloneServe", "S3Server", "SeaweedFS", "Server", "ServerError"]

_LOG_TAIL_BYTES = 3000
_EMULATOR_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class ServerError(Exception):
    """A test server that did not start, or died; with the end of its log."""


class Server:
    """One server, of one or more processes. Use it as a context manager, or ``start`` and ``close``."""

    ready_seconds: ClassVar[float] = 60.0

    def __init__(self) -> None:
        self.ports = PortLeases()
        self.directory = Path(tempfile.mkdtemp(prefix="seedcorn-"))  # short: paths of sockets end at 107 bytes
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the processes (again, after ``stop``, on the data that is there) and wait until they serve."""
        self.launch()
        deadline = time.monotonic() + self.ready_seconds
        while not self.is_ready():
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise ServerError(f"{name} ended with status {process.returncode}:\n{self.log_tail(name)}")
            if time.monotonic() > deadline:
                logs = "\n".join(f"{name}:\n{self.log_tail(name)}" for name in self.processes)
                raise ServerError(f"{type(self).__name__} is not ready after {self.ready_seconds:g} s:\n{logs}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Kill every process as a power cut would."""
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for process in self.processes.values():
            process.wait()
        self.processes.clear()

    def close(self) -> None:
        """Stop, and remove everything."""
        self.stop()
        self.ports.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def launch(self) -> None:
        """Start the processes without waiting for them."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether it serves requests now."""
        raise NotImplementedError

    def run(self, name: str, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        """Start one process. It sees nothing of the tests' environment but what it takes to run."""
        scratch = self.directory / "tmp"
        scratch.mkdir(exist_ok=True)
        plain = {"PATH": search_path(), "HOME": str(self.directory), "TMPDIR": str(scratch), "LANG": "C.UTF-8"}
        with open(self.directory / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                [program("setpriv"), "--pdeathsig", "KILL", *command],
                cwd=self.directory,
                env={**plain, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def log_tail(self, name: str) -> str:
        """The end of what the process ``name`` has written."""
        return (self.directory / f"{name}.log").read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")


class S3Server(Server):
    """A server that speaks S3, with one access key that may do everything."""

    access_key: ClassVar[str] = "SEEDCORNTESTKEY"
    secret_key: ClassVar[str] = "seedcorn-test-secret"
    region: ClassVar[str] = "us-east-1"

    def __init__(self) -> None:
        super().__init__()
        self.port = self.ports.lease()

    @property
    def endpoint(self) -> str:
        """The URL of the server."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def credentials(self) -> dict[str, str]:
        """What ``open_store`` takes."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key, "AWS_REGION": self.region}

    def address(self, bucket: str, prefix: str = "") -> str:
        """What a person would give to ``-r``."""
        return f"s3:{self.endpoint}/{bucket}/{prefix}".rstrip("/")

    def make_bucket(self, name: str) -> None:
        """Create a bucket; nothing happens if it is there.

        Raises:
            urllib.error.URLError: the server refuses, or is not there.
        """
        with _existing_is_fine():
            self.request("PUT", f"/{name}")

    def keep_versions(self, bucket: str) -> None:
        """Switch versioning on."""
        self.request("PUT", f"/{bucket}?versioning", b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")

    def add_user(self, name: str, policy: Mapping[str, object]) -> dict[str, str]:
        """Make a user who may do what an IAM policy says; what ``open_store`` takes to be that user."""
        self._iam("CreateUser", UserName=name)
        self._iam("PutUserPolicy", UserName=name, PolicyName="only", PolicyDocument=json.dumps(policy))
        answer = self._iam("CreateAccessKey", UserName=name)
        key_id, secret = (_between(answer, f"<{tag}>", f"</{tag}>") for tag in ("AccessKeyId", "SecretAccessKey"))
        return {**self.credentials, "AWS_ACCESS_KEY_ID": key_id, "AWS_SECRET_ACCESS_KEY": secret}

    def _iam(self, action: str, **parameters: str) -> str:
        form = urllib.parse.urlencode({"Action": action, "Version": "2010-05-08", **parameters}).encode()
        return self.request("POST", "/", form, service="iam").decode()

    def request(self, method: str, path: str, body: bytes = b"", *, service: str = "s3") -> bytes:
        """One signed request, for what the store under test has no verb for."""
        keys = {"access_key": self.access_key, "secret_key": self.secret_key, "region": self.region}
        signed = s3_request(method, self.endpoint + path, body=body, service=service, **keys)
        with urllib.request.urlopen(signed, timeout=10) as answer:  # noqa: S310  # loopback only
            data: bytes = answer.read()
            return data

    def is_ready(self) -> bool:
        try:
            self.make_bucket("ready")
            self.request("PUT", "/ready/object", b"ready")
        except OSError:  # which a urllib.error.URLError is
            return False
        return True


class Ministack(S3Server):
    """A light emulator of S3 that enforces conditional puts. Keeps everything in memory."""

    access_key = "test"
    secret_key = "test"

    def launch(self) -> None:
        settings = {
            "BIND_HOST": "127.0.0.1",
            "MINISTACK_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "SERVICES": "s3,iam,sts",
            "AUTH": "true",
            "LOG_LEVEL": "WARNING",
        }
        self.run("ministack", [program("ministack")], settings)


class SeaweedFS(S3Server):
    """A distributed store, here with all its parts in one process. Data survives ``stop``."""

    def __init__(self) -> None:
        Server.__init__(self)
        # Every part has a gRPC port 10000 above its own.
        self.port, self._master, self._volume, self._filer = (self.ports.lease(also=[10_000]) for _ in range(4))

    def launch(self) -> None:
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
        key = {"accessKey": self.access_key, "secretKey": self.secret_key}
        identity = {"name": "test", "credentials": [key], "actions": ["Admin", "Read", "List", "Tagging", "Write"]}
        identities = self.directory / "identities.json"
        identities.write_text(json.dumps({"identities": [identity]}))
        self.run(
            "weed",
            [
                program("weed"), "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                "-master.telemetry=false", "-master.electionTimeout=1s", f"-master.port={self._master}", "-master.volumeSizeLimitMB=1024",
                f"-volume.port={self._volume}", "-volume.max=100", "-filer", f"-filer.port={self._filer}",
                "-s3", f"-s3.port={self.port}", f"-s3.config={identities}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam.readOnly=false",
            ],
        )  # fmt: skip


class RcloneServe(S3Server):
    """A directory served as S3. Ignores conditions on puts and answers ranges with the whole object: the least that may call itself S3."""

    def launch(self) -> None:
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
        config = self.directory / "rclone.conf"
        config.touch()
        options = ["--addr", f"127.0.0.1:{self.port}", "--auth-key", f"{self.access_key},{self.secret_key}"]
        self.run("rclone", [program("rclone"), "serve", "s3", "--config", config, *options, data])


class Azurite(Server):
    """The emulator of Azure's blob store, from npm. Keeps everything in memory."""

    account: ClassVar[str] = "devstoreaccount1"  # the one account that every such emulator has, with its published key
    account_key: ClassVar[str] = _EMULATOR_KEY

    def __init__(self) -> None:
        super().__init__()
        self.port = self.ports.lease()

    @property
    def endpoint(self) -> str:
        """The URL of the account."""
        return f"http://127.0.0.1:{self.port}/{self.account}"

    @property
    def credentials(self) -> dict[str, str]:
        """What ``open_store`` takes."""
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": self.account,
            "AZURE_STORAGE_ACCOUNT_KEY": self.account_key,
            "AZURE_STORAGE_ENDPOINT": self.endpoint,
        }

    def address(self, bucket: str, prefix: str = "") -> str:
        """What a person would give to ``-r``."""
        return f"az://{bucket}/{prefix}".rstrip("/")

    def make_bucket(self, name: str) -> None:
        """Create a container; nothing happens if it is there."""
        resource = f"/{self.account}/{self.account}/{name}\nrestype:container"
        url = f"{self.endpoint}/{name}?restype=container"
        signed = azure_request("PUT", url, account=self.account, account_key=self.account_key, resource=resource)
        with _existing_is_fine():
            urllib.request.urlopen(signed, timeout=10).close()  # noqa: S310  # loopback only

    def launch(self) -> None:
        options = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--inMemoryPersistence"]
        self.run("azurite", [program("azurite-blob"), *options, "--silent", "--skipApiVersionCheck", "--disableTelemetry"])

    def is_ready(self) -> bool:
        try:
            self.make_bucket("ready")
        except OSError:
            return False
        return True


@contextmanager
def _existing_is_fine() -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise


def _between(text: str, begin: str, end: str) -> str:
    return text.partition(begin)[2].partition(end)[0]


def search_path() -> str:
    """Where programs are looked for: beside this Python first."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


def program(name: str) -> str:
    """The path of a program that a server needs.

    Raises:
        ServerError: it is not installed.
    """
    found = shutil.which(name, path=search_path())
    if found is None:
        raise ServerError(f"the program {name!r} is not installed: `make servers` installs what tests need")
    return found
