"""The page ``docs/benchmarks.md``: the words of ``page.md``, with what came out of one sitting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from string import Template

from bench.figure import show
from bench.peers.document import Sat
from bench.peers.peer import Peer, name_all
from bench.peers.record import CEILING
from bench.peers.scenario import CREW, CROWD, LEFT_OUT, RATE, ROOM, SCENARIOS
from bench.peers.table import rows
from bench.peers.verdict import judge

_WORDS = Path(__file__).parent / "page.md"


def write_page(file: Path, sat: Sat, json_file: Path | None) -> None:
    """Writes the page."""
    words = Template(_WORDS.read_text(encoding="utf-8"))
    file.write_text(
        words.substitute(
            measured=_measured(sat, json_file),
            targets=_table(["compared", "Holdfast", "best peer", "ratio", "target", "reached"], _targets(sat)),
            scenarios="\n".join(
                f"- **{scenario.name}**: {scenario.title}" for scenario in SCENARIOS if not scenario.only_named
            ),
            figures=_table(
                ["scenario", "batch", "figure", CEILING, *(peer.title for peer in sat.peers)],
                ([row.scenario, row.batch, row.figure, *row.cells] for row in rows(sat, separator="<br>")),
            ),
            failures=_failures(sat),
            settings=_table(
                ["system", "version", "small", "large", "client", "remark", "source"],
                (_settings(sat, peer) for peer in sat.peers),
            ),
            left_out="\n".join(f"- *{name}*: {reason}." for name, reason in LEFT_OUT.items()),
            crew=CREW.name,
            promises=_table(
                ["system", "keeps", "fences", "ends", "a client waits by"],
                ([peer.title, peer.keeps, peer.fences, peer.acknowledges, peer.waits] for peer in sat.peers),
            ),
            few=ROOM["small"],
            many=f"{ROOM['large']:,}",
            crowd=CROWD,
            rate=f"{RATE:,.0f}",
            pinned=f"{2 * sat.plan.seconds:g}",
        ),
        encoding="utf-8",
    )


def _measured(sat: Sat, json_file: Path | None) -> str:
    environment, plan = sat.environment, sat.plan
    postgres = ", ".join(
        f"`{name}` {value}" for name, value in environment.postgres.items() if name != "server_version"
    )
    return (
        f"Measured {environment.date[:10]} on {environment.machine}; Python {environment.python}, "
        f"Node {sat.installation.node or 'not here'}, "
        f"PostgreSQL {environment.postgres['server_version']} ({postgres}), "
        f"Holdfast at commit {environment.commit or 'unknown'}: {plan.seconds:g} s for each figure, "
        f"{plan.repeat} times. A figure is the median, with the least and the most below it."
        + (f" All of them are in `{json_file.name}`, too." if json_file is not None else "")
    )


def _targets(sat: Sat) -> Iterator[list[str]]:
    for verdict in judge(sat.records, sat.peers):
        ratio = "–" if verdict.ratio is None else show(verdict.ratio)
        reached = f"**{verdict.reached}**" if verdict.reached == "no" else verdict.reached
        yield [verdict.what, verdict.ours, verdict.theirs, ratio, str(verdict.target), reached]


def _settings(sat: Sat, peer: Peer) -> list[str]:
    options = [name_all(options, "`") for options in peer.told.values()]
    return [peer.title, sat.version(peer), *options, peer.remark, f"[{peer.source.title}]({peer.source.url})"]


def _failures(sat: Sat) -> str:
    """Who does not stand in the table, and why."""
    lines = [
        f"- {peer.title}: not installed: {missing}" for peer in sat.peers if (missing := sat.installation.lack(peer))
    ]
    lines += [
        f"- {record.system}, {record.scenario}, {record.batch}: {' '.join((record.failure or '').split())[:300]}"
        for record in sat.records.failures
    ]
    return "\n".join(["What could not be measured:", "", *lines] if lines else ["Everybody could be measured."])


def _table(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    cells = [headings, ["---"] * len(headings), *lines]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in cells)
