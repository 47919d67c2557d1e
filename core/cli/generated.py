"""Files that are made from the code: JSON Schemas of messages, diagrams of transition tables.

`python -m core.cli.generated` writes them; with `--check` it fails where one is not what the code
says.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from core.agency import rules as agency
from core.approval import rules as approval
from core.member import rules as member
from core.merchant import rules as merchant
from core.protocol.catalogue import ENTRIES, schemas
from core.protocol.faults import CATALOGUE
from core.protocol.message import typ
from core.protocol.transitions import Table

ROOT: Final = Path(__file__).resolve().parents[2]
TABLES: Final[tuple[tuple[str, Table[Any, Any]], ...]] = (
    ("The approval server's orders", approval.ORDERS),
    ("The agency's orders", agency.ORDERS),
    ("The merchant's orders", merchant.ORDERS),
    ("The member's purchases", member.PURCHASES),
)


def files() -> dict[Path, str]:
    """Every generated file's path below the project's root, and its text."""
    made = {
        Path("resources/schemas") / f"{name.replace('/', '.v')}.json": _json(schema)
        for name, schema in schemas().items()
    }
    made[Path("docs/states.md")] = _states()
    made[Path("docs/messages.md")] = _messages()
    made[Path("docs/faults.md")] = _faults()
    return made


def _json(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _states() -> str:
    lines = [
        "# States",
        "",
        (
            "Made from the transition tables by `make schemas`; "
            "every pair without a row is refused as `out_of_order`."
        ),
    ]
    for title, table in TABLES:
        lines += ["", f"## {title}", "", "```mermaid", table.mermaid(), "```", ""]
        lines += ["| in state | on | goes to | sends |", "|---|---|---|---|"]
        lines += [
            f"| {row.state} | {row.event} | {row.then} | {', '.join(row.sends)} |"
            for row in table.rows
        ]
    return "\n".join(lines) + "\n"


def _messages() -> str:
    lines = [
        "# Messages",
        "",
        (
            "Made from `core/protocol/catalogue.py` by `make schemas`. "
            "The body's JSON Schema lies in `resources/schemas/`."
        ),
        "",
        "| message | JWS `typ` | from → to | its signature proves |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{entry.kind.name}` | `{typ(entry.kind)}` | "
        f"{entry.sender} → {entry.receiver} | {entry.proves} |"
        for entry in ENTRIES
    ]
    return "\n".join(lines) + "\n"


def _faults() -> str:
    lines = [
        "# Faults",
        "",
        "Made from `core/protocol/faults.py` by `make schemas`. Served as RFC 9457 problems with",
        "`type` = `urn:surety:fault:<code>`; `again` says that the same bytes may be sent again.",
        "",
        "| code | HTTP | whose | what | what to do | again |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{kind.code}` | {kind.status} | {kind.whose} | "
        f"{kind.title} | {kind.advice} | {'yes' if kind.again else ''} |"
        for kind in CATALOGUE.values()
    ]
    return "\n".join(lines) + "\n"


def main(check: bool) -> int:  # noqa: FBT001 - one flag, one caller
    """Write, or compare. Returns the exit code."""
    wanted = files()
    schemas_there = {path.relative_to(ROOT) for path in (ROOT / "resources/schemas").glob("*.json")}
    gone = schemas_there - set(wanted)
    stale = [path for path, text in wanted.items() if not _same(ROOT / path, text)]
    if check:
        for path in sorted([*stale, *gone]):
            sys.stderr.write(f"{path} is not what the code says; run `make schemas`\n")
        return 1 if stale or gone else 0
    for path in stale:
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(wanted[path], encoding="utf-8")
    for path in gone:
        (ROOT / path).unlink()
    return 0


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
