"""A device with a new store, for bundles of either kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapter.bundle.bundles import ADAPTER, FILES, KIND
from tests.adapter.store.device import Device

OF_ADAPTERS = {
    "test_a_bundle_without_a_digest_of_merged_weights_says_so", "test_an_adapter_that_cannot_be_merged_is_refused",
    "test_a_base_that_was_saved_again_or_moved_is_the_same", "test_merged_weights_are_those_of_what_runs",
    "test_merged_weights_of_another_digest_are_refused", "test_weights_that_cannot_be_read_are_refused",
    "test_the_self_test_sees_what_will_run", "test_an_installation_imports_little_and_compiles_no_dataclass",
}  # fmt: skip
"""Tests by what an adapter alone has."""
MODULES = ("test_store", "test_numpy_alone")
"""Whose tests are run with bundles of either kind."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "device" in metafunc.fixturenames and metafunc.module.__name__.split(".")[-1] in MODULES:
        kinds = [ADAPTER] if metafunc.function.__name__ in OF_ADAPTERS else [*FILES]
        metafunc.parametrize("kind", kinds, indirect=True)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    KIND[0] = getattr(request, "param", ADAPTER)
    yield KIND[0]
    KIND[0] = ADAPTER


@pytest.fixture
def device(tmp_path: Path, kind: str) -> Device:
    return Device(tmp_path)
