"""The conformance suite on a Ceph cluster of three OSDs, and what it keeps when one of them dies."""

from __future__ import annotations

import pytest

from seedcorn.events import SystemClock, VoidMonitor
from seedcorn.ops.doctor.doctor import DoctorOptions, Grade, doctor
from seedcorn.store.api import Store
from seedcorn.testing.ceph import CephCluster
from seedcorn.testing.fixtures import FreshStore
from seedcorn.testing.store_contract import StoreContract

pytestmark = pytest.mark.ceph


class TestCeph(StoreContract):
    @pytest.fixture
    def store(self, ceph: CephCluster, fresh_store: FreshStore) -> Store:
        return fresh_store(ceph)


def test_doctor_grades_it_a(ceph: CephCluster, fresh_store: FreshStore) -> None:
    result = doctor(fresh_store(ceph), DoctorOptions(), SystemClock(), VoidMonitor())
    assert (result.grade, result.exit_code, result.left) == (Grade.A, 0, ())


def test_every_acknowledged_put_is_there_after_an_osd_was_killed(ceph: CephCluster, fresh_store: FreshStore) -> None:
    store = fresh_store(ceph)
    for number in range(20):
        if number == 10:
            ceph.kill_osd(1)
        store.put(f"packs/{number:02}", bytes([number]) * 100_000)
    try:
        assert [info.key for info in store.list("packs/")] == [f"packs/{number:02}" for number in range(20)]
        for number in range(20):
            assert store.get(f"packs/{number:02}") == bytes([number]) * 100_000
    finally:
        ceph.start_osd(1)
