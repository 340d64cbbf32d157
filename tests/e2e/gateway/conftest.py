"""Fixtures of tests that are clients of a gateway: one gateway and fleet for each file of tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.gateway import Gateway, gateway_and_fleet, node_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx2
    from openai import OpenAI

    from tests.support.fleet import Fleet


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Fleet]]:
    with gateway_and_fleet(tmp_path_factory.mktemp("gateway")) as both:
        yield both


@pytest.fixture
def gateway(parts: tuple[Gateway, Fleet]) -> Gateway:
    return parts[0]


@pytest.fixture
def fleet(parts: tuple[Gateway, Fleet]) -> Iterator[Fleet]:
    fleet = parts[1]
    yield fleet
    fleet.simulator.configure(latency_s=0, faults={}, faults_next=[])


@pytest.fixture
def client(gateway: Gateway) -> Iterator[OpenAI]:
    with gateway.openai() as client:
        yield client


@pytest.fixture
def http(gateway: Gateway) -> Iterator[httpx2.Client]:
    with gateway.http() as client:
        yield client


@pytest.fixture(scope="session")
def node_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which Node finds the package `openai`, where that can be had."""
    return node_folder(tmp_path_factory.mktemp("package"))
