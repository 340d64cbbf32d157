"""Celery's settings that keep jobs, each for its reason."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from visionq.settings import ConfigurationError, Settings
from worker.celery.app import celery_config

URL = "redis://127.0.0.1:6379/0"


def settings(url: str | None = URL, broker: str | None = None, result_ttl: int = 3600) -> Settings:
    return Settings.model_construct(
        redis_url=SecretStr(url) if url else None,
        broker_url=SecretStr(broker) if broker else None,
        result_ttl=result_ttl,
    )


def test_nothing_waits_in_a_worker() -> None:
    """Messages are acknowledged early and not fetched ahead, and no eta is kept in memory."""
    config = celery_config(settings())
    assert config["task_acks_late"] is False
    assert config["worker_prefetch_multiplier"] == 1
    assert config["worker_disable_prefetch"] is True
    assert config["worker_pool"] == "worker.celery.pool:TaskPool"
    assert config["worker_enable_prefetch_count_reduction"] is False
    assert not any("eta" in name or "countdown" in name for name in config)


def test_json_only() -> None:
    """Nothing that could run code is read or written."""
    config = celery_config(settings())
    assert config["accept_content"] == ["json"]
    assert (config["task_serializer"], config["result_serializer"]) == ("json", "json")


def test_outages() -> None:
    """A worker outlives the broker, and no call to it hangs for ever."""
    config = celery_config(settings())
    assert config["broker_connection_max_retries"] is None
    assert config["broker_connection_retry_on_startup"] is True
    assert config["broker_channel_error_retry"] is True
    assert config["task_publish_retry"] is False
    options = config["broker_transport_options"]
    assert options["socket_timeout"] == 10
    assert options["socket_connect_timeout"] == 3
    assert options["retry_on_timeout"] is False


def test_an_idle_worker_asks_seldom() -> None:
    """A worker without work sends Redis a question every few seconds, and waits for its answer."""
    options = celery_config(settings())["broker_transport_options"]
    assert options["polling_interval"] >= 5
    assert options["unacked_restore_interval"] * options["unacked_restore_throttle"] >= 15
    assert options["polling_interval"] < options["socket_timeout"]


def test_one_redis_for_both() -> None:
    """Broker and results are in the ledger's Redis unless another broker is named."""
    config = celery_config(settings(result_ttl=77))
    assert config["broker_url"] == URL
    assert config["result_backend"] == f"worker.celery.backend:Backend+{URL}"
    assert config["result_expires"] == 77
    assert "global_keyprefix" not in config["broker_transport_options"]
    elsewhere = celery_config(settings(broker="amqp://rabbit//"))
    assert elsewhere["broker_url"] == "amqp://rabbit//"
    assert elsewhere["result_backend"] == config["result_backend"]
    assert elsewhere["broker_transport_options"] == {}


def test_a_socket_has_no_network() -> None:
    """A Unix socket is not set to keep a network connection alive."""
    config = celery_config(settings("unix:///run/redis.sock"))
    assert config["broker_url"].startswith("redis+socket:///run/redis.sock")
    options = config["broker_transport_options"]
    assert "socket_keepalive" not in options
    assert options["socket_timeout"] == 10


def test_no_redis() -> None:
    """Without an address of Redis the variable is named."""
    with pytest.raises(ConfigurationError, match="VISIONQ_REDIS_URL"):
        celery_config(settings(None))
