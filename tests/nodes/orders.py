"""Orders between parties that have no program: approval is alone with what they say."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import count
from typing import Any

import msgspec

from core.protocol.canonical import digest
from core.protocol.money import Money
from core.protocol.purchase import (
    MerchantSearch,
    TransactionReport,
    VerificationRequest,
    VouchRelease,
)
from core.protocol.terms import Terms, reference
from tests.world.nodes import Place, Running
from tests.world.puppet import Puppet, Reply, an_offer, some_terms
from tests.world.written import Row

_HOSTS = count(10)
NOTHING = (0, 0)


def an_address() -> str:
    """An address of this machine's that nobody else calls from."""
    number = next(_HOSTS)
    return f"127.0.{10 + number // 250}.{1 + number % 250}"


@dataclass
class Pair:
    """A puppet agency and a puppet merchant, and approval."""

    running: Running
    approval: Place
    agency: Puppet
    merchant: Puppet

    def terms(self, minor: int = 1250, **changes: Any) -> Terms:
        return some_terms(self.agency.party, an_offer(self.merchant.party, minor), **changes)

    def vouch(self, agreed: Terms, **how: Any) -> Reply:
        message = MerchantSearch(order=reference(agreed), terms=agreed)
        return self.agency.send(self.approval, message, **how)

    def report(self, agreed: Terms, **how: Any) -> Reply:
        message = TransactionReport(
            consent_digest=digest(os.urandom(8)),
            order=reference(agreed),
            payment_method="monthly account",
            terms=agreed,
        )
        return self.agency.send(self.approval, message, **how)

    def verify(self, agreed: Terms, **how: Any) -> Reply:
        message = VerificationRequest(
            completion_digest=digest(os.urandom(8)), order=reference(agreed), terms=agreed
        )
        return self.merchant.send(self.approval, message, **how)

    def release(self, agreed: Terms) -> Reply:
        message = VouchRelease(order=reference(agreed), reason="declined")
        return self.agency.send(self.approval, message)

    def order(self, agreed: Terms) -> Row:
        return self.running.approval.written.row(
            "SELECT * FROM orders WHERE agency = ? AND merchant = ? AND order_number = ?",
            agreed.agency,
            agreed.merchant,
            agreed.order_number,
        )

    def exposure(self) -> tuple[int, int]:
        """Reserved and committed; the ledger agrees with the sum over orders."""
        row = self.running.approval.written.row(
            "SELECT reserved, committed FROM ledgers WHERE agency = ?", self.agency.party
        )
        summed = self.running.approval.written.row(
            "SELECT coalesce(sum(CASE WHEN state = 'RECORDED' THEN minor END), 0) AS committed,"
            " coalesce(sum(CASE WHEN state IN ('VOUCHED', 'REPORT_ONLY', 'VERIFY_ONLY')"
            " THEN minor END), 0) AS reserved FROM orders WHERE agency = ?",
            self.agency.party,
        )
        assert row == {"reserved": summed["reserved"], "committed": summed["committed"]}
        return row["reserved"], row["committed"]

    def standing(self, party: str, action: str) -> None:
        """What the institution's operator does."""
        self.running.approval.ask("POST", f"/parties/{party}/{action}", {"reason": "a test"})


def a_pair(running: Running, minor: int = 10**6) -> Pair:
    """Two newly registered parties; the agency's cap is so many pence."""
    agency = Puppet("agency", an_address()).register(running, minor)
    merchant = Puppet("merchant", an_address()).register(running)
    return Pair(running, running.place("approval"), agency, merchant)


def dearer(agreed: Terms) -> Terms:
    """The same but for a penny."""
    amount = Money(currency=agreed.amount.currency, minor=agreed.amount.minor + 1)
    return msgspec.structs.replace(agreed, amount=amount)
