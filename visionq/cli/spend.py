"""`visionq spend`: money paid, reserved and unknown, compared with the balance."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from visionq.cli.budget import book_document, line_of, scope_of
from visionq.cli.filters import AMOUNT, ID
from visionq.cli.provider_account import find_provider, read_balance
from visionq.cli.record import is_simulated
from visionq.cli.screen import plain
from visionq.cli.shared import (
    EXIT_FAILED,
    EXIT_OK,
    errors_as_json,
    find_redis_url,
    json_option,
    open_ledger,
    print_json,
)
from visionq.contract import State
from visionq.http_checks import is_local
from visionq.ledger import Book, Ledger, Period, ledger_options
from visionq.ledger.ledger import RedisClock
from visionq.ledger.metrics import (
    read_cascade_saved,
    read_near_answers,
    read_spent_by_lane,
    read_tokens,
)
from visionq.ledger.search import JobFilter
from visionq.ledger.spending import (
    Comparison,
    FailureCost,
    Settled,
    UnknownCall,
    compare,
    compare_anew,
    failure_costs,
    settled_in_month,
    unknown_calls,
)
from visionq.ledger.views import spend as read_spend
from visionq.pricing.money import day_of, rubles
from visionq.redis_connection import as_queue_unavailable, connect
from visionq.settings import load_settings
from visionq.wording import counted

if TYPE_CHECKING:
    from decimal import Decimal

    from redis import Redis

    from visionq.contract import Spend
    from visionq.settings import Settings


#: Calls of unknown billing on a screen; JSON has more.
MOST_LINES: Final = 20


@dataclass(frozen=True)
class SpendReport:
    """The whole report."""

    total: Spend | Book
    today_rub: Decimal | None
    month_rub: Decimal | None
    budgets: tuple[Book, ...]
    unknown: list[UnknownCall]
    comparison: Comparison | None
    #: Why balance and books are not compared.
    no_comparison: str
    #: Kind of token → how many were counted; None: they are not counted for a batch, and empty: nor
    #: for a tenant without counters.
    tokens: dict[str, int] | None = None
    #: Jobs of all tenants that an emptied Redis had lost and their owner submitted again.
    forgotten_jobs: int = 0
    #: Whether the simulator answers, so that nothing was paid; None where only the workers know.
    simulated: bool | None = None
    #: Answers that were those of near-duplicates; None: they are not counted for a batch.
    near_answers: int | None = None
    #: Nano-rubles that cascades saved, by estimate; None: there was none, or it is not counted.
    cascade_saved: int | None = None
    #: Lane → rubles that were paid, where that was asked for.
    lanes: dict[str, Decimal] | None = None
    #: Code of a failure → jobs and rubles, where that was asked for.
    failures: dict[str, FailureCost] | None = None


@click.group(invoke_without_command=True)
@click.option("--tenant", metavar="T", help="Only what this tenant was charged.")
@click.option("--batch", metavar="ID", help="Only what this batch was charged.")
@click.option(
    "--by",
    type=click.Choice(["lane", "failure"]),
    help="What each lane has cost, or failed jobs by reason.",
)
@click.option("--compare-anew", "anew", is_flag=True, help="Compare balance and books from now on.")
@json_option
@click.pass_context
def spend(
    ctx: click.Context,
    *,
    tenant: str | None,
    batch: str | None,
    by: str | None,
    anew: bool,
    as_json: bool,
) -> None:
    """Show money paid, reserved and saved, and calls of unknown billing.

    Calls of unknown billing count against budgets as if they had cost the most that they can, until
    `visionq spend settle` says what was found out about them.
    """
    if ctx.invoked_subcommand is not None:
        if tenant or batch or by or anew or as_json:
            raise click.UsageError(f"options of {ctx.invoked_subcommand} come after its name")
        return
    if by == "lane" and batch:
        raise click.UsageError("--by lane: lanes are counted for tenants, not for batches")
    with errors_as_json(as_json):
        settings = load_settings()
        url = find_redis_url(settings)
        with connect(url, "visionq-cli") as redis, as_queue_unavailable():
            if anew:
                compare_anew(redis)
            report = (
                _of_all(redis, settings)
                if tenant is None and batch is None
                else _of_scope(redis, settings, tenant, batch)
            )
            if by == "lane":
                paid = read_spent_by_lane(redis, tenant)
                report = replace(report, lanes={lane: rubles(cost) for lane, cost in paid.items()})
            elif by == "failure":
                wanted = JobFilter(State.FAILED, tenant=tenant, batch=batch)
                report = replace(report, failures=failure_costs(redis, wanted))
    report = replace(report, simulated=is_simulated(url))
    if as_json:
        print_json(_document(report))
    else:
        _print(report)


def _of_all(redis: Redis, settings: Settings) -> SpendReport:
    ledger = Ledger(redis, ledger_options(settings))
    now = datetime.fromtimestamp(RedisClock().now(redis), UTC)  # whose days the books have
    today = day_of(now.timestamp(), settings.time_zone)
    total = read_spend(redis, today)
    comparison, reason = _compare(redis, settings, now)
    return SpendReport(
        total,
        total.today_rub,
        settled_in_month(redis, today),
        ledger.budgets(),
        unknown_calls(redis),
        comparison,
        reason,
        read_tokens(redis),
        total.forgotten_jobs,
        near_answers=read_near_answers(redis),
        cascade_saved=read_cascade_saved(redis),
    )


def _of_scope(
    redis: Redis, settings: Settings, tenant: str | None, batch: str | None
) -> SpendReport:
    ledger = Ledger(redis, ledger_options(settings))
    total = ledger.book(scope_of(tenant, batch, Period.TOTAL))
    dated = [ledger.book(scope_of(tenant, None, period)) for period in _DATED if tenant]
    day, month = (book.settled_rub for book in dated) if dated else (None, None)
    books = [book for book in (total, *dated) if book.limit_rub is not None]
    unknown = unknown_calls(redis, total.scope.key)
    is_counted = tenant is not None and batch is None
    tokens = read_tokens(redis, tenant) if is_counted else None
    near = read_near_answers(redis, tenant) if is_counted else None
    why = "the balance is that of all"
    return SpendReport(
        total,
        day,
        month,
        tuple(books),
        unknown,
        None,
        why,
        tokens,
        near_answers=near,
        cascade_saved=read_cascade_saved(redis, tenant) if is_counted else None,
    )


_DATED: Final = (Period.DAY, Period.MONTH)


def _compare(redis: Redis, settings: Settings, now: datetime) -> tuple[Comparison | None, str]:
    provider = find_provider(settings)
    if provider.key is None and not is_local(provider.base_url):
        return None, "no key here (PROXYAPI_API_KEY), so the provider was not asked"
    balance = read_balance(provider)
    if provider.profile.balance is None:
        return None, f"how {provider.profile.name} tells the balance is not known"
    if balance is None:
        return None, (
            "the balance can't be read: allow it for the key in the console of ProxyAPI («Запрос"
            " баланса»)"
        )
    account = f"{provider.base_url} {provider.key or ''}"
    return compare(redis, balance, hashlib.sha256(account.encode()).hexdigest()[:12], now), ""


def _document(report: SpendReport) -> dict[str, Any]:
    total = report.total
    return {
        "reserved_rub": plain(total.reserved_rub),
        "settled_rub": plain(total.settled_rub),
        "unknown_rub": plain(total.unknown_rub),
        "saved_rub": plain(total.saved_rub),
        "near_answers": report.near_answers,
        "cascade_saved_rub": None
        if report.cascade_saved is None
        else plain(rubles(report.cascade_saved)),
        "unknown_calls": total.unknown_calls,
        "forgotten_jobs": report.forgotten_jobs,
        "simulated": report.simulated,
        "tokens": report.tokens or None,
        "lanes": report.lanes and {lane: plain(cost) for lane, cost in report.lanes.items()},
        "failures": report.failures
        and {
            code: {"jobs": one.jobs, "cost_rub": plain(one.cost_rub)}
            for code, one in report.failures.items()
        },
        "today_rub": plain(report.today_rub),
        "month_rub": plain(report.month_rub),
        "budgets": [book_document(book) for book in report.budgets],
        "unknown": [
            {
                "job": call.job_id,
                "tenant": call.tenant,
                "batch": call.batch_id,
                "at": call.at.isoformat(),
                "worst_case_rub": plain(call.worst_case_rub),
            }
            for call in report.unknown
        ],
        "balance": report.comparison and _comparison(report.comparison),
        "balance_note": report.no_comparison or None,
    }


def _comparison(found: Comparison) -> dict[str, str | None]:
    return {
        "balance_rub": plain(found.balance_rub),
        "since": found.since.isoformat(),
        "gone_rub": plain(found.gone_rub),
        "settled_rub": plain(found.settled_rub),
        "unexplained_rub": plain(found.unexplained_rub),
    }


_NOT_COUNTED: Final = "counted for this tenant: only the first 40 tenants have counters"


def _print_lanes(lanes: dict[str, Decimal] | None) -> None:
    if lanes == {}:
        click.echo(f"  no lane is {_NOT_COUNTED}")
    for lane, cost in (lanes or {}).items():
        click.echo(f"  {lane:<10}{plain(cost)} ₽")


def _print_tokens(tokens: dict[str, int] | None) -> None:
    if tokens == {}:
        click.echo(f"tokens      none is {_NOT_COUNTED}")
    elif tokens:
        kinds = (f"{amount:,} {kind}" for kind, amount in tokens.items())
        click.echo(f"tokens      {', '.join(kinds)}")


def _print_failures(failures: dict[str, FailureCost] | None) -> None:
    if failures == {}:
        click.echo("  no failed job is kept")
    for code, one in (failures or {}).items():
        click.echo(f"  {code:<24}{plain(one.cost_rub)} ₽ for {counted(one.jobs, 'failed job')}")


def _print(report: SpendReport) -> None:
    total = report.total
    paid = "simulated" if report.simulated else "paid"
    if report.simulated:
        click.echo("The simulator answers: nothing was paid.")
    if report.today_rub is not None:
        click.echo(
            f"{paid:<11} {plain(report.today_rub)} ₽ today, {plain(report.month_rub)} ₽ this month"
        )
    click.echo(f"in all      {plain(total.settled_rub)} ₽ {paid}")
    _print_lanes(report.lanes)
    _print_failures(report.failures)
    _print_tokens(report.tokens)
    click.echo(f"reserved    {plain(total.reserved_rub)} ₽ for calls that are out")
    near = f", {report.near_answers:,} of near-duplicates" if report.near_answers else ""
    click.echo(f"saved       {plain(total.saved_rub)} ₽ by answers that were there{near}")
    if report.cascade_saved is not None:
        saved = plain(rubles(report.cascade_saved))
        click.echo(
            f"cascades    {saved} ₽ saved against asking their last model at once, estimated"
        )
    click.echo(
        f"unknown     up to {plain(total.unknown_rub)} ₽ for"
        f" {counted(total.unknown_calls, 'call')} of unknown billing; budgets count them as paid"
    )
    for call in report.unknown[:MOST_LINES]:
        where = f"tenant {call.tenant}" + (f", batch {call.batch_id}" if call.batch_id else "")
        click.echo(f"  {call.job_id}  up to {plain(call.worst_case_rub)} ₽  {where}")
    if len(report.unknown) > MOST_LINES:
        click.echo(f"  … {len(report.unknown) - MOST_LINES} more; --json lists them")
    if report.unknown:
        click.echo(
            "  once ProxyAPI's log says more of them: visionq spend settle JOB --as paid|unpaid"
        )
    if report.forgotten_jobs:
        click.echo(
            f"forgotten   {counted(report.forgotten_jobs, 'job')} that an emptied Redis had lost,"
            " asked again; a call in flight then may be paid twice, and is in no book"
        )
    for book in report.budgets:
        click.echo(f"budget      {line_of(book)}")
    found = report.comparison
    if found is None:
        click.echo(f"balance     not compared: {report.no_comparison}")
    else:
        click.echo(
            f"balance     {plain(found.balance_rub)} ₽; since {found.since:%Y-%m-%d %H:%M} UTC"
            f" {plain(found.gone_rub)} ₽ are gone, {plain(found.settled_rub)} ₽ of them by these"
            f" books: {plain(found.unexplained_rub)} ₽ unexplained"
        )


_SAID = {
    Settled.SETTLED: "settled",
    Settled.AT_WORK: "left: its job is still worked on; say it again when the job rests",
    Settled.GONE: "left: its billing is known by now",
}


@spend.command()
@click.argument("job_ids", type=ID, metavar="[JOB]...", nargs=-1)
@click.option("--tenant", metavar="T", help="All such calls of this tenant.")
@click.option("--batch", metavar="ID", help="All such calls of this batch.")
@click.option(
    "--as",
    "said",
    type=click.Choice(["paid", "unpaid"]),
    required=True,
    help="What ProxyAPI's log shows.",
)
@click.option("--rub", type=AMOUNT, help="Cost of each.  [default: its upper bound]")
@json_option
def settle(
    *,
    job_ids: tuple[str, ...],
    tenant: str | None,
    batch: str | None,
    said: str,
    rub: Decimal | None,
    as_json: bool,
) -> int:
    """Record whether calls of unknown billing were paid, by the provider's own log.

    Their rubles leave what is unknown: they become paid, or free for the budgets again. A job that
    is parked for such a call goes on if nothing was paid; if it was, decide whether to ask again.
    Should the answer still come, its real cost replaces this decision.
    """
    is_paid = said == "paid"
    if sum(map(bool, (job_ids, tenant, batch))) != 1:
        raise click.UsageError("name jobs, or --tenant, or --batch")
    if rub is not None and not is_paid:
        raise click.UsageError("--rub goes with --as paid")
    if rub is not None and not (rub.is_finite() and rub >= 0):
        raise click.UsageError(f"--rub: {rub} is not an amount that was paid")
    with errors_as_json(as_json), open_ledger() as ledger:
        calls = _calls(ledger.redis, job_ids, tenant, batch)
        found = ledger.settle_unknown(calls, paid=is_paid, cost_rub=rub)
    done = list(zip(calls, found, strict=True))
    known = sorted(set(job_ids) - {call.job_id for call in calls})
    if as_json:
        print_json([_settled(call, what) for call, what in done] + [_nothing(id_) for id_ in known])
    else:
        _print_settled(done, known)
    return EXIT_FAILED if known or Settled.AT_WORK in found else EXIT_OK


def _calls(
    redis: Redis, job_ids: tuple[str, ...], tenant: str | None, batch: str | None
) -> list[UnknownCall]:
    scope = f"tenant:{tenant}" if tenant else f"batch:{batch}" if batch else None
    calls = unknown_calls(redis, scope, most=None)
    return [call for call in calls if call.job_id in job_ids] if job_ids else calls


def _settled(call: UnknownCall, what: Settled) -> dict[str, Any]:
    return {
        "job": call.job_id,
        "tenant": call.tenant,
        "batch": call.batch_id,
        "worst_case_rub": plain(call.worst_case_rub),
        "outcome": what.value,
    }


def _nothing(job_id: str) -> dict[str, Any]:
    return dict.fromkeys(("tenant", "batch", "worst_case_rub")) | {
        "job": job_id,
        "outcome": Settled.GONE.value,
    }


def _print_settled(done: list[tuple[UnknownCall, Settled]], known: list[str]) -> None:
    for call, what in done:
        click.echo(f"{call.job_id}  up to {plain(call.worst_case_rub)} ₽  {_SAID[what]}")
    for job_id in known:
        click.echo(f"{job_id}  has no call of unknown billing", err=True)
    if not done and not known:
        click.echo("no calls of unknown billing")
