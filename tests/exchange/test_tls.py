"""TLS from files: a node's door over HTTPS, and who is believed there."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from core.exchange.peers import HttpCaller, Reach
from core.protocol.faults import OurFault
from core.sandbox.network import free_port

pytestmark = pytest.mark.anyio
HOST = "127.0.0.2"


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "approval.test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / "node.pem", folder / "node.key"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return chain, private


@pytest.fixture
def node(tmp_path: Path) -> Generator[tuple[str, Path]]:
    chain, private = _certificate(tmp_path)
    port = free_port(HOST)
    command = [
        *(sys.executable, "-m", "core.cli", "approval", "serve"),
        *("--database", f"sqlite:///{tmp_path / 'node.db'}"),
        *("--vault", f"file:{tmp_path / 'secrets.json'}"),
        *("--listen", f"{HOST}:{port}", "--operator", f"127.0.0.1:{free_port('127.0.0.1')}"),
        *("--certificate", str(chain), "--private-key", str(private)),
    ]
    with (tmp_path / "node.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield f"https://{HOST}:{port}", chain
        finally:
            os.kill(process.pid, signal.SIGTERM)
            process.wait(20)


async def _get(url: str, reach: Reach) -> int:
    caller = HttpCaller(reach)
    try:
        return (await caller.call("GET", f"{url}/livez")).status
    finally:
        await caller.close()


async def test_a_certificate_that_is_trusted_is_enough_and_needed(node: tuple[str, Path]) -> None:
    url, authority = node
    trusting = Reach(ca_file=authority)
    deadline = time.monotonic() + 20
    status = 0
    while status == 0 and time.monotonic() < deadline:
        try:
            status = await _get(url, trusting)
        except OurFault:
            await asyncio.sleep(0.1)

    assert status == 200
    with pytest.raises(OurFault, match="peer_unreachable"):
        await _get(url, Reach())
    with pytest.raises(OurFault, match="peer_unreachable"):
        await _get(url.replace("https:", "http:"), Reach())


@pytest.mark.parametrize(
    "doors",
    [
        ("--listen", "0.0.0.0:7700"),
        ("--operator", "0.0.0.0:7710"),
    ],
)
def test_plain_doors_open_on_loopback_only(tmp_path: Path, doors: tuple[str, str]) -> None:
    command = [
        *(sys.executable, "-m", "core.cli", "approval", "serve"),
        *("--database", f"sqlite:///{tmp_path / 'node.db'}"),
        *("--vault", f"file:{tmp_path / 'secrets.json'}"),
        *doors,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert done.returncode == 1
    assert "loopback" in done.stderr
    assert "Traceback" not in done.stderr
