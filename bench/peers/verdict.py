"""What was to be reached against the peers, and whether it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.figure import Target, show
from bench.peers.peer import BATCHES, Batch, Peer
from bench.peers.record import Records
from bench.peers.scenario import (
    BULK_STARTS,
    CREW,
    CREWS,
    JOBS,
    LATENCY,
    P50,
    P99,
    PACE,
    PINNED,
    STARTS,
    WORKFLOWS,
    Scenario,
    crew,
)

HOLDFAST = "holdfast"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One target beside what was measured.

    Attributes:
        what: What is compared.
        ours: Holdfast's figure.
        theirs: That of the best peer, with its name.
        ratio: What the target is about.
        target: What it should be.
    """

    what: str
    ours: str
    theirs: str
    ratio: float | None
    target: Target

    @property
    def reached(self) -> str:
        """The answer, in a word."""
        if self.target.least is None and self.target.most is None:
            return "–"
        if self.ratio is None:
            return "not measured"
        return "yes" if self.target.is_reached(self.ratio) else "no"


def judge(records: Records, peers: Sequence[Peer]) -> Sequence[Verdict]:
    """All targets, in the order of the table."""
    rivals = [peer for peer in peers if peer.language == "Python" and peer.package is not None]
    return [
        _quicker(records, rivals, WORKFLOWS, 12.0),
        _quicker(records, rivals, JOBS, 1.4),
        *_beside_node(records, peers),
        *_with_as_many_as_help(records, peers),
        _quicker(records, rivals, STARTS, 3.0),
        _quicker(records, rivals, BULK_STARTS, 3.0),
        _sooner(records, peers, P50),
        _sooner(records, peers, P99),
        *(_unpinned(records, batch) for batch in BATCHES),
    ]


def best(records: Records, scenario: Scenario, figure: str, system: str, *, most: bool = True) -> float | None:
    """The better of a system's medians over the sizes of batches."""
    found = [records.median(scenario.name, batch, system, figure) for batch in scenario.batches]
    values = [value for value in found if value is not None]
    return (max if most else min)(values, default=None)


def pinned_share(records: Records, batch: Batch, system: str) -> float | None:
    """The pace with a pinned xmin horizon as a part of that without."""
    pinned = records.median(PINNED.name, batch, system, PACE)
    without = records.median(JOBS.name, batch, system, PACE)
    return pinned / without if pinned is not None and without else None


def _quicker(records: Records, rivals: Sequence[Peer], scenario: Scenario, least: float) -> Verdict:
    ours = best(records, scenario, PACE, HOLDFAST)
    theirs, name = _leader(records, rivals, scenario, PACE, most=True)
    return Verdict(
        what=f"{scenario.name} ÷ best Python peer",
        ours=_shown(ours),
        theirs=f"{_shown(theirs)} ({name})" if theirs is not None else "–",
        ratio=ours / theirs if ours is not None and theirs else None,
        target=Target(figure=scenario.name, least=least),
    )


def _beside_node(records: Records, peers: Sequence[Peer]) -> Sequence[Verdict]:
    """Beside the quickest of the others, whatever it is written in: reported, with no target."""
    others = [peer for peer in peers if peer.language == "Node"]
    return [
        Verdict(
            what=f"{verdict.what.partition(' ÷ ')[0]} ÷ {peer.title}",
            ours=verdict.ours,
            theirs=verdict.theirs,
            ratio=verdict.ratio,
            target=Target(figure=JOBS.name, remark="reported"),
        )
        for peer in others
        for verdict in [_quicker(records, [peer], JOBS, 0.0)]
        if verdict.ratio is not None
    ]


def _with_as_many_as_help(records: Records, peers: Sequence[Peer]) -> Sequence[Verdict]:
    """With as many worker processes as each does best with: reported, with no target."""
    ours = _best_crew(records, HOLDFAST)
    found: list[Verdict] = []
    for peer in peers:
        theirs = _best_crew(records, peer.name)
        if peer.name == HOLDFAST or ours is None or theirs is None:
            continue
        found.append(
            Verdict(
                what=f"{CREW.name} ÷ {peer.title}",
                ours=f"{show(ours[0])} ({_processes(ours[1])})",
                theirs=f"{show(theirs[0])} ({peer.title}, {_processes(theirs[1])})",
                ratio=ours[0] / theirs[0],
                target=Target(figure=CREW.name, remark="reported"),
            )
        )
    return found


def _best_crew(records: Records, system: str) -> tuple[float, int] | None:
    paces = [(records.median(CREW.name, batch, system, crew(size)), size) for batch in CREW.batches for size in CREWS]
    return max(((pace, size) for pace, size in paces if pace), default=None)


def _processes(size: int) -> str:
    return f"{size} process{'es' if size > 1 else ''}"


def _sooner(records: Records, peers: Sequence[Peer], figure: str) -> Verdict:
    others = [peer for peer in peers if peer.package is not None]
    ours = best(records, LATENCY, figure, HOLDFAST, most=False)
    theirs, name = _leader(records, others, LATENCY, figure, most=False)
    return Verdict(
        what=f"latency {figure} ÷ the least of all peers",
        ours=_shown(ours),
        theirs=f"{_shown(theirs)} ({name})" if theirs is not None else "–",
        ratio=ours / theirs if ours is not None and theirs else None,
        target=Target(figure=figure, most=1.0),
    )


def _unpinned(records: Records, batch: Batch) -> Verdict:
    return Verdict(
        what=f"pinned ÷ jobs, {batch} batches",
        ours=_shown(records.median(PINNED.name, batch, HOLDFAST, PACE)),
        theirs=f"{_shown(records.median(JOBS.name, batch, HOLDFAST, PACE))} (itself, without)",
        ratio=pinned_share(records, batch, HOLDFAST),
        target=Target(figure=PINNED.name, least=0.9, remark="no loss"),
    )


def _leader(
    records: Records, peers: Sequence[Peer], scenario: Scenario, figure: str, *, most: bool
) -> tuple[float | None, str]:
    values = [(best(records, scenario, figure, peer.name, most=most), peer.title) for peer in peers]
    known = [(value, title) for value, title in values if value is not None]
    if not known:
        return None, ""
    return (max if most else min)(known)


def _shown(value: float | None) -> str:
    return "–" if value is None else show(value)
