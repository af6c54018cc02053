"""The whole sitting: everybody in each scenario, one after the other, as often as the plan says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.environment import look_around
from bench.figure import Figure, show
from bench.peers.bout import Bout
from bench.peers.catalogue import PEERS
from bench.peers.document import Sat, write_json
from bench.peers.installation import Installation, install_peers
from bench.peers.page import write_page
from bench.peers.peer import Batch, Peer
from bench.peers.record import CEILING, PeerRecord, Records
from bench.peers.scenario import PACE, ROOM, SCENARIOS, Figures, Scenario
from bench.peers.table import print_table
from bench.peers.verdict import HOLDFAST
from bench.plan import Plan
from bench.server import open_server
from bench.sitting import Sitting


async def compare(
    scenarios: Sequence[Scenario],
    peers: Sequence[Peer],
    plan: Plan,
    *,
    database_url: str | None,
    json_file: Path | None,
    page_file: Path | None,
) -> bool:
    """Measures these systems in these scenarios, and writes what came of it; whether Holdfast itself never failed."""
    notes = Console(stderr=True, highlight=False, soft_wrap=True)
    installation = await install_peers(peers, notes)
    async with open_server(database_url) as server:
        environment = look_around(server.settings)
        sitting = Sitting(server=server, plan=plan, notes=notes)
        paces: dict[tuple[str, ...], float] = {}
        records: list[PeerRecord] = []

        def sat() -> Sat:
            return Sat(
                records=Records(records=tuple(records)),
                peers=peers,
                installation=installation,
                environment=environment,
                plan=plan,
            )

        try:
            for scenario in scenarios:
                for batch in scenario.batches:
                    records += await _Round(
                        sitting=sitting,
                        installation=installation,
                        scenario=scenario,
                        batch=batch,
                        peers=peers,
                        paces=paces,
                    ).run()
                    if json_file is not None:
                        # After each, so that what has been measured is kept whatever happens to the rest.
                        write_json(json_file, sat())
        finally:
            print_table(sat())
        if page_file is not None:
            write_page(page_file, sat(), json_file)
    return not any(record.failure for record in records if record.system == HOLDFAST)


def chosen(names: Sequence[str], systems: Sequence[str]) -> tuple[Sequence[Scenario], Sequence[Peer]]:
    """The scenarios and systems of these names; without names, all.

    Raises:
        ValueError: there is no such thing.
    """
    known = {scenario.name for scenario in SCENARIOS}, {peer.name for peer in PEERS}
    for asked, there, what in ((names, known[0], "scenario against peers"), (systems, known[1], "system")):
        if unknown := sorted(set(asked) - there):
            raise ValueError(f"no {what} {', '.join(unknown)}; there are: {', '.join(sorted(there))}")
    return (
        [scenario for scenario in SCENARIOS if not names or scenario.name in names],
        [peer for peer in PEERS if not systems or peer.name in systems],
    )


class _Round:
    """One scenario with one size of batches: each repetition is one of everybody, so that neighbours are alike."""

    def __init__(
        self,
        *,
        sitting: Sitting,
        installation: Installation,
        scenario: Scenario,
        batch: Batch,
        peers: Sequence[Peer],
        paces: dict[tuple[str, ...], float],
    ) -> None:
        self._sitting = sitting
        self._installation = installation
        self._scenario = scenario
        self._batch: Batch = batch
        self._peers = peers
        self._paces = paces
        self._found: dict[str, list[Figures]] = defaultdict(list)
        self._failures: dict[str, str] = {}
        self._absent: dict[str, str] = {}

    async def run(self) -> Sequence[PeerRecord]:
        """A record for each system, and for the ceiling if there is one."""
        for peer in self._peers:
            if (reason := self._lack(peer)) is not None:
                self._absent[peer.name] = reason
        for _ in range(self._sitting.plan.repeat):
            if self._scenario.yardstick is not None:
                await self._measure_ceiling()
            for peer in self._peers:
                if peer.name not in self._absent and peer.name not in self._failures:
                    await self._measure(peer)
        systems = [peer.name for peer in self._peers]
        return [self._record(name) for name in (CEILING, *systems) if name != CEILING or self._scenario.yardstick]

    def _lack(self, peer: Peer) -> str | None:
        if self._scenario.needs_workflows and not peer.has_workflows:
            return "no workflows"
        lack = self._installation.lack(peer)
        return None if lack is None else f"not installed: {lack}"

    async def _measure_ceiling(self) -> None:
        assert self._scenario.yardstick is not None
        self._sitting.subject = f"{self._scenario.name} {self._batch}"
        try:
            pace = await self._scenario.yardstick(ROOM[self._batch]).measure(self._sitting)
            self._found[CEILING].append({PACE: pace})
        except Exception as error:
            self._fail(CEILING, error)

    async def _measure(self, peer: Peer) -> None:
        self._sitting.subject = f"{self._scenario.name} {self._batch} {peer.name}"
        bout = Bout(self._sitting, self._installation, peer, self._batch, self._paces)
        try:
            figures = await self._scenario.measure(bout)
        except Exception as error:
            self._fail(peer.name, error)
        else:
            self._found[peer.name].append(figures)
            self._sitting.note(", ".join(f"{name} {show(value)}" for name, value in figures.items()))

    def _fail(self, system: str, error: Exception) -> None:
        self._failures[system] = f"{type(error).__name__}: {error}"
        self._sitting.note(f"FAILED: {self._failures[system]}")

    def _record(self, system: str) -> PeerRecord:
        found = [] if system in self._failures else self._found[system]
        names = list(found[0]) if found else []
        return PeerRecord(
            scenario=self._scenario.name,
            batch=self._batch,
            system=system,
            figures=tuple(Figure(name=name, values=tuple(one[name] for one in found)) for name in names),
            absent=self._absent.get(system),
            failure=self._failures.get(system),
        )
