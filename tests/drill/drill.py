"""The stolen-host drill: a thief has a host's file, its store credential, and a copy of every object. What can be read, overwritten, deleted?

Owns the thief, who speaks raw S3, and what the owner finds afterwards. The credential may do what ``seedcorn host policy`` prints and nothing else.
Some servers do not know the policy's condition ``s3:if-none-match`` and then refuse every put: for those the drill also runs without it, on a bucket
that keeps versions, as docs/guide/doctor.md advises.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.acceptance.theft import private_keys_of, sealed_to_the_owner, secrets_of, with_derived

from seedcorn.crypto import primitives
from seedcorn.crypto.frames import Sealer
from seedcorn.errors import CredentialError, IntegrityError, SeedcornError
from seedcorn.events import RecordingMonitor
from seedcorn.format.names import parse_numbered_key
from seedcorn.jobs.owner_session import OwnerSession
from seedcorn.ops import access
from seedcorn.ops.check.check import CheckOptions, check
from seedcorn.repo.bindings import frame_binding, slot_binding
from seedcorn.repo.hosts import load_registry
from seedcorn.repo.index import open_segment
from seedcorn.store.address import open_store
from seedcorn.store.api import Store
from seedcorn.store.cloud import CloudStore
from seedcorn.store.options import StoreOptions
from seedcorn.testing.repositories import SmallRepository, make_tree
from seedcorn.testing.servers import S3Server
from seedcorn.testing.signing import s3_request
from seedcorn.testing.trees import Entry, describe, differences

__all__ = ["DrillReport", "drill"]

_RANSOM = b"pay, or never see your backups again"
_FILES = 40
_NO_HEADERS: Mapping[str, str] = {}
_REFUSALS = (403, 404, 405, 409, 412, 501)
_NUMBERS = itertools.count(1)
_SUSPEND = b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"
_EXPIRE = (
    b"<LifecycleConfiguration><Rule><ID>x</ID><Filter><Prefix></Prefix></Filter><Status>Enabled</Status>"
    b"<Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>"
)


@dataclass
class DrillReport:
    """What the thief tried and got. ``accepted`` is by the server's answer; ``changed`` by what the owner then finds under the key."""

    server: str
    condition: bool  # the policy asks for s3:if-none-match on puts, as it is printed
    versions: bool
    objects: int = 0
    decryptions_tried: int = 0
    decrypted: int = 0
    backup_works: bool = False  # that of the host itself, with this credential
    reads_accepted: dict[str, int] = field(default_factory=dict)  # by room
    reads_refused: dict[str, int] = field(default_factory=dict)
    overwrites_tried: int = 0
    overwrites_accepted: int = 0
    conditional_overwrites_tried: int = 0
    conditional_overwrites_accepted: int = 0
    own_objects: int = 0  # that lie where the host writes
    others_changed: int = 0  # objects elsewhere
    deletes_tried: int = 0
    deletes_accepted: int = 0
    objects_gone: int = 0
    bucket_changes_tried: int = 0
    bucket_changes_accepted: int = 0
    snapshots: int = 0
    restored_at_once: int = 0  # before the owner brings versions back
    restored: int = 0

    @property
    def is_harmless(self) -> bool:
        """Nothing has been read, deleted or changed but what the host writes itself, and every snapshot restores once versions are back."""
        taken = (self.decrypted, self.conditional_overwrites_accepted, self.others_changed)
        gone = (self.deletes_accepted, self.objects_gone, self.bucket_changes_accepted)
        return not any((*taken, *gone)) and self.restored == self.snapshots

    def as_json(self) -> dict[str, object]:
        """The figures for docs/reliability.md."""
        return asdict(self)


def drill(server: S3Server, folder: Path, *, condition: bool, versions: bool) -> DrillReport:
    """Steal a host of a new repository on ``server`` and try everything. ``folder`` is for trees and states."""
    report = DrillReport(type(server).__name__, condition, versions)
    bucket = f"drill-{next(_NUMBERS)}"
    server.make_bucket(bucket)
    if versions:
        server.keep_versions(bucket)
    owner_store = open_store(server.address(bucket, "repository"), credentials=server.credentials, options=StoreOptions())
    with SmallRepository(owner_store, folder / "states", host_name="stolen") as repository:
        home = _Home(repository, folder)
        home.fill()
        objects = {info.key: owner_store.get(info.key) for info in owner_store.list("")}
        report.objects = len(objects)
        credentials = server.add_user(bucket, _policy(repository, bucket, condition=condition))
        _read_everything(repository, objects, report)
        thief = _Thief(server, credentials, bucket, "repository")
        named = _versions(owner_store, objects) if versions else {}
        _fetch(thief, objects, named, report)
        _destroy(thief, owner_store, objects, named, repository.first.repository.key.host.hex(), report)
        report.snapshots = len(home.trees)
        report.restored_at_once = home.restorable()
        _bring_back(owner_store, objects, named)
        report.restored = home.restorable()
        host_store = open_store(server.address(bucket, "repository"), credentials=credentials, options=StoreOptions())
        report.backup_works = _backs_up(repository, host_store, home.sources["stolen"])
    return report


def _policy(repository: SmallRepository, bucket: str, *, condition: bool) -> Mapping[str, object]:
    """What ``seedcorn host policy stolen`` prints."""
    policy = access.host_policy(access.find_host(repository.owner(), "stolen"), bucket, "repository")
    if not condition:
        statements = policy["Statement"]
        assert isinstance(statements, list)
        del statements[0]["Condition"]
    return policy


def _backs_up(repository: SmallRepository, store: Store, source: Path) -> bool:
    machine = repository.machine_again(store)
    try:
        make_tree(source, {"after the drill": b"still here"})
        return machine.backup(source).exit_code == 0
    except SeedcornError:
        return False
    finally:
        machine.close()
        store.close()


# -- the owner's side ------------------------------------------------------------------------------------------------------------------------


class _Home:
    """Two hosts with two snapshots each, objects of every kind that a repository has, and what the trees were."""

    def __init__(self, repository: SmallRepository, folder: Path) -> None:
        self._repository = repository
        self._folder = folder
        self.sources = {name: folder / "sources" / name for name in ("stolen", "other")}
        self.trees: dict[str, dict[bytes, Entry]] = {}

    def fill(self) -> None:
        machines = {"stolen": self._repository.first, "other": self._repository.machine("other")}
        for day in range(3):
            for name, machine in machines.items():
                source = self.sources[name]
                make_tree(source, {f"{day}/{number}": f"{name} {day} {number} ".encode() * 300 for number in range(_FILES)})
                self.trees[machine.backup(source).snapshot.hex()] = describe(source)  # type: ignore[union-attr]  # this is no dry run
        browser = self._repository.browser()
        assert not check(browser, CheckOptions(read_data=True, publish=True), self._repository.clock, RecordingMonitor()).problems
        with self._session() as session:
            forgotten = list(self.trees)[:2]
            session.forget(session.plan_forget(forgotten))
            session.prune(grace_seconds=0, allow_large=True)
            for snapshot in forgotten:
                del self.trees[snapshot]

    def restorable(self) -> int:
        """How many snapshots come back bit for bit, for an owner who has never seen this repository."""
        good = 0
        with self._session() as session:
            for number, (snapshot, tree) in enumerate(sorted(self.trees.items())):
                target = self._folder / f"restored-{next(_NUMBERS)}-{number}"
                with suppress(SeedcornError):
                    chosen = session.browser.find(snapshot)
                    result = session.restore(chosen, target, path=chosen.owner.paths[0], processes=0)
                    good += not result.errors and not differences(tree, describe(target))
        return good

    def _session(self) -> OwnerSession:
        return OwnerSession(self._repository.owner(), self._repository.new_state())


def _versions(store: Store, keys: Iterable[str]) -> dict[str, str]:
    """The present version of each object."""
    assert isinstance(store, CloudStore)
    found = {key: store.version_of(key) for key in keys}
    return {key: version for key, version in found.items() if version}


def _bring_back(store: Store, objects: Mapping[str, bytes], versions: Mapping[str, str]) -> None:
    """What an owner does who has versions: put those from before the theft back."""
    assert isinstance(store, CloudStore)
    for key, version in versions.items():
        if store.get(key) != objects[key]:
            store.overwrite(key, store.get_version(key, version))


# -- the thief's ------------------------------------------------------------------------------------------------------------------------------


class _Thief:
    """Raw requests with the stolen credential; each method says whether the server accepted."""

    def __init__(self, server: S3Server, credentials: Mapping[str, str], bucket: str, prefix: str) -> None:
        self._keys = {"access_key": credentials["AWS_ACCESS_KEY_ID"], "secret_key": credentials["AWS_SECRET_ACCESS_KEY"]}
        self._region = credentials["AWS_REGION"]
        self._bucket_url = f"{server.endpoint}/{bucket}"
        self._prefix = prefix

    def get(self, key: str, version: str = "") -> bool:
        return self._accepted("GET", self._url(key, version))

    def overwrite(self, key: str, *, conditional: bool = False) -> bool:
        return self._accepted("PUT", self._url(key), _RANSOM, {"If-None-Match": "*"} if conditional else {})

    def delete(self, key: str, version: str = "") -> bool:
        return self._accepted("DELETE", self._url(key, version))

    def delete_many(self, keys: list[str]) -> bool:
        """In one request, which can be answered with 200 and mean no: what is gone is for the owner to say."""
        listed = "".join(f"<Object><Key>{self._prefix}/{key}</Key></Object>" for key in keys)
        return self._bucket("POST", "delete", f"<Delete>{listed}</Delete>".encode())

    def bucket_changes(self) -> Iterator[bool]:
        yield self._bucket("PUT", "versioning", _SUSPEND)
        yield self._bucket("PUT", "lifecycle", _EXPIRE)
        yield self._bucket("DELETE", "policy")
        yield self._accepted("DELETE", self._bucket_url)

    def _bucket(self, method: str, what: str, body: bytes = b"") -> bool:
        digest = hashlib.md5(body, usedforsecurity=False).digest()
        return self._accepted(method, f"{self._bucket_url}?{what}", body, {"Content-MD5": base64.b64encode(digest).decode()})

    def _url(self, key: str, version: str = "") -> str:
        return f"{self._bucket_url}/{self._prefix}/{key}" + (f"?versionId={version}" if version else "")

    def _accepted(self, method: str, url: str, body: bytes = b"", headers: Mapping[str, str] = _NO_HEADERS) -> bool:
        request = s3_request(method, url, body=body, region=self._region, **self._keys)
        for name, value in headers.items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=20):
                return True
        except urllib.error.HTTPError as error:
            if error.code not in _REFUSALS:
                raise
            return False


def _fetch(thief: _Thief, objects: Mapping[str, bytes], versions: Mapping[str, str], report: DrillReport) -> None:
    """Every object; and what is refused, once more by its version."""
    accepted, refused = Counter[str](), Counter[str]()
    for key in objects:
        is_read = thief.get(key) or (key in versions and thief.get(key, versions[key]))
        (accepted if is_read else refused)[key.partition("/")[0]] += 1
    report.reads_accepted, report.reads_refused = dict(accepted), dict(refused)


def _destroy(thief: _Thief, owner: Store, objects: Mapping[str, bytes], versions: Mapping[str, str], host: str, report: DrillReport) -> None:
    """Every existing key is overwritten in two ways and deleted in three; then the bucket itself."""
    keys = sorted(objects)
    own = {key for key in keys if f"/{host}/" in key and not key.startswith("hosts/")}
    report.own_objects = len(own)
    for key in keys:
        report.conditional_overwrites_tried += 1
        report.conditional_overwrites_accepted += thief.overwrite(key, conditional=True)
        report.overwrites_tried += 1
        report.overwrites_accepted += thief.overwrite(key)
    for key in keys:
        for version in {"", versions.get(key, "")}:
            report.deletes_tried += 1
            report.deletes_accepted += thief.delete(key, version)
    thief.delete_many(keys)
    report.deletes_tried += len(keys)
    changes = list(thief.bucket_changes())
    report.bucket_changes_tried, report.bucket_changes_accepted = len(changes), sum(changes)
    left = {info.key for info in owner.list("")}
    report.objects_gone = len(objects.keys() - left)
    report.others_changed = sum(owner.get(key) != objects[key] for key in (objects.keys() & left) - own)


# -- reading ---------------------------------------------------------------------------------------------------------------------------------


def _read_everything(repository: SmallRepository, objects: Mapping[str, bytes], report: DrillReport) -> None:
    """Every secret of the host, and what could be derived from it, on every frame, on everything that is sealed to the owner, and on the key slots.

    Index segments and footers of its own domain a host opens by design: they say where things lie, no name and no content.
    """

    def attempt(opening: Callable[[], object]) -> None:
        report.decryptions_tried += 1
        with suppress(IntegrityError, CredentialError):
            opening()
            report.decrypted += 1

    host = repository.first.host_file.key
    secrets = secrets_of(repository.first.host_file.serialize())
    keys = with_derived([*secrets, bytes(32)], host.repository)
    for sealed, binding in _frames(repository, objects):
        for key, label in itertools.product(keys, ("frame", "footer", "segment")):
            attempt(lambda: Sealer(key, label).open(sealed, binding))  # noqa: B023  # called at once
    private_keys = private_keys_of(secrets, host.repository)
    rooms = {key.split("/")[1] for key in objects if key.startswith("snapshots/")}
    for room in sorted(rooms):
        for _, info, sealed in sealed_to_the_owner(objects, host.repository, bytes.fromhex(room)):
            for private_key in private_keys:
                attempt(lambda: primitives.hpke_open(private_key, info, sealed))  # noqa: B023
    for slot in access.keys(repository.store)[0]:
        for secret in secrets:
            attempt(lambda: primitives.open_once(secret, slot.sealed_seed, slot_binding(slot.public_part), bytearray(32)))  # noqa: B023
            attempt(lambda: access.open_owner(repository.store, secret.hex()))  # noqa: B023


def _frames(repository: SmallRepository, objects: Mapping[str, bytes]) -> Iterator[tuple[bytes, bytes]]:
    """(sealed frame, what it is bound to) of all hosts."""
    host = repository.first.host_file.key
    registry = load_registry(repository.store, host.repository, host.public)
    for key, data in objects.items():
        name = parse_numbered_key(key)
        if not key.startswith("index/") or name is None:
            continue
        for entry in open_segment(data, name, host.repository, host.index_key, registry).packs:
            pack = objects[f"packs/{name.host.hex()}/{entry.pack.hex()}"]
            for frame in entry.frames:
                yield pack[frame.offset : frame.offset + frame.sealed_bytes], frame_binding(entry.kind, host.repository, frame.session, frame.seq)
