"""``python -m reliability.mutation``: how many small wrong changes of the modules that safety rests on their tests notice, as one line of JSON.

Owns which tests belong to which module, and how a changed module is tried. The checkout is never written to: a copy of the package is changed, one
mutant at a time, and a fork of this process, in which the foreign libraries are loaded, runs the tests on that copy in an empty folder, so that code
that has lost its way can not do much. A run that takes too long is ended and counts as noticed. ``mutants`` says what is changed.

A sample is the same for the same seed, and a smaller one is part of a larger one.
"""

from __future__ import annotations

import argparse
import compileall
import importlib
import json
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest

from reliability.mutants import mutants_of

__all__ = ["TESTS", "CanNotTellError", "Finding", "Ground", "try_module"]

_CHECKOUT = Path(__file__).parents[1]
_SAMPLE = 15
_SEED = 2008
_MEMORY_BYTES = 4 << 30
_LEAST_SECONDS, _PATIENCE = 10, 5  # a run may take so many times as long as one without a change
_TIDY_SECONDS = 5
_NOT_RUN = 70
_WARM = (
    "_hypothesis_pytestplugin",
    "blake3",
    "cryptography.hazmat.primitives.asymmetric.ed25519",
    "cryptography.hazmat.primitives.asymmetric.mlkem",
    "cryptography.hazmat.primitives.asymmetric.x25519",
    "cryptography.hazmat.primitives.hpke",
    "cryptography.hazmat.primitives.kdf.argon2",
    "hypothesis.strategies",
    "lmdb",
    "mnemonic",
    "msgspec",
    "obstore",
    "pyfastcdc",
    "pyroaring",
    "pytest_timeout",
)
_OPTIONS = (
    *("-x", "-q", "--assert=plain", "--hypothesis-profile=ci", "-m", "not ceph and not slow"),
    *("-p", "no:cacheprovider", "--disable-plugin-autoload", "-p", "pytest_timeout", "-p", "_hypothesis_pytestplugin"),
)

_VECTORS = "tests/unit/crypto/test_vectors.py"
_COMMIT, _PLAN = "tests/unit/ops/backup/test_commit.py", "tests/unit/ops/gc/test_plan.py"
_ROOTS, _HISTORY = "tests/unit/repo/roots/test_roots.py", "tests/unit/repo/roots/test_history.py"
_PRUNE = "tests/collections/test_prune.py"
_SIMULATED = "tests/simulation/test_program.py::test_figures_as_json"  # a few runs

# What takes some seconds, the quickest first: a mutant that is noticed costs what comes before that, one that survives costs all.
TESTS: Mapping[str, Sequence[str]] = {
    "crypto.frames": (_VECTORS, "tests/unit/crypto/test_frames.py"),
    "crypto.keys": (_VECTORS, "tests/unit/crypto/test_keys.py"),
    "crypto.primitives": (_VECTORS, "tests/unit/crypto/test_primitives.py"),
    "crypto.slots": (_VECTORS, "tests/unit/crypto/test_slots.py"),
    "crypto.words": (_VECTORS, "tests/unit/crypto/test_words.py"),
    "compression": ("tests/unit/test_compression.py",),
    "format.names": ("tests/unit/format/test_names.py",),
    "fs.target": ("tests/unit/fs/test_target.py",),
    "repo.roots.chains": ("tests/unit/repo/roots/test_chains.py", _HISTORY),
    "repo.roots.collections": ("tests/unit/repo/roots/test_collections.py", _PLAN),
    "repo.roots.forgetting": (_ROOTS,),
    "repo.maintenance": (_ROOTS,),
    "repo.roots.needs": ("tests/unit/repo/roots/test_needs.py", _PLAN),
    "repo.content.opener": ("tests/unit/repo/content/test_opener.py", "tests/unit/repo/content/test_reader.py"),
    "repo.frames": ("tests/unit/repo/test_frames.py", "tests/unit/repo/content/test_opener.py", "tests/unit/repo/content/test_reader.py"),
    "repo.roots.receipts": ("tests/unit/repo/roots/test_receipts.py", _ROOTS),
    "repo.rewriting.repacking": (
        "tests/unit/repo/rewriting/test_repacking.py",
        f"{_PRUNE}::test_a_pack_that_is_mostly_garbage_is_written_anew_without_it",
    ),
    "repo.rewriting.segments": ("tests/unit/repo/rewriting/test_segments.py", f"{_PRUNE}::test_many_small_segments_become_one"),
    "repo.roots.roots": (_ROOTS, _HISTORY),
    "ops.backup.run": ("tests/unit/ops/backup/test_run.py", _COMMIT),
    "ops.backup.commit": (_COMMIT, _SIMULATED),
    "ops.gc.judge": (_PLAN, _SIMULATED),
    "ops.gc.plan": (_PLAN, _SIMULATED),
    "ops.gc.survey": ("tests/unit/ops/gc/test_survey.py", _PRUNE, _SIMULATED),
    "ops.gc.sweep": ("tests/unit/ops/gc/test_sweep.py", _PRUNE, _SIMULATED),
    "ops.restore.plan": ("tests/unit/ops/restore/test_plan.py",),
    "ops.restore.write": ("tests/unit/ops/restore/test_write.py",),
    "ops.retention.policy": ("tests/unit/ops/retention/test_policy.py",),
}


def main() -> int:
    """Exit status 1 if the tests of a module can not tell anything about it; survivors are a finding and no failure."""
    parser = argparse.ArgumentParser(prog="python -m reliability.mutation", description=__doc__)
    parser.add_argument("--sample", type=int, default=_SAMPLE, metavar="N", help=f"mutants of each module; 0: all [{_SAMPLE}]")
    parser.add_argument("--seed", type=int, default=_SEED, metavar="N", help=f"of the sample [{_SEED}]")
    parser.add_argument("--only", default="", metavar="MODULE,...", help=f"of {', '.join(TESTS)}")
    options = parser.parse_args()
    only = [name for name in options.only.split(",") if name]
    if unknown := set(only) - TESTS.keys():
        parser.error(f"no such module: {', '.join(sorted(unknown))}")
    findings: dict[str, Finding] = {}
    untold = []
    with tempfile.TemporaryDirectory(prefix="seedcorn-mutation-") as scratch:
        ground = Ground(_CHECKOUT, Path(scratch))
        for module in only or TESTS:
            try:
                findings[module] = try_module(ground, module, TESTS[module], options.sample, options.seed)
            except CanNotTellError as error:
                untold.append(module)
                _tell(f"{module}: {error}")
    modules = {module: asdict(finding) for module, finding in findings.items()}
    print(json.dumps({"seed": options.seed, "sample": options.sample, "modules": modules, "untold": untold}))
    return 1 if untold else 0


@dataclass
class Finding:
    """What became of a sample of one module's mutants. ``timed_out``: noticed by taking too long, or by hanging."""

    mutants: int
    tried: int
    killed: int = 0
    timed_out: int = 0
    survivors: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0


class CanNotTellError(Exception):
    """Tests that fail without a change, or pass without the module, say nothing about its mutants."""


def try_module(ground: Ground, module: str, tests: Sequence[str], sample: int, seed: int) -> Finding:
    """Try a sample of a module's mutants. How it goes is told on standard error.

    Raises:
        CanNotTellError: see there.
    """
    source, begun = ground.source(module), time.monotonic()
    if ground.run(module, source, tests, None) != 0:
        raise CanNotTellError(f"its tests fail without any change:\n{ground.output()}")
    limit_seconds = max(_LEAST_SECONDS, _PATIENCE * (time.monotonic() - begun))
    if ground.run(module, "raise ImportError\n", tests, None) == 0:
        raise CanNotTellError("its tests do without it")
    mutants = mutants_of(source)
    chosen = random.Random(f"{seed} {module}").sample(mutants, len(mutants))[: sample or None]
    found = Finding(len(mutants), len(chosen))
    for mutant in sorted(chosen, key=lambda one: one.line):
        status = ground.run(module, mutant.source(), tests, limit_seconds)
        if status is None:
            found.timed_out += 1
        elif status:
            found.killed += 1
        else:
            found.survivors.append({"line": mutant.line, "was": mutant.was, "now": mutant.now})
            _tell(f"   {module}:{mutant.line}: {mutant.was}  ->  {mutant.now}")
    found.seconds = round(time.monotonic() - begun, 1)
    _tell(f"{module}: {found.killed} killed and {found.timed_out} out of time of {found.tried} (of {found.mutants}), {found.seconds} s")
    return found


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


class Ground:
    """A checkout's package, copied to be changed, and a folder in which tests run. For one process, which must not import the package itself."""

    def __init__(self, checkout: Path, scratch: Path) -> None:
        self._checkout = checkout
        self._copy = scratch / "src"
        self._work = scratch / "work"
        self._output = scratch / "output"
        self._writes = 0
        scratch.chmod(0o755)  # some tests become nobody
        shutil.copytree(checkout / "src", self._copy)
        compileall.compile_dir(self._copy, quiet=1)
        sys.path.insert(0, str(self._copy))
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(self._copy), os.environ.get("PYTHONPATH")]))
        for library in _WARM:
            importlib.import_module(library)

    def source(self, module: str) -> str:
        """Without any change."""
        return self._path(module).read_text()

    def output(self) -> str:
        """What the last run of tests has said."""
        return self._output.read_text()

    def run(self, module: str, source: str, tests: Sequence[str], limit_seconds: float | None) -> int | None:
        """Exit status of pytest over ``tests`` while ``module`` has another source; None if it took longer than it may and was ended."""
        before = self.source(module)
        self._write(module, source)
        try:
            return self._status_of(tests, limit_seconds)
        finally:
            self._write(module, before)

    def _status_of(self, tests: Sequence[str], limit_seconds: float | None) -> int | None:
        self._work.mkdir()
        process = os.fork()
        if not process:
            self._run_tests(tests)
        has_ended = False
        try:
            has_ended = _ends_within(process, limit_seconds)
        finally:
            with suppress(ProcessLookupError):
                if not has_ended:
                    os.killpg(process, signal.SIGINT)  # tests then remove what they have elsewhere
                    _ends_within(process, _TIDY_SECONDS)
                os.killpg(process, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            subprocess.run(["rm", "-rf", self._work], check=True)  # it may hold trees that are deeper than Python's stack
        return status if has_ended else None

    def _path(self, module: str) -> Path:
        return self._copy / "seedcorn" / f"{module.replace('.', '/')}.py"

    def _write(self, module: str, source: str) -> None:
        """With a time that no other source of it has had, so that no byte code of another one passes for its."""
        self._writes += 1
        path = self._path(module)
        path.write_text(source)
        os.utime(path, (self._writes, self._writes))

    def _run_tests(self, tests: Sequence[str]) -> NoReturn:
        status = _NOT_RUN
        try:
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
            output = os.open(self._output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for stream in (1, 2):
                os.dup2(output, stream)
            os.chdir(self._work)
            tempfile.tempdir = os.environ["TMPDIR"] = str(self._work)
            places = ["-c", str(self._checkout / "pyproject.toml"), f"--basetemp={self._work / 'pytest'}"]
            status = int(pytest.main([*_OPTIONS, *places, *(str(self._checkout / test) for test in tests)]))
            sys.stdout.flush()
        finally:
            os._exit(status)


def _ends_within(process: int, seconds: float | None) -> bool:
    descriptor = os.pidfd_open(process)
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
