"""What every message is: a frozen, versioned struct with one name on the wire."""

from __future__ import annotations

from typing import Any, ClassVar, Final

import msgspec

REGISTRY: Final[dict[str, type[Message]]] = {}
"""Every message type by its JWS `typ`."""


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all messages.

    `name`: conversation, what it says, a slash, the version. `lifetime`: longest time in seconds
    between issue and expiry. `self_signed`: the signer's public key stands in the body as `key`,
    because the receiver cannot know it yet; such a message proves possession of the key and nothing
    else.
    """

    name: ClassVar[str] = ""
    lifetime: ClassVar[int] = 3600
    self_signed: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:  # noqa: ANN401 - msgspec's own
        super().__init_subclass__(**options)
        if cls.name:
            if typ(cls) in REGISTRY:
                raise RuntimeError(f"two messages are named {cls.name}")
            REGISTRY[typ(cls)] = cls


def typ(kind: type[Message]) -> str:
    """The JWS `typ` of a message type (RFC 8725, section 3.11).

    `billing.request/1` → `surety.billing.request.v1+jwt`.
    """
    return f"surety.{kind.name.replace('/', '.v')}+jwt"
