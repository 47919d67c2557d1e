"""Reads the columns of the UCI "Online Retail" data set: one line of an invoice a row."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from io import StringIO
from pathlib import Path
from typing import Final

from core.protocol.faults import OurFault, fault

COLUMNS: Final = ("InvoiceNo", "StockCode", "Description", "Quantity", "UnitPrice", "CustomerID")
MOST_PLACES: Final = 6


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """One line. `unit_price`: decimal pounds, as the protocol writes them."""

    sku: str
    description: str
    quantity: int
    unit_price: str


@dataclass(slots=True)
class Invoice:
    """One invoice. `customer`: None where the file names none."""

    number: str
    customer: str | None
    lines: list[InvoiceLine] = field(default_factory=list[InvoiceLine])

    @property
    def cancels(self) -> bool:
        """Whether it takes back earlier lines."""
        return self.number.startswith("C")


@dataclass(slots=True)
class Reading:
    """A file's invoices in the order of their first lines.

    `refused`: line number and why, for rows that do not parse.
    """

    invoices: list[Invoice] = field(default_factory=list[Invoice])
    refused: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])


def read(path: Path) -> Reading:
    """Read a file; a bad row only refuses itself.

    Raises `OurFault` where the file cannot be read or lacks a column.
    """
    reading = Reading()
    by_number: dict[str, Invoice] = {}
    try:
        text = _text(path)
    except OSError as error:
        raise OurFault(fault("internal"), f"{path} cannot be read: {error.strerror}") from error
    rows = csv.DictReader(StringIO(text, newline=""))
    missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        raise OurFault(fault("internal"), f"{path} has no column {', '.join(missing)}")
    for row in rows:
        try:
            number, customer, line = _row(row)
        except (ValueError, InvalidOperation) as error:
            reading.refused.append((rows.line_num, str(error) or type(error).__name__))
            continue
        invoice = by_number.get(number)
        if invoice is None:
            invoice = by_number[number] = Invoice(number, customer)
            reading.invoices.append(invoice)
        invoice.lines.append(line)
    return reading


def _text(path: Path) -> str:
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        # The data set is often passed on in the Windows code page; every byte means something there
        # or is replaced.
        return raw.decode("cp1252", errors="replace")


def _row(row: dict[str | None, str | None]) -> tuple[str, str | None, InvoiceLine]:
    if None in row or any(row.get(name) is None for name in COLUMNS):
        raise ValueError("another number of columns than the first line has")
    number = (row["InvoiceNo"] or "").strip()
    sku = (row["StockCode"] or "").strip()
    if not number or not sku:
        raise ValueError("no invoice number or stock code")
    quantity = int(row["Quantity"] or "")
    customer = (row["CustomerID"] or "").strip().removesuffix(".0") or None
    description = " ".join((row["Description"] or "").split())
    return (
        number,
        customer,
        InvoiceLine(sku, description, quantity, price_text(row["UnitPrice"] or "")),
    )


def price_text(text: str) -> str:
    """A decimal as the protocol writes it: `2.50` → `2.5`, `1E+1` → `10`.

    Raises `ValueError` for what it cannot hold, `InvalidOperation` for what is no number.
    """
    price = Decimal(text.strip())
    if not price.is_finite():
        raise ValueError("the unit price is not a number")
    plain = f"{price:f}"
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    whole, _, part = plain.lstrip("-").partition(".")
    if len(part) > MOST_PLACES or len(whole) > 12:  # noqa: PLR2004 - the protocol's UnitPrice
        raise ValueError("the unit price has too many digits")
    return "0" if plain in {"-0", ""} else plain
