"""The whole sitting: everybody in each scenario, one after the other, as often as the plan says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
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
    """Measures these systems in these scenarios, and writes what came of it; whether nobody that is here has failed."""
    notes = Console(stderr=True, highlight=False, soft_wrap=True)
    installation = await install_peers(peers, notes)
    async with open_server(database_url) as server:
        environment = look_around(server.settings, data=server.data)
        sitting = Sitting(server=server, plan=plan, notes=notes)
        paces: dict[Hashable, float] = {}
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
                    records += await Round(
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
    return not Records(records=tuple(records)).failures


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
        [one for one in SCENARIOS if (one.name in names if names else not one.only_named)],
        [peer for peer in PEERS if not systems or peer.name in systems],
    )


_ALIKE = 1.5
_MOST = 4


def disagree(values: Sequence[float]) -> bool:
    """Whether no two of these are alike, so that it should be measured once more; nobody knows of one alone."""
    ordered = sorted(values)
    return len(ordered) > 1 and all(high > _ALIKE * low for low, high in pairwise(ordered))


class Round:
    """One scenario with one size of batches: each repetition is one of everybody, so that neighbours are alike.

    Where no two repetitions are alike, those systems are measured a third and a fourth time.
    """

    def __init__(
        self,
        *,
        sitting: Sitting,
        installation: Installation,
        scenario: Scenario,
        batch: Batch,
        peers: Sequence[Peer],
        paces: dict[Hashable, float],
    ) -> None:
        self._sitting = sitting
        self._installation = installation
        self._scenario = scenario
        self._batch: Batch = batch
        self._peers = {peer.name: peer for peer in peers}
        self._paces = paces
        self._found: dict[str, list[Figures]] = defaultdict(list)
        self._failures: dict[str, str] = {}
        self._absent: dict[str, str] = {}

    async def run(self) -> Sequence[PeerRecord]:
        """A record for each system, and for the ceiling if there is one."""
        self._absent = {name: lack for name, peer in self._peers.items() if (lack := self._lack(peer)) is not None}
        systems = [*([CEILING] if self._scenario.yardstick else []), *self._peers]
        for _ in range(self._sitting.plan.repeat):
            await self._measure(systems)
        for _ in range(self._sitting.plan.repeat, _MOST):
            await self._measure([system for system in systems if self._is_unsure(system)])
        return [self._record(system) for system in systems]

    def _lack(self, peer: Peer) -> str | None:
        if self._scenario.systems is not None and peer.name not in self._scenario.systems:
            return "not measured"
        if self._scenario.needs_workflows and not peer.has_workflows:
            return "no workflows"
        lack = self._installation.lack(peer)
        return None if lack is None else f"not installed: {lack}"

    def _is_unsure(self, system: str) -> bool:
        """By its paces; where there are none, by the first figure that there is."""
        figures = self._figures(system)
        paces = [figure for figure in figures if figure.name.endswith(PACE)] or figures[:1]
        return any(disagree(figure.values) for figure in paces)

    async def _measure(self, systems: Sequence[str]) -> None:
        for system in systems:
            if system in self._absent or system in self._failures:
                continue
            self._sitting.subject = f"{self._scenario.name} {self._batch} {system}"
            try:
                figures = await (self._look() if system == CEILING else self._scenario.measure(self._bout(system)))
            except Exception as error:
                self._failures[system] = f"{type(error).__name__}: {error}"
                self._sitting.note(f"FAILED: {self._failures[system]}")
            else:
                self._found[system].append(figures)
                self._sitting.note(", ".join(f"{name} {show(value)}" for name, value in _known(figures).items()))

    async def _look(self) -> Figures:
        assert self._scenario.yardstick is not None
        yardstick = self._scenario.yardstick(ROOM[self._batch])
        said = await yardstick.look(self._sitting)
        return {name: float(said[key]) for name, key in (self._scenario.reads or {PACE: yardstick.reads}).items()}

    def _bout(self, system: str) -> Bout:
        return Bout(self._sitting, self._installation, self._peers[system], self._batch, self._paces)

    def _figures(self, system: str) -> tuple[Figure, ...]:
        """What could be told; what could not is left out of the median, and not there if it never could."""
        values: dict[str, list[float]] = defaultdict(list)
        for figures in [] if system in self._failures else self._found[system]:
            for name, value in _known(figures).items():
                values[name].append(value)
        return tuple(Figure(name=name, values=tuple(found)) for name, found in values.items())

    def _record(self, system: str) -> PeerRecord:
        return PeerRecord(
            scenario=self._scenario.name,
            batch=self._batch,
            system=system,
            figures=self._figures(system),
            absent=self._absent.get(system),
            failure=self._failures.get(system),
        )


def _known(figures: Figures) -> Mapping[str, float]:
    return {name: value for name, value in figures.items() if value is not None}
