"""One node as a process of its own, watched: started again where it dies, ended with us."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from http import HTTPStatus
from pathlib import Path
from typing import IO, Final

import httpx

log = logging.getLogger(__name__)
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 15.0
LOOK_SECONDS: Final = 0.2


class NodeProcess:
    """A `surety … serve` process.

    `arguments`: what follows `surety`; `public`: base URL of its public door.
    """

    def __init__(self, name: str, arguments: list[str], public: str, log_file: Path) -> None:
        self.name = name
        self.public = public
        self.restarts = 0
        self._arguments = arguments
        self._log_file = log_file
        self._log: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """The process ID; 0 while there is none."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Start the process. It ends when our end of its standard input closes, however we end."""
        self._log = self._log_file.open("ab")
        command = [sys.executable, "-m", "core.cli", *self._arguments, "--follow-stdin"]
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            command, stdin=subprocess.PIPE, stdout=self._log, stderr=self._log
        )

    async def ready(self) -> None:
        """Wait until the node answers.

        Raises `RuntimeError` with the end of its log where it does not.
        """
        deadline = time.monotonic() + START_SECONDS
        async with httpx.AsyncClient(trust_env=False) as client:
            while time.monotonic() < deadline:
                if self._process is None or self._process.poll() is not None:
                    break
                try:
                    if (await client.get(f"{self.public}/livez")).status_code == HTTPStatus.OK:
                        return
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(0.05)
        raise RuntimeError(f"the {self.name} node did not start:\n{self.tail()}")

    async def serving(self) -> None:
        """Wait until the node says that it can do its work.

        Raises `RuntimeError` with what it says is wrong.
        """
        deadline = time.monotonic() + START_SECONDS
        said = ""
        async with httpx.AsyncClient(trust_env=False) as client:
            while time.monotonic() < deadline:
                answer = await client.get(f"{self.public}/readyz")
                if answer.status_code == HTTPStatus.OK:
                    return
                said = answer.text
                await asyncio.sleep(0.05)
        raise RuntimeError(f"the {self.name} node is not ready: {said}")

    def watch(self) -> None:
        """Start the node again whenever it dies, unless somebody else has."""

        async def run() -> None:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                if self._process is not None and self._process.poll() is not None:
                    log.warning(
                        "%s ended with %s; starting it again", self.name, self._process.returncode
                    )
                    self.restarts += 1
                    self._close()
                    self.start()

        self._watch = asyncio.get_running_loop().create_task(run())

    async def stop(self) -> None:
        """End the process gracefully, else by force."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)
        self._close()

    def tail(self) -> str:
        """The end of the node's log."""
        return self._log_file.read_text(errors="replace")[-2000:]

    def _close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        if self._log is not None:
            self._log.close()
