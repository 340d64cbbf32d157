"""Rules of the ledger's state machine by which events are sent, and fail, and are sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis.strategies as st
from hypothesis.stateful import rule

from tests.support.ledger_model.events import name_of
from tests.support.ledger_model.pair import Pair
from visionq.ledger import DeliveryClaim, DeliveryEnding, DeliveryState
from visionq.names import QUEUE_WEBHOOKS, WEBHOOK_EVENTS

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS = ("response.completed", "response.failed", "response.cancelled")
_LEASE = 20

some = st.integers(0, 1_000)


class WebhookRules(Pair):
    """Moves of workers that take events to webhooks, on both sides."""

    @rule(
        tenant=st.sampled_from(["a", "default", "default"]),
        wanted=st.sampled_from([EVENTS, EVENTS, EVENTS[:1], ()]),
    )
    def set_webhook(self, tenant: str, wanted: tuple[str, ...]) -> None:
        self.model.wanted.pop(tenant, None)
        self.redis.hdel(WEBHOOK_EVENTS, tenant)
        if wanted:
            self.model.wanted[tenant] = wanted
            self.redis.hset(WEBHOOK_EVENTS, tenant, " ".join((name_of(wanted), *wanted)))

    @rule(jobs=st.sampled_from([1, 3, 12]), tenant=st.sampled_from(["a", "default"]))
    def end_many(self, jobs: int, tenant: str) -> None:
        """More events are due than may be out at a time."""
        self.set_webhook(tenant, EVENTS)
        for _ in range(jobs):
            fields = {"tenant": tenant, "deadline": None, "blobs": "", "newer": False}
            job = self.document(f"j{next(self.numbers)}", fields)
            self.submit_to_both(job)
            assert self.ledger.cancel([job.id]) == [self.model.cancel(self.now, job.id)]
        self.dispatch_both()

    @rule(
        which=some,
        states=st.lists(st.sampled_from([None, *DeliveryState]), min_size=1, max_size=3),
        delay=st.sampled_from([0, 1, 40]),
        gone=st.booleans(),
    )
    def tell(
        self, which: int, states: list[DeliveryState | None], delay: int, *, gone: bool
    ) -> None:
        """A hint is followed, in time or late; perhaps who does dies, or says it twice."""
        if not self.model.events:
            return
        id_ = sorted(self.model.events)[which % len(self.model.events)]
        claim = self.claim_event(id_, f"t{next(self.numbers)}")
        for state in states:
            if claim and state in (
                DeliveryState.DELIVERED, DeliveryState.FAILED, DeliveryState.WAITING,
            ):  # fmt: skip
                self.finish_event(claim, state, delay, gone=gone)

    @rule(which=some)
    def tell_late(self, which: int) -> None:
        """A worker thought dead has sent it after all."""
        if self.tellers:
            claim = self.tellers[which % len(self.tellers)]
            self.finish_event(claim, DeliveryState.DELIVERED, 0, gone=False)

    @rule(which=some)
    def redeliver(self, which: int) -> None:
        if self.model.events:
            id_ = sorted(self.model.events)[which % len(self.model.events)]
            assert self.ledger.redeliver([id_]) == [self.model.redeliver(self.now, id_)]

    def claim_event(self, id_: str, token: str) -> DeliveryClaim | None:
        expected = self.model.claim_event(self.now, id_, token, _LEASE * 1000)
        for _ in range(2):  # the reply to the first call is lost
            claim = self.ledger.claim_delivery(id_, token, _LEASE)
            if claim is None:
                assert isinstance(expected, str)
                return None
            assert not isinstance(expected, str)
            said = (claim.tenant, claim.event, claim.subject, claim.attempts)
            assert said == (expected.tenant, expected.name, expected.subject, expected.attempts)
            assert claim.is_enabled == (claim.tenant in self.model.wanted)
        assert claim is not None
        self.tellers.append(claim)
        return claim

    def finish_event(
        self, claim: DeliveryClaim, state: DeliveryState, delay: int, *, gone: bool
    ) -> None:
        webhook = name_of(EVENTS) if gone else ""
        expected = self.model.finish_event(
            self.now, claim.id, claim.token, state.value, delay * 1000, webhook
        )
        ending = DeliveryEnding(state, delay, gone=webhook)
        assert self.ledger.finish_delivery(claim, ending) == expected

    def tell_all(self) -> bool:
        """Follow every hint in the queue; returns whether nothing is left to be told."""
        for id_ in self._event_messages():
            claim = self.claim_event(id_, f"t{next(self.numbers)}")
            if claim:
                self.finish_event(claim, DeliveryState.DELIVERED, 0, gone=False)
        return all(event.state in ("delivered", "failed") for event in self.model.events.values())

    def _event_messages(self) -> Iterator[str]:
        while message := self.redis.rpop(QUEUE_WEBHOOKS):
            assert isinstance(message, bytes)
            yield message.decode()
