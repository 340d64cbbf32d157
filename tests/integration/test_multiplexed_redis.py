"""One connection to Redis for all tasks of a loop: order, faults, patience."""

from __future__ import annotations

import asyncio
import gc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from redis import exceptions as redis_errors

from visionq.redis_connection import TRANSIENT_ERRORS, connect_multiplexed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis import Redis

NAME = "visionq-multiplexed-test"


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[Any]:
    client = connect_multiplexed(url, NAME, **options)
    try:
        yield client
    finally:
        await client.aclose()


def connections(redis: Redis) -> list[dict[str, Any]]:
    return [one for one in redis.client_list() if one["name"] == NAME]


async def test_each_gets_its_own_reply(redis: Redis, redis_url: str) -> None:
    """A thousand tasks at once share one connection, and each gets the reply to its own command."""
    async with connected(redis_url) as client:

        async def ask(number: int) -> bytes:
            await client.set(f"key-{number}", number)
            found: bytes = await client.get(f"key-{number}")
            return found

        replies = await asyncio.gather(*map(ask, range(1000)))
        assert replies == [str(number).encode() for number in range(1000)]
        assert len(connections(redis)) == 1


@pytest.mark.parametrize("url", ["redis_url", "unix_url", "tls_url"])
async def test_every_kind_of_address(url: str, request: pytest.FixtureRequest) -> None:
    """Sockets, TLS and databases are those of the address."""
    address = request.getfixturevalue(url)
    async with connected(address) as client:
        await client.set("a", "b")
        assert await client.get("a") == b"b"
        await client.flushdb()


async def test_the_database_of_the_address(redis: Redis, redis_url: str) -> None:
    """Nothing is written to another database than the one that the address names."""
    parts = urlsplit(redis_url)
    async with connected(parts._replace(path="/3").geturl()) as client:
        await client.set("only", "here")
        assert redis.get("only") is None
        assert await client.get("only") == b"here"
        await client.flushdb()


async def test_commands_of_one_turn_are_one_write(redis: Redis, redis_url: str) -> None:
    """Commands of one turn of the loop cost Redis one read from its socket."""
    async with connected(redis_url) as client:
        await client.ping()
        before: Any = redis.info("stats")
        await asyncio.gather(*(client.incr("n") for _ in range(500)))
        after: Any = redis.info("stats")
    reads = after["total_reads_processed"] - before["total_reads_processed"]
    assert reads < 20


@pytest.mark.parametrize("url", ["redis_url", "tls_url"])
def test_a_closed_client_leaves_no_socket(url: str, request: pytest.FixtureRequest) -> None:
    """However far a connection has come when its client is closed, none outlives its loop."""

    async def close_after(turns: int) -> None:
        async with connected(request.getfixturevalue(url)) as client:
            asked = asyncio.create_task(client.ping())
            for _ in range(turns):
                await asyncio.sleep(0.0005)
        await asyncio.wait([asked])
        assert asked.cancelled() or asked.exception() or asked.result()

    for turns in range(1, 21):
        asyncio.run(close_after(turns))
    gc.collect()  # one left open would warn here, and fail the test


async def test_an_error_is_of_its_own_command(redis_url: str) -> None:
    """A refused command fails alone; those around it get their replies."""
    async with connected(redis_url) as client:
        await client.set("text", "a")
        replies = await asyncio.gather(
            client.get("text"), client.incr("text"), client.get("text"), return_exceptions=True
        )
        assert (replies[0], replies[2]) == (b"a", b"a")
        assert isinstance(replies[1], redis_errors.ResponseError)


async def test_a_script_that_redis_lost(redis: Redis, redis_url: str) -> None:
    """After Redis has forgotten its scripts, as by a restart, one is loaded again and runs."""
    async with connected(redis_url) as client:
        script = client.register_script("return {ARGV[1], 'x'}")
        assert await script(args=("1",)) == [b"1", b"x"]
        redis.script_flush()
        replies = await asyncio.gather(*(script(args=(str(n),)) for n in range(20)))
        assert [reply[0] for reply in replies] == [str(n).encode() for n in range(20)]


async def test_a_broken_connection_fails_what_is_out(redis: Redis, redis_url: str) -> None:
    """Commands that are out when the connection breaks fail with an error that passes."""
    async with connected(redis_url, retries=0) as client:
        await client.ping()
        redis.client_pause(2_000)
        out = [asyncio.create_task(client.incr("n")) for _ in range(5)]
        await asyncio.sleep(0)
        (mine,) = connections(redis)
        redis.client_kill_filter(_id=mine["id"])
        ends = await asyncio.gather(*out, return_exceptions=True)
        assert all(isinstance(end, redis_errors.ConnectionError) for end in ends)
        assert all(isinstance(end, TRANSIENT_ERRORS) for end in ends)
        redis.client_unpause()
        assert await client.ping()  # on a new connection


async def test_a_broken_connection_is_tried_again(redis: Redis, redis_url: str) -> None:
    """With retries, as workers have them, commands outlive their connection."""
    async with connected(redis_url) as client:
        await client.ping()
        for _ in range(3):
            (mine,) = connections(redis)
            redis.client_kill_filter(_id=mine["id"])
            assert all(await asyncio.gather(*(client.set("k", n) for n in range(50))))


async def test_a_silent_redis(redis: Redis, redis_url: str) -> None:
    """A reply that does not come within the time fails all that is out; the next call goes on."""
    async with connected(redis_url, retries=0, patience=0.2) as client:
        await client.ping()
        redis.client_pause(1_000)
        out = [asyncio.create_task(client.get("k")) for _ in range(3)]
        ends = await asyncio.gather(*out, return_exceptions=True)
        assert all(isinstance(end, redis_errors.TimeoutError) for end in ends)
        redis.client_unpause()
        assert await client.get("k") is None


async def test_nobody_there() -> None:
    """All tasks that ask get the error of the one try to connect."""
    async with connected("redis://127.0.0.1:1/0", retries=0) as client:
        ends = await asyncio.gather(*(client.ping() for _ in range(5)), return_exceptions=True)
        assert all(isinstance(end, redis_errors.ConnectionError) for end in ends)


async def test_who_gives_up_takes_nothing_from_others(redis: Redis, redis_url: str) -> None:
    """A task that is cancelled while its reply is due leaves the others their replies."""
    async with connected(redis_url) as client:
        first = asyncio.create_task(client.ping())
        second = asyncio.create_task(client.set("k", "v"))
        await asyncio.sleep(0)  # both wait for the connection
        first.cancel()
        assert await second
        redis.client_pause(50)
        gone, stays = (asyncio.create_task(client.get(name)) for name in ("k", "other"))
        await asyncio.sleep(0.01)
        gone.cancel()
        assert await stays is None
        assert await client.get("k") == b"v"


async def test_idle_connections_are_tried(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that has been idle is asked whether it lives, before anybody needs it."""
    async with connected(redis_url) as client:
        await client.ping()
        channel = client._channel
        assert channel is not None
        monkeypatch.setattr(channel, "_idle", 0.01)
        stats: Any = redis.info("commandstats")
        pings = stats["cmdstat_ping"]["calls"]
        before = channel._last_reply
        await asyncio.sleep(0.05)
        channel._look()
        await client.get("k")  # answered after what was sent before
        assert channel._last_reply > before
        stats = redis.info("commandstats")
        assert stats["cmdstat_ping"]["calls"] == pings + 1


async def test_close_ends_what_is_out(redis: Redis, redis_url: str) -> None:
    """Closing fails what is out, leaves no task and no connection, and nothing to warn of."""
    async with connected(redis_url, retries=0) as client:
        await client.ping()
        redis.client_pause(500)
        out = asyncio.create_task(client.get("k"))
        await asyncio.sleep(0.01)
    with pytest.raises(redis_errors.ConnectionError, match="closed"):
        await out
    redis.client_unpause()
    assert asyncio.all_tasks() == {asyncio.current_task()}
