"""The trust file: who the approval server is, given by the operator by a way that he trusts."""

from __future__ import annotations

from pathlib import Path

import msgspec

from core.exchange.directory import Trust
from core.protocol.faults import OurFault, PeerFault, fault
from core.protocol.keys import PublicKey
from core.protocol.names import Endpoint, PartyId


class _Key(msgspec.Struct):
    x: str


class TrustText(msgspec.Struct):
    """The file's form, as `surety approval trust` prints it.

    Approval's principal, endpoint and the members of its JWK set.
    """

    approval: PartyId
    endpoint: Endpoint
    keys: list[_Key]


def read_trust(path: Path) -> Trust:
    """Raises `OurFault` where the file cannot be read or is not a trust file."""
    try:
        return parse_trust(path.read_bytes())
    except OSError as error:
        raise OurFault(
            fault("internal"), f"the trust file {path} cannot be read: {error.strerror}"
        ) from error
    except (msgspec.MsgspecError, PeerFault, IndexError) as error:
        raise OurFault(
            fault("internal"), f"{path} is not a trust file; make one with `surety approval trust`"
        ) from error


def parse_trust(data: bytes) -> Trust:
    """The trust that the text describes."""
    text = msgspec.json.decode(data, type=TrustText)
    return Trust(text.approval, PublicKey(text.keys[0].x), text.endpoint)
