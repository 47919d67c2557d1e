"""Alembic's environment; `core.storage.migrate` hands in connection and metadata."""

from __future__ import annotations

from alembic import context

configuration = context.config
connection = configuration.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=configuration.attributes["metadata"],
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
