"""Answers that belong to no conversation: receipts, refusals, checkpoints."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from core.protocol.message import Message
from core.protocol.names import Count, Digest, Label, MessageId, Text


class Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a chain of evidence stands: the hash after `position` entries."""

    chain: Label
    hash: Digest
    position: Count


class Receipt(Message, frozen=True, kw_only=True):
    """Receiver → sender: these messages are committed.

    One signature acknowledges everything that came in one request.

    `head`: the receiver's chain of evidence at that moment; a history that is edited later
    contradicts it.
    """

    name = "receipt/1"
    lifetime = 86_400

    accepted: Annotated[tuple[MessageId, ...], Meta(min_length=1, max_length=256)]
    head: Head


class Refusal(Message, frozen=True, kw_only=True):
    """Receiver → sender: refused for good.

    `code`: a fault of the catalogue. `subject`: the offer hash of the refused message, where it had
    one.
    """

    name = "refusal/1"
    lifetime = 31 * 86_400

    code: Label
    detail: Text
    subject: Digest | None


class Checkpoint(Message, frozen=True, kw_only=True):
    """A node → anyone: my chain of evidence stands here.

    Bundles prove their messages against such a signed head.
    """

    name = "checkpoint/1"
    lifetime = 10 * 366 * 86_400

    head: Head
