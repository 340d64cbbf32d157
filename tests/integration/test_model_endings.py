"""What the fleet knows of when models end, and when an operator is notified."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING

from pydantic import SecretStr

from tests.support.ledger import LedgerDriver, new_job
from visionq.cli.provider_account import Provider, get_model_list
from visionq.ledger.usage import kind_of, models_in_use
from visionq.names import MAINTENANCE, PROVIDER_MODEL_ENDS, PROVIDER_MODELS, USAGE_KINDS
from visionq.pricing.model_list import ListedModels, note_model_list, read_model_list
from visionq.providers import load_profile
from visionq.settings import Settings
from worker.provider.free_requests import read_models
from worker.provider.provider_client import make_client
from worker.threads.maintenance.alerts import AlertSender, ModelEndings
from worker.threads.maintenance.housekeeping import Models

if TYPE_CHECKING:
    from openai import OpenAI
    from redis import Redis

    from tests.support.webhook_receiver import Receiver
    from visionq.devstack.simulator.process import RunningSimulator

END = date(2027, 1, 14)


def client_of(simulator: RunningSimulator) -> OpenAI:
    return make_client(Settings(base_url=simulator.provider_url, api_key=SecretStr("sk-any")))


def look(redis: Redis, receiver: Receiver, day: date, default_model: str = "gpt-6-luna") -> None:
    """Let a worker that has just been started look at its hourly duty on that day."""
    redis.delete(f"{MAINTENANCE}model-endings")
    moment = datetime(day.year, day.month, day.day, 9, tzinfo=UTC).timestamp()
    ModelEndings(redis, AlertSender(receiver.url, ""), lambda: moment, default_model).run()


def on(days_before: int) -> date:
    return date.fromordinal(END.toordinal() - days_before)


def test_workers_note_what_the_provider_says(redis: Redis, simulator: RunningSimulator) -> None:
    """Names and dates of the provider's list are there for all commands, and go together."""
    simulator.configure(
        models=["gpt-4o", "gpt-6-luna"], today="2026-12-01", shutdown_dates={"gpt-4o": "2027-02-01"}
    )
    with client_of(simulator) as client:
        Models(redis, partial(read_models, client, load_profile())).run()
    bare = {"gpt-4o", "gpt-6-luna"}
    names = frozenset(bare | {f"openai/{name}" for name in bare})
    wanted = ListedModels(names, {"gpt-4o": date(2027, 2, 1)})
    assert read_model_list(redis) == wanted
    assert 0 < redis.ttl(PROVIDER_MODEL_ENDS) <= redis.ttl(PROVIDER_MODELS)
    note_model_list(redis, ListedModels(frozenset({"gpt-6-luna"})))
    assert read_model_list(redis) == ListedModels(frozenset({"gpt-6-luna"}))


def test_a_simulated_provider_lists_what_has_not_ended(simulator: RunningSimulator) -> None:
    """Its list has today's models with their dates, and calls of others are refused likewise."""
    simulator.configure(models=None, today="2027-01-13", shutdown_dates={})
    with client_of(simulator) as client:
        before = read_models(client, load_profile())
        simulator.configure(today="2027-01-14")
        after = read_models(client, load_profile())
    assert before is not None
    assert after is not None
    assert get_model_list(Provider(simulator.provider_url, None, simulated=True)) == after
    assert {"gpt-4o", "gpt-6-luna", "openai/gpt-6-luna", "google/gemini-3.8-flash"} <= before.names
    assert before.ends["gpt-4o"] == END
    ended = {"gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini"}
    assert before.names - after.names == ended | {f"openai/{name}" for name in ended}
    assert "gpt-5-mini" not in before.names


def test_each_line_is_told_once(redis: Redis, receiver: Receiver) -> None:
    """60, 14 and 3 days ahead, through restarts and any number of looks."""
    for days in (90, 61, 60, 59, 40, 15, 14, 14, 4, 3, 2, 1, 0, -1):
        look(redis, receiver, on(days), "gpt-4o-mini")
    told = receiver.documents()
    assert [one["type"] for one in told] == ["model.ending"] * 3
    assert [one["id"] for one in told] == [
        f"model-ending-gpt-4o-mini-2027-01-14-{line}" for line in (60, 14, 3)
    ]
    assert "gpt-4o-mini shuts down in 14 days, on 2027-01-14" in told[1]["message"]
    assert "use gpt-6-luna" in told[1]["message"]


def test_a_line_that_was_missed(redis: Redis, receiver: Receiver) -> None:
    """A fleet that was off gets the nearest line alone."""
    look(redis, receiver, on(10), "gpt-4o-mini")
    look(redis, receiver, on(9), "gpt-4o-mini")
    (told,) = receiver.documents()
    assert told["id"].endswith("-14")


def test_one_process_looks(redis: Redis, receiver: Receiver) -> None:
    """Of many workers one sends the alert."""
    moment = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
    for _ in range(4):
        sender = AlertSender(receiver.url, "")
        ModelEndings(redis, sender, lambda: moment, "gpt-4o-mini").run()
    assert len(receiver.received) == 1


def test_an_alert_that_is_not_taken_is_sent_again(redis: Redis, receiver: Receiver) -> None:
    """A receiver that is down hears of it later, under the same id."""
    receiver.next_statuses.extend([500, 500])
    for _ in range(4):
        look(redis, receiver, on(14), "gpt-4o-mini")
    assert len(receiver.received) == 3
    assert len({one["id"] for one in receiver.documents()}) == 1


def test_models_that_jobs_are_for(redis: Redis, receiver: Receiver) -> None:
    """Queued jobs and the answers of the last week make a model one in use; nothing else does."""
    driver = LedgerDriver(redis)
    driver.enter(new_job("a", model="gpt-4o"))
    now = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
    week = 7 * 24 * 3600
    redis.zadd(
        USAGE_KINDS,
        {
            kind_of("gpt-4.1", "high"): (now - 60) * 1000,
            kind_of("our:own/model", "low", "minimal"): (now - 60) * 1000,
            kind_of("gpt-5-mini", "auto", "low"): (now - 60) * 1000,
            kind_of("gpt-4.1-mini", "auto"): (now - week - 60) * 1000,
        },
    )
    assert models_in_use(redis, now) == {"gpt-4o", "gpt-4.1", "gpt-5-mini", "our:own/model"}
    assert models_in_use(redis, now, {"gpt-4o"}) == {"gpt-4o"}
    look(redis, receiver, date(2026, 12, 1))
    assert {one["id"].split("-202")[0] for one in receiver.documents()} == {
        "model-ending-gpt-4o",
        "model-ending-gpt-4.1",
        "model-ending-gpt-5-mini",
    }


def test_the_providers_date_counts(redis: Redis, receiver: Receiver) -> None:
    """The provider's list is preferred to the table, and a new date is reported again."""
    look(redis, receiver, on(14), "gpt-4o-mini")
    later = ListedModels(frozenset({"gpt-4o-mini"}), {"gpt-4o-mini": date(2027, 6, 1)})
    note_model_list(redis, later)
    look(redis, receiver, on(3), "gpt-4o-mini")
    assert len(receiver.received) == 1
    look(redis, receiver, date(2027, 5, 29), "gpt-4o-mini")
    assert receiver.documents()[-1]["id"] == "model-ending-gpt-4o-mini-2027-06-01-3"
