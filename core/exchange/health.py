"""`/livez`, `/readyz`, `/metrics`: whether a node runs, can work (or why not), how much it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from core.exchange.door import Request, Response
from core.protocol.canonical import canonical

if TYPE_CHECKING:
    from collections.abc import Iterator

    from core.exchange.node import Node


class NodeCollector:
    """Reads a node's own counters when asked; nothing is counted twice on the way of a message."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> Iterator[Metric]:
        """The metrics, by Prometheus' naming rules."""
        node = self._node
        for name, text, value in (
            ("surety_commits", "Durable commits", node.writer.commits),
            ("surety_works", "Pieces of work committed", node.writer.works),
            ("surety_requests", "HTTP requests taken", node.door.requests),
            ("surety_messages_sent", "Messages sent to other nodes", node.outbox.sent_lines),
            ("surety_requests_sent", "Requests sent to other nodes", node.outbox.sent_requests),
        ):
            yield CounterMetricFamily(name, text, value=value)
        yield GaugeMetricFamily(
            "surety_outbox_queued", "Messages waiting for a peer", value=node.outbox.waiting
        )
        yield GaugeMetricFamily(
            "surety_registered", "1 if licensed", value=int(node.identity is not None)
        )
        yield GaugeMetricFamily(
            "surety_storage_healthy",
            "1 if the last commit succeeded",
            value=int(node.writer.healthy),
        )


def add_health(node: Node, ready: Callable[[], list[str]]) -> None:
    """Serve the three paths.

    `ready()`: what is wrong, in words that say what to do; empty when all is well.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(NodeCollector(node))

    async def livez(_request: Request) -> Response:
        return Response(200, b'{"alive":true}')

    async def readyz(_request: Request) -> Response:
        wrong = ready()
        if not node.writer.healthy:
            wrong.append("The database cannot be written: look at the disk or the database server.")
        if node.stopping:
            wrong.append("The node is stopping.")
        return Response(503 if wrong else 200, canonical({"ready": not wrong, "wrong": wrong}))

    async def metrics(_request: Request) -> Response:
        return Response(200, generate_latest(registry), "text/plain; version=0.0.4; charset=utf-8")

    node.door.add("GET", "/livez", livez)
    node.door.add("GET", "/readyz", readyz)
    node.door.add("GET", "/metrics", metrics)
