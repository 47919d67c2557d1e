"""Whether the three parties' books say the same, order by order and penny by penny.

Reads the databases, asks no node.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from core.agency.books import members
from core.agency.books import orders as agency_orders
from core.approval.books import ledgers
from core.approval.books import orders as approval_orders
from core.merchant.books import orders as merchant_orders
from core.merchant.books import sales
from core.storage.engine import open_database

if TYPE_CHECKING:
    from collections.abc import Mapping

_ORDERS: Final = {"approval": approval_orders, "agency": agency_orders, "merchant": merchant_orders}
_SHOWN: Final = ("order_number", "state", "currency", "minor", "terms_hash", "offer_hash")
Row = tuple[Any, ...]


@dataclass(slots=True)
class Comparison:
    """What a comparison found.

    `differences`: in words, with the order and both sides; empty when the books agree.
    """

    verified: int = 0
    verified_minor: int = 0
    differences: list[str] = field(default_factory=list[str])

    @property
    def agree(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


def compare(databases: Mapping[str, str], parties: Mapping[str, str]) -> Comparison:
    """Compare approval's, agency's and merchant's books.

    `databases`, `parties`: by "approval", "agency", "merchant".
    """
    agency, merchant = parties["agency"], parties["merchant"]
    approval = _rows(databases["approval"], _approval(agency, merchant))
    at_agency = _rows(databases["agency"], _agency(merchant))
    at_merchant = _rows(databases["merchant"], _sales(agency))
    states = _rows(databases["merchant"], _merchant_states())
    found = Comparison(
        verified=len(approval), verified_minor=sum(row[4] for row in approval.values())
    )
    _differ(found, "agency", approval, at_agency)
    _differ(found, "merchant", approval, at_merchant)
    if set(states) != set(at_merchant):
        found.differences.append("merchant: orders in VERIFIED are not those in the sales record")
    _totals(found, databases, agency)
    return found


def order_at(party: str, database: str, order_number: str) -> dict[str, Any]:
    """One party's own row of an order: number, state, amount, hashes.

    Raises `LookupError` where it has none.
    """
    columns = _ORDERS[party].c
    engine = open_database(database, exclusive=False).reader()
    try:
        with engine.connect() as connection:
            statement = sa.select(*(columns[name] for name in _SHOWN)).where(
                columns.order_number == order_number
            )
            row = connection.execute(statement).one_or_none()
    finally:
        engine.dispose()
    if row is None:
        raise LookupError(f"{party} has no order {order_number}")
    return dict(zip(_SHOWN, row, strict=True))


def _approval(agency: str, merchant: str) -> sa.Select[Any]:
    c = approval_orders.c
    return sa.select(
        c.order_number, c.offer_hash, c.terms_hash, c.currency, c.minor, c.record
    ).where(c.state == "RECORDED", c.agency == agency, c.merchant == merchant)


def _agency(merchant: str) -> sa.Select[Any]:
    c = agency_orders.c
    return sa.select(
        c.order_number, c.offer_hash, c.terms_hash, c.currency, c.minor, c.record
    ).where(c.state == "RECORDED_SEEN", c.merchant == merchant)


def _sales(agency: str) -> sa.Select[Any]:
    c = sales.c
    return sa.select(
        c.order_number, c.offer_hash, c.terms_hash, c.currency, c.minor, c.record
    ).where(c.agency == agency)


def _merchant_states() -> sa.Select[Any]:
    c = merchant_orders.c
    return sa.select(c.order_number, c.offer_hash).where(c.state == "VERIFIED")


def _rows(url: str, statement: sa.Select[Any]) -> dict[str, Row]:
    engine = open_database(url, exclusive=False).reader()
    try:
        with engine.connect() as connection:
            return {row[0]: tuple(row) for row in connection.execute(statement)}
    finally:
        engine.dispose()


def _differ(
    found: Comparison, other: str, approval: Mapping[str, Row], rows: Mapping[str, Row]
) -> None:
    for number in sorted(set(approval) | set(rows)):
        if approval.get(number) != rows.get(number):
            found.differences.append(
                f"{number}: approval {approval.get(number)}, {other} {rows.get(number)}"
            )


def _totals(found: Comparison, databases: Mapping[str, str], agency: str) -> None:
    held = _rows(
        databases["approval"],
        sa.select(
            ledgers.c.currency, ledgers.c.reserved, ledgers.c.committed, ledgers.c.records
        ).where(ledgers.c.agency == agency),
    )
    owed = _rows(
        databases["agency"],
        sa.select(
            members.c.currency, sa.func.sum(members.c.reserved), sa.func.sum(members.c.owed)
        ).group_by(members.c.currency),
    )
    for currency, (_, reserved, committed, records) in held.items():
        if (reserved, committed, records) != (0, found.verified_minor, found.verified):
            found.differences.append(
                f"approval's exposure in {currency}: {reserved} reserved, {committed} committed, "
                f"{records} records; its orders say 0, {found.verified_minor}, {found.verified}"
            )
        _, still, debt = owed.get(currency, (currency, 0, 0))
        if (still, debt) != (0, found.verified_minor):
            found.differences.append(
                f"members in {currency}: {still} reserved, {debt} owed; sold {found.verified_minor}"
            )
