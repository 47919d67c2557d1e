"""The reader of invoice files: what it takes, what it refuses, and that the rest goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.protocol.faults import OurFault
from core.sandbox.replay.invoices import price_text, read

HEAD = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"


def _file(tmp_path: Path, *rows: str, head: str = HEAD, encoding: str = "utf-8") -> Path:
    path = tmp_path / "orders.csv"
    path.write_bytes((head + "".join(f"{row}\n" for row in rows)).encode(encoding))
    return path


def test_lines_of_an_invoice_are_one_order_in_file_order(tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        "2,A,First,1,d,1.50,17850,UK",
        "1,B,Second,2,d,2,,UK",
        "2,C,Third,3,d,0.25,17850,UK",
        "C3,A,Back,-1,d,1.50,17850,UK",
    )
    reading = read(path)

    assert [invoice.number for invoice in reading.invoices] == ["2", "1", "C3"]
    assert [line.sku for line in reading.invoices[0].lines] == ["A", "C"]
    assert reading.invoices[0].customer == "17850"
    assert reading.invoices[1].customer is None
    assert [invoice.cancels for invoice in reading.invoices] == [False, False, True]
    assert reading.refused == []


def test_a_row_that_does_not_parse_is_refused_with_its_line_number(tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        "1,A,Good,1,d,1.50,17850,UK",
        "1,B,No number,many,d,1.50,17850,UK",
        "1,C,No price,1,d,dear,17850,UK",
        "1,D,Short row,1",
        ",E,No invoice,1,d,1.50,17850,UK",
        "1,F,Endless,1,d,NaN,17850,UK",
        "1,G,Too long,1,d,1.50,17850,UK,more,columns",
        "2,H,Good again,1,d,1.50,17851,UK",
    )
    reading = read(path)

    assert [number for number, _ in reading.refused] == [3, 4, 5, 6, 7, 8]
    assert all(why for _, why in reading.refused)
    assert [(i.number, [line.sku for line in i.lines]) for i in reading.invoices] == [
        ("1", ["A"]),
        ("2", ["H"]),
    ]


def test_customer_numbers_written_as_decimals_are_the_same_customers(tmp_path: Path) -> None:
    path = _file(tmp_path, "1,A,x,1,d,1,17850,UK", "2,A,x,1,d,1,17850.0,UK")
    assert {invoice.customer for invoice in read(path).invoices} == {"17850"}


def test_the_windows_code_page_is_read_too(tmp_path: Path) -> None:
    path = _file(tmp_path, "1,A,£5 card,1,d,1,17850,UK", encoding="cp1252")
    assert read(path).invoices[0].lines[0].description == "£5 card"


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = _file(tmp_path, "1,A,x,1,d,1,17850,UK", encoding="utf-8-sig")
    assert len(read(path).invoices) == 1


def test_quoted_line_breaks_stay_in_their_field(tmp_path: Path) -> None:
    path = _file(tmp_path, '1,A,"two\nlines",1,d,1,17850,UK')
    assert read(path).invoices[0].lines[0].description == "two lines"


def test_a_missing_column_or_file_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(OurFault, match="CustomerID"):
        read(_file(tmp_path, head="InvoiceNo,StockCode,Description,Quantity,UnitPrice\n"))
    with pytest.raises(OurFault, match="cannot be read"):
        read(tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2.50", "2.5"),
        ("0", "0"),
        ("0.000", "0"),
        ("-0", "0"),
        ("1E+1", "10"),
        ("007.10", "7.1"),
        ("-11062.06", "-11062.06"),
        ("0.001", "0.001"),
        ("8142.75", "8142.75"),
    ],
)
def test_prices_are_written_as_the_protocol_writes_them(text: str, written: str) -> None:
    assert price_text(text) == written


@pytest.mark.parametrize("text", ["", "NaN", "Infinity", "1,50", "0.0000001", "1" * 13, "£2"])
def test_prices_that_the_protocol_cannot_hold_are_refused(text: str) -> None:
    with pytest.raises((ValueError, ArithmeticError)):
        price_text(text)
