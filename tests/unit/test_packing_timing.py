"""When jobs of the batch lane have to be asked online."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.packing.timing import Needed, Timing, due_online, pause_before_look

NOW = 1_000_000.0
MOMENTS = st.lists(st.floats(-1000, 100_000), max_size=60).map(
    lambda some: [Needed(f"j{place}", NOW + one) for place, one in enumerate(sorted(some))]
)
RATES = st.floats(0.01, 100)
LEADS = st.floats(0, 5000)


@given(MOMENTS, RATES, LEADS)
def test_none_is_late_while_that_is_avoidable(jobs: list[Needed], rate: float, lead: float) -> None:
    """A job that stays could still be answered online in time, after the lead."""
    timing = Timing(rate)
    due = due_online(jobs, NOW, timing, lead)
    for place, job in enumerate(jobs[due:], due + 1):
        assert NOW + lead + place / rate < job.by


@given(MOMENTS, RATES, LEADS)
def test_no_more_go_online_than_have_to(jobs: list[Needed], rate: float, lead: float) -> None:
    """The last of those that go would else be late, by the estimate with its margin."""
    timing = Timing(rate)
    due = due_online(jobs, NOW, timing, lead)
    if due:
        assert NOW + lead + timing.online_seconds(due) >= jobs[due - 1].by


@given(MOMENTS, RATES, LEADS, st.floats(0, 5000))
def test_a_longer_lead_sends_no_fewer(
    jobs: list[Needed], rate: float, lead: float, more: float
) -> None:
    """Queued jobs, which need a whole batch more, go before those that are out."""
    timing = Timing(rate)
    assert due_online(jobs, NOW, timing, lead + more) >= due_online(jobs, NOW, timing, lead)


def test_the_backlog_comes_first() -> None:
    """Jobs that are queued online already take their time."""
    jobs = [Needed("j", NOW + 100)]
    assert due_online(jobs, NOW, Timing(1.0), 0) == 0
    assert due_online(jobs, NOW, Timing(1.0, ahead=100), 0) == 1


def test_batches_take_as_long_as_they_took() -> None:
    """The median of what was seen counts, and a guess before."""
    assert Timing(1.0, guess=7).batch_seconds == 7
    assert Timing(1.0, took=(10, 20, 90)).batch_seconds == 20


def test_looks_become_rarer() -> None:
    """A new batch is looked at soon, an old one every five minutes."""
    assert [pause_before_look(age) for age in (0, 300, 86400)] == [10, 30, 300]
