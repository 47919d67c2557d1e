"""Money: integer minor units of an ISO 4217 currency. No floats anywhere."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from core.protocol.faults import PeerFault, fault
from core.protocol.names import MAX_INTEGER, Currency

_TWO = """
AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN
BZD CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP
GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT
LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN
NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE
SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES
WST XAD XCD XCG YER ZAR ZMW ZWG
"""
_ZERO = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE = "BHD IQD JOD KWD LYD OMR TND"
_FOUR = "CLF UYW"

EXPONENTS: Final[dict[str, int]] = {
    code: exponent
    for exponent, codes in ((2, _TWO), (0, _ZERO), (3, _THREE), (4, _FOUR))
    for code in codes.split()
}
"""ISO 4217 minor-unit exponents: GBP 2, JPY 0, BHD 3."""


class Money(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A positive amount. `minor`: minor units, 1 to 2**53-1; `currency`: ISO 4217."""

    currency: Currency
    minor: Annotated[int, Meta(ge=1, le=MAX_INTEGER)]


def exponent(currency: str) -> int:
    """How many decimals the currency's minor unit has.

    Raises `PeerFault("unsupported_currency")` for a code ISO 4217 lacks.
    """
    try:
        return EXPONENTS[currency]
    except KeyError:
        raise PeerFault(fault("unsupported_currency"), currency[:3]) from None


def line_minor(quantity: int, unit_price: str, currency: str) -> int:
    """Quantity times unit price (decimal major units), rounded half-even to minor units.

    May be zero or negative.
    """
    scale = Decimal(1).scaleb(exponent(currency))
    return int(
        (Decimal(unit_price) * quantity * scale).quantize(Decimal(1), rounding=ROUND_HALF_EVEN)
    )


def in_words(money: Money) -> str:
    """For logs and terminals: `1234` minor GBP → `12.34 GBP`.

    Programs for people format by locale instead.
    """
    places = exponent(money.currency)
    return f"{Decimal(money.minor).scaleb(-places):.{places}f} {money.currency}"
