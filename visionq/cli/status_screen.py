"""The screen of `visionq status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from visionq.cli.batches import progress
from visionq.cli.budget_waste import release_command, waste_lines
from visionq.cli.screen import duration, money
from visionq.names import HINT_QUEUES, QUEUE_PREFIX
from visionq.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from visionq.ledger.gates import Gate
    from visionq.ledger.overview import HeldScopes, Overview, WorkerView
    from visionq.ledger.rate_limits import RateLimitStatus
    from visionq.ledger.tenant_waste import TenantWaste

#: Lanes and workers on one screen; JSON has them all.
MOST_ROWS: Final = 12


def screen(page: Overview, address: str, *, simulated: bool = False) -> Group:
    """Return the whole page; `simulated`: nothing was paid, the simulator answers."""
    head = Text.assemble(
        ("visionq", "bold"), f"  {page.at.astimezone():%Y-%m-%d %H:%M:%S}  ", (address, "dim")
    )
    parts: list[Text | Table] = [head, Text(), _summary(page, simulated=simulated)]
    if page.lanes:
        parts += [Text(), _lanes(page)]
    if page.workers:
        parts += [Text(), _workers(page)]
    return Group(*parts)


def _summary(page: Overview, *, simulated: bool) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    table.add_row("Backlog", f"{page.queued:,}", _backlog(page))
    table.add_row("Running", f"{page.running:,}", _running(page))
    table.add_row("Waiting", f"{page.waiting.jobs:,}", _reasons(page.waiting, "yellow"))
    table.add_row("Parked", f"{page.parked.jobs:,}", _reasons(page.parked, "red"))
    table.add_row(
        "Ended",
        f"{page.completed + page.failed + page.cancelled:,}",
        f"{page.completed:,} completed, {page.failed:,} failed, {page.cancelled:,} cancelled",
    )
    window = duration(page.rate.over_seconds)
    table.add_row("Rate", f"{page.rate.per_minute:,.1f}", f"a minute, over the last {window}")
    if page.batches or page.unbatched:
        table.add_row("Batches", f"{len(page.batches):,}", _batches(page))
    if page.eta_seconds != 0:
        table.add_row("ETA", "", _eta(page))
    table.add_row("Gate", "", _gate(page.gate, page.at))
    for one in page.stopped[:MOST_ROWS]:
        table.add_row("Stopped", "", _stopped(one))
    for rate_limit in page.paces[:MOST_ROWS]:
        table.add_row("Rate limit", _per_minute(rate_limit), _pace(rate_limit, page.at))
    paid = "simulated" if simulated else "paid"
    table.add_row("Today", "", f"{money(page.spend.today_rub)} ₽ {paid}")
    table.add_row("Spend", "", _spend(page, paid))
    if simulated:
        table.add_row("", "", "the simulator answers: nothing was paid")
    return table


def _backlog(page: Overview) -> str:
    words = []
    if page.oldest_submitted_at:
        words.append(f"oldest {_since(page.oldest_submitted_at, page.at)}")
    if page.hinted:
        words.append(f"{page.hinted:,} more on their way to a worker")
    return ", ".join(words)


def _running(page: Overview) -> Text:
    alive = [worker for worker in page.workers if worker.alive]
    if not alive:
        return Text("no worker is alive", style="red" if page.queued else "yellow")
    return Text(f"of {counted(page.slots, 'slot')} in {counted(len(alive), 'worker')}")


def _reasons(held: HeldScopes, style: str) -> Text:
    text = Text(", ".join(f"{reason or '?'} {count:,}" for reason, count in held.reasons.items()))
    text.stylize(style)
    if held.counted < held.jobs:
        text.append(f"  (of {held.counted:,} looked at)", "dim")
    return text


def _batches(page: Overview) -> str:
    words = [progress(page.batches, page.at)] if page.batches else []
    if page.unbatched:
        words.append(f"{page.unbatched:,} jobs wait for the next one")
    return "; ".join(words)


def _eta(page: Overview) -> str:
    if page.eta_seconds is None:
        return "unknown: the gate is closed" if page.gate.state == "closed" else "unknown so far"
    rate = "" if page.pace_per_minute is None else f" at {page.pace_per_minute:,.1f} a minute"
    others = "the parked and those in batches" if page.batches else "the parked"
    return f"{duration(page.eta_seconds)} until all but {others} have ended{rate}"


def _gate(gate: Gate, now: datetime) -> Text:
    text = Text(gate.state, style="green" if gate.state == "open" else "bold red")
    if gate.reason:
        text.append(f": {gate.reason}")
    if gate.since:
        text.append(f", for {_since(gate.since, now)}")
    return text


def _stopped(one: TenantWaste) -> Text:
    text = Text("\n".join(waste_lines(one)), style="red")
    return Text.assemble(f"tenant {one.tenant}: ", text, f"\n→ {release_command(one.tenant)}")


def _per_minute(rate_limit: RateLimitStatus) -> str:
    return (
        "" if rate_limit.requests_per_minute is None else f"{rate_limit.requests_per_minute:,.1f}"
    )


def _pace(rate_limit: RateLimitStatus, now: datetime) -> str:
    words = [
        f"{rate_limit.model}: a minute ({rate_limit.source})"
        if rate_limit.source
        else f"{rate_limit.model}:"
    ]
    if rate_limit.tokens_per_minute is not None:
        words.append(f"{rate_limit.tokens_per_minute:,.0f} tokens a minute")
    if rate_limit.concurrency is not None:
        words.append(f"{rate_limit.calls_out:,} of {rate_limit.concurrency:,} calls at a time")
    wait = (rate_limit.next_at - now).total_seconds()
    if wait >= 1:
        words.append(f"the next call in {duration(wait)}")
    return ", ".join(words)


def _spend(page: Overview, paid: str) -> str:
    spend = page.spend
    words = [
        f"{money(spend.settled_rub)} ₽ {paid}",
        f"{money(spend.reserved_rub)} ₽ reserved",
    ]
    if spend.unknown_calls:
        calls = counted(spend.unknown_calls, "call")
        words.append(f"up to {money(spend.unknown_rub)} ₽ for {calls} of unknown billing")
    if spend.saved_rub:
        words.append(f"{money(spend.saved_rub)} ₽ saved")
    return f"{', '.join(words)} (all jobs ever)"


def _lanes(page: Overview) -> Table:
    table = _table(("QUEUE", "TENANT", "MODEL"), ("QUEUED", "OLDEST"))
    for lane in page.lanes[:MOST_ROWS]:
        table.add_row(
            lane.queue.removeprefix(QUEUE_PREFIX).partition(".")[0],
            lane.tenant,
            lane.model,
            f"{lane.queued:,}",
            _since(lane.oldest_submitted_at, page.at),
        )
    _say_more(table, page.lane_count - MOST_ROWS, "lanes")
    return table


def _workers(page: Overview) -> Table:
    table = _table(("WORKER", "PROCESS", "QUEUES"), ("BUSY", "SLOTS", "UP", "SEEN"))
    for worker in page.workers[:MOST_ROWS]:
        table.add_row(
            worker.host,
            str(worker.pid or ""),
            _queues(worker),
            "" if worker.busy is None else f"{worker.busy:,}",
            f"{worker.slots:,}",
            _since(worker.started_at, page.at),
            Text(_since(worker.seen_at, page.at), style="" if worker.alive else "red"),
        )
    _say_more(table, len(page.workers) - MOST_ROWS, "workers")
    return table


def _queues(worker: WorkerView) -> str:
    if set(worker.queues) >= set(HINT_QUEUES):
        return "all"
    return ", ".join(queue.rpartition(".")[2] for queue in worker.queues)


def _table(left: Iterable[str], right: Iterable[str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in left:
        table.add_column(heading, overflow="fold")
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _say_more(table: Table, more: int, what: str) -> None:
    if more > 0:
        table.add_row(Text(f"… {more:,} more {what}", style="dim"))


def _since(moment: datetime | None, now: datetime) -> str:
    return "" if moment is None else duration((now - moment).total_seconds())
