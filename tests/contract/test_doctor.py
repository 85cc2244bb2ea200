"""What ``doctor`` says of real servers, as whoever may do everything and as users whom an IAM policy restricts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import pytest

from seedcorn.crypto.primitives import random_bytes
from seedcorn.errors import AccessDeniedError
from seedcorn.events import SystemClock, VoidMonitor
from seedcorn.format.header import HostPublic, HostState
from seedcorn.ids import HostId
from seedcorn.ops.access import EnrolledHost, host_policy
from seedcorn.ops.doctor.doctor import SHORT, Check, DoctorOptions, DoctorResult, Grade, Outcome, doctor
from seedcorn.store.address import open_store
from seedcorn.store.api import Store
from seedcorn.store.options import StoreOptions
from seedcorn.store.probe import RemoteProbeable
from seedcorn.testing.fixtures import FreshStore
from seedcorn.testing.servers import RcloneServe, S3Server
from seedcorn.testing.swift import Swift

NUMBERS = itertools.count()
FULL = DoctorOptions()


def examine(store: Store, options: DoctorOptions = FULL) -> DoctorResult:
    return doctor(store, options, SystemClock(), VoidMonitor())


def outcomes(result: DoctorResult) -> dict[Check, Outcome]:
    return {finding.check: finding.outcome for finding in result.findings}


def others(result: DoctorResult) -> dict[Check, Outcome]:
    """Whatever is not simply well."""
    return {check: outcome for check, outcome in outcomes(result).items() if outcome is not Outcome.OK}


@pytest.fixture(params=["ministack", "seaweedfs"])
def server(request: pytest.FixtureRequest) -> S3Server:
    found: S3Server = request.getfixturevalue(request.param)
    return found


def test_a_server_that_keeps_its_promises(server: S3Server, fresh_store: FreshStore) -> None:
    store = fresh_store(server)
    store.put("packs/1", b"pack")
    store.put("snapshots/1", b"snapshot")
    result = examine(store)
    assert (result.grade, result.exit_code, result.append_only, result.left) == (Grade.A, 0, False, ())
    assert others(result) == {Check.OVERWRITE: Outcome.NOTE, Check.DELETE: Outcome.NOTE, Check.VERSIONS: Outcome.NOTE}
    assert {each.verb: each.requests for each in result.latencies} == {"put": 100, "list": 100, "get": 20, "get_range": 20, "head": 20, "delete": 20}
    assert [info.key for info in store.list("")] == ["packs/1", "snapshots/1"]


def test_a_first_look_is_a_few_requests(server: S3Server, fresh_store: FreshStore) -> None:
    result = examine(fresh_store(server), SHORT)
    assert (result.grade, result.left) == (Grade.A, ())
    assert result.requests.total <= 16


def test_versions_are_seen(server: S3Server) -> None:
    bucket = f"versions-{next(NUMBERS)}"
    server.make_bucket(bucket)
    server.keep_versions(bucket)
    store = open_store(server.address(bucket), credentials=server.credentials, options=StoreOptions())
    result = examine(store)
    assert result.grade is Grade.A
    assert outcomes(result)[Check.VERSIONS] is Outcome.OK
    assert list(store.list("")) == []
    store.close()


def test_versions_protect_from_a_host_that_may_overwrite(server: S3Server) -> None:
    """As docs/guide/doctor.md advises for these servers. The owner can see it; the host may not read versions."""
    owner, host = user(server, without_conditions_on_puts, versions=True)
    assert isinstance(owner, RemoteProbeable)
    assert isinstance(host, RemoteProbeable)
    host.put("doctor/precious", b"precious")
    version = owner.version_of("doctor/precious")
    assert version
    host.overwrite("doctor/precious", b"ransom")
    with pytest.raises(AccessDeniedError):
        host.delete(["doctor/precious"])
    assert owner.get("doctor/precious") == b"ransom"
    assert owner.get_version("doctor/precious", version) == b"precious"

    seen = {name: outcomes(examine(store, SHORT))[Check.VERSIONS] for name, store in (("owner", owner), ("host", host))}
    assert seen == {"owner": Outcome.OK, "host": Outcome.UNTESTED}


def user(server: S3Server, change: Callable[[list[dict[str, object]]], None], *, versions: bool = False) -> tuple[Store, Store]:
    """(the owner's store, that of a user with a host's policy after ``change``), on a new prefix with something in it."""
    name = f"host-{next(NUMBERS)}"
    bucket = "doctor-policy-versions" if versions else "doctor-policy"
    server.make_bucket(bucket)
    if versions:
        server.keep_versions(bucket)
    host = HostId(random_bytes(16))
    public = HostPublic(random_bytes(16), host, 1, HostState.ENROLLED, random_bytes(32), 0)
    policy = host_policy(EnrolledHost(public, name), bucket, name)
    statements: list[dict[str, object]] = policy["Statement"]  # type: ignore[assignment]  # as its maker knows
    change(statements)
    owner, restricted = (
        open_store(server.address(bucket, name), credentials=credentials, options=StoreOptions())
        for credentials in (server.credentials, server.add_user(name, policy))
    )
    owner.put("packs/1", b"pack")
    owner.put("snapshots/1", b"snapshot")
    return owner, restricted


def without_conditions_on_puts(statements: list[dict[str, object]]) -> None:
    """These servers do not know ``s3:if-none-match``: where it is asked for they refuse every put."""
    del statements[0]["Condition"]


def test_a_host_is_kept_from_what_the_policy_leaves_out(server: S3Server) -> None:
    owner, host = user(server, without_conditions_on_puts)
    before = {info.key for info in owner.list("")}
    result = examine(host, DoctorOptions(enrolled=True))
    assert result.exit_code == 0
    assert outcomes(result)[Check.DELETE] is outcomes(result)[Check.READ_SNAPSHOTS] is Outcome.OK
    assert others(result) == {
        Check.OVERWRITE: Outcome.WARNING,  # for want of the condition
        Check.VERSIONS: Outcome.NOTE,
        Check.READ_PACKS: Outcome.UNTESTED,  # it may not list them, and there is no index that would name one
    }
    assert (result.grade, result.append_only) == (Grade.A, False)
    left = {info.key for info in owner.list("")} - before
    assert left == set(result.left)
    assert len(left) > 100
    assert all(key.startswith("doctor/") for key in left)


def test_a_host_that_may_not_write_below_doctor_is_told(server: S3Server) -> None:
    def forget_doctor(statements: list[dict[str, object]]) -> None:
        without_conditions_on_puts(statements)
        statements[0]["Resource"] = [resource for resource in _resources(statements[0]) if "/doctor/" not in resource]

    _, host = user(server, forget_doctor)
    with pytest.raises(AccessDeniedError, match="below doctor/"):
        examine(host)


def _resources(statement: Mapping[str, object]) -> list[str]:
    resources = statement["Resource"]
    assert isinstance(resources, list)
    return resources


def test_ignored_conditions_are_grade_c(rclone_serve: RcloneServe, fresh_store: FreshStore) -> None:
    result = examine(fresh_store(rclone_serve))
    assert (result.grade, result.exit_code, result.broken) == (Grade.C, 0, ())
    assert outcomes(result)[Check.CREATE_ONLY] is outcomes(result)[Check.RACE] is Outcome.WARNING
    assert outcomes(result)[Check.RANGE] is Outcome.NOTE, "it answers with the whole object"


def test_puts_that_race_are_grade_c(swift: Swift, fresh_store: FreshStore) -> None:
    """It enforces conditions when nobody races. Whether a race has one winner is left to chance, so a few are run."""
    store = fresh_store(swift)
    results = [examine(store, DoctorOptions(racers=8, fresh_listings=2, samples=2)) for _ in range(4)]
    assert all(outcomes(result)[Check.CREATE_ONLY] is Outcome.OK for result in results)
    raced = [result for result in results if outcomes(result)[Check.RACE] is Outcome.WARNING]
    assert raced
    assert all(result.grade is Grade.C for result in raced)
