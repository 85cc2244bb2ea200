"""OpenStack Swift with its S3 front, on one machine with one replica.

A store that accepts create-only puts but checks and writes in two steps, so that several writers at once may all be told they won.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from seedcorn.testing.servers import S3Server, ServerError, program

__all__ = ["Swift"]

_KINDS = ("account", "container", "object")
_SERVE = "import sys; from swift.common.wsgi import run_wsgi; sys.exit(run_wsgi(sys.argv[1], sys.argv[2] + '-server'))"


class Swift(S3Server):
    """Four processes: the proxy that speaks S3, and an account, a container and an object server behind it."""

    access_key = "lab:lab"
    secret_key = "lab-secret"

    def __init__(self) -> None:
        super().__init__()
        self._behind = {kind: self.ports.lease() for kind in _KINDS}

    def launch(self) -> None:
        etc = self.directory / "etc"
        if not etc.exists():
            self._prepare(etc)
        for kind in ("proxy", *_KINDS):
            self.run(kind, [sys.executable, "-c", _SERVE, etc / f"{kind}.conf", kind])

    def _prepare(self, etc: Path) -> None:
        (self.directory / "disks" / "disk").mkdir(parents=True)
        etc.mkdir()
        (etc / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = test\n[storage-policy:0]\nname = only\ndefault = yes\n")
        for kind in _KINDS:
            (etc / f"{kind}.conf").write_text(self._server_settings(etc, kind, self._behind[kind]))
            self._make_ring(etc, kind)
        (etc / "proxy.conf").write_text(self._proxy_settings(etc))

    def _make_ring(self, etc: Path, kind: str) -> None:
        builder = etc / f"{kind}.builder"
        device = f"r1z1-127.0.0.1:{self._behind[kind]}/disk"
        for step in (["create", "4", "1", "0"], ["add", device, "1"], ["rebalance"]):
            done = subprocess.run([program("swift-ring-builder"), builder, *step], capture_output=True, text=True)
            if done.returncode:
                raise ServerError(f"swift-ring-builder {step}: {done.stdout}{done.stderr}")

    def _defaults(self, etc: Path, port: int) -> str:
        return f"[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {port}\nworkers = 0\nswift_dir = {etc}\nuser = {_user()}\nlog_level = WARNING\n"

    def _server_settings(self, etc: Path, kind: str, port: int) -> str:
        devices = f"devices = {self.directory / 'disks'}\nmount_check = false\nrecon_cache_path = {self.directory / 'cache'}\n"
        application = f"[pipeline:main]\npipeline = {kind}-server\n[app:{kind}-server]\nuse = egg:swift#{kind}\n"
        return self._defaults(etc, port) + devices + application

    def _proxy_settings(self, etc: Path) -> str:
        filters = ("catch_errors", "cache", "bulk", "slo", "s3api", "tempauth")
        lines = [self._defaults(etc, self.port), "[pipeline:main]", "pipeline = catch_errors cache s3api tempauth bulk slo proxy-server"]
        lines += ["[app:proxy-server]", "use = egg:swift#proxy", "account_autocreate = true"]
        for name in filters:
            lines += [f"[filter:{name}]", f"use = egg:swift#{'memcache' if name == 'cache' else name}"]
            if name == "tempauth":
                lines.append(f"user_lab_lab = {self.secret_key} .admin")
            if name == "s3api":
                lines.append(f"location = {self.region}")
        return "\n".join(lines) + "\n"


def _user() -> str:
    return subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
