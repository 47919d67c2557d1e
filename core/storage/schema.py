"""The metadata of the tables that every node has, whichever party it is."""

from __future__ import annotations

import sqlalchemy as sa

NODE = sa.MetaData()
"""Tables of storage and exchange: evidence, inbox, outbox, guarantees, settings."""
