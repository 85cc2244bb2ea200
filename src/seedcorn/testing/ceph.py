"""A Ceph cluster on the loopback address: one monitor, one or more OSDs on BlueStore files, one RADOS gateway that speaks S3.

The nearest thing to a production object store that fits on a laptop. Single OSDs can be killed and started again while it serves.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import uuid
from pathlib import Path

from seedcorn.testing.servers import S3Server, ServerError, program

__all__ = ["CephCluster"]

_OSD_BYTES = 4 << 30  # a sparse file
_GATEWAY = "client.rgw.test"
_ALL = "allow *"


class CephCluster(S3Server):
    """``osds`` copies of each object; with three, writes go on while one of them is down."""

    ready_seconds = 180.0
    region = "default"

    def __init__(self, osds: int = 1) -> None:
        super().__init__()
        self.osds = osds
        self._monitor = f"[v2:127.0.0.1:{self.ports.lease()}]"
        self._cluster_id = str(uuid.uuid4())
        self._config = self.directory / "ceph.conf"
        self._keyring = self.directory / "keyring"
        self._user_made = False

    def launch(self) -> None:
        fresh = not self._config.exists()
        if fresh:
            self._make_monitor()
        self._daemon("mon", "ceph-mon", "-i", "a")
        for number in range(self.osds):
            if fresh:
                self._make_osd(number)
            self.start_osd(number)
        if fresh:
            self._make_gateway()
        self._daemon("rgw", "radosgw", "-n", _GATEWAY)

    def is_ready(self) -> bool:
        if not self._user_made:
            keys = [f"--access-key={self.access_key}", f"--secret-key={self.secret_key}"]
            self._run("radosgw-admin", "user", "create", "--uid=test", "--display-name=test", *keys)
            self._user_made = True
        return super().is_ready()

    def start_osd(self, number: int) -> None:
        """Start one OSD (again)."""
        self._daemon(f"osd-{number}", "ceph-osd", "-i", str(number))

    def kill_osd(self, number: int) -> None:
        """End one OSD as a power cut would; the cluster notices by itself."""
        process = self.processes.pop(f"osd-{number}")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _make_monitor(self) -> None:
        self._config.write_text(self._settings())
        for folder in ("mon", "rgw", "crash", "run"):
            (self.directory / folder).mkdir()
        self._run("ceph-authtool", "--create-keyring", self._keyring, "--gen-key", "-n", "mon.", "--cap", "mon", _ALL)
        administrator = [option for daemon in ("mon", "osd", "mgr") for option in ("--cap", daemon, _ALL)]
        self._run("ceph-authtool", self._keyring, "--gen-key", "-n", "client.admin", *administrator)
        monitor_map = self.directory / "monmap"
        self._run("monmaptool", "--create", "--addv", "a", self._monitor, "--fsid", self._cluster_id, monitor_map)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monitor_map, "--keyring", self._keyring)

    def _make_osd(self, number: int) -> None:
        (self.directory / f"osd-{number}").mkdir()
        osd_id, key = str(uuid.uuid4()), self._run("ceph-authtool", "--gen-print-key").strip()
        given = self._run("ceph", "osd", "new", osd_id, "-i", "-", stdin=json.dumps({"cephx_secret": key})).strip()
        if given != str(number):
            raise ServerError(f"the monitor calls OSD {number} {given}")
        self._run("ceph-authtool", self._keyring, "--name", f"osd.{number}", "--add-key", key)
        self._run("ceph-osd", "-i", str(number), "--mkfs", "--osd-uuid", osd_id)

    def _make_gateway(self) -> None:
        entry = self._run("ceph", "auth", "get-or-create", _GATEWAY, "mon", "allow rw", "osd", "allow rwx")
        with self._keyring.open("a") as keyring:
            keyring.write(entry)

    def _daemon(self, name: str, command: str, *arguments: str) -> None:
        self.run(name, [program(command), "-c", self._config, "-f", *arguments])

    def _run(self, command: str, *arguments: str | Path, stdin: str | None = None) -> str:
        """One administrative command; what it prints."""
        full = [program(command), *arguments]
        if command not in ("ceph-authtool", "monmaptool"):
            full[1:1] = ["-c", self._config]
        plain = {"PATH": os.defpath, "HOME": str(self.directory), "LANG": "C.UTF-8"}  # Ceph's own scripts want the system's Python
        done = subprocess.run(full, input=stdin, capture_output=True, text=True, cwd=self.directory, env=plain, timeout=120)
        if done.returncode:
            raise ServerError(f"{command} {arguments[0]} ended with status {done.returncode}:\n{done.stderr}")
        return done.stdout

    def _settings(self) -> str:
        base = self.directory
        every = {
            "fsid": self._cluster_id,
            "mon host": self._monitor,
            "public addr": "127.0.0.1",
            "cluster addr": "127.0.0.1",
            "ms bind msgr1": "false",
            "keyring": self._keyring,
            "run dir": base / "run",
            "admin socket": base / "run" / "$name.asok",
            "pid file": base / "run" / "$name.pid",
            "crash dir": base / "crash",
            "log to stderr": "true",
            "log file": "",
            "mon cluster log file": "",
            "mon data": base / "mon",
            "osd data": f"{base}/osd-$id",
            "osd objectstore": "bluestore",
            "bluestore block size": _OSD_BYTES,
            "osd memory target": 1 << 30,
            "osd pool default size": self.osds,
            "osd pool default min size": self.osds // 2 + 1,
            "osd pool default pg num": 8,
            "osd pool default pg autoscale mode": "off",
            "osd crush chooseleaf type": 0,
            "mon allow pool size one": "true",
            "auth allow insecure global id reclaim": "false",
        }
        gateway = {"rgw frontends": f"beast endpoint=127.0.0.1:{self.port} tcp_nodelay=1", "rgw data": base / "rgw"}
        sections = {"global": every, _GATEWAY: gateway}
        return "\n".join(f"[{name}]\n" + "\n".join(f"{key} = {value}" for key, value in values.items()) for name, values in sections.items()) + "\n"
