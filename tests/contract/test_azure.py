"""The conformance suite on Azurite, the emulator of Azure's blob store. Nothing here has met Azure itself."""

from __future__ import annotations

import pytest

from seedcorn.store.api import Store
from seedcorn.testing.fixtures import FreshStore
from seedcorn.testing.servers import Azurite
from seedcorn.testing.store_contract import StoreContract

pytestmark = pytest.mark.slow


class TestAzurite(StoreContract):
    large_bytes = 8 << 20

    @pytest.fixture
    def store(self, azurite: Azurite, fresh_store: FreshStore) -> Store:
        return fresh_store(azurite)
