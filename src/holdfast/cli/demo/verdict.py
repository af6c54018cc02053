"""The verdict: what was called, against what was recorded, and whether all came out right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from holdfast.cli.demo.code_census import Figures, sources
from holdfast.cli.demo.ledger import Line
from holdfast.core.states import RunStatus
from holdfast.store.lane import Count, Recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """The worker that was killed, and the runs that it held at that moment."""

    name: str
    pid: int
    held: Sequence[UUID]
    recovered_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Something that has to be true."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All checks, and what they are about."""

    seconds: float
    killed: Killed
    checks: Sequence[Check]

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return all(check.ok for check in self.checks)

    def as_json(self) -> dict[str, object]:
        """Its documented form."""
        return {
            "ok": self.ok,
            "seconds": round(self.seconds, 1),
            "killed": {
                "name": self.killed.name,
                "pid": self.killed.pid,
                "held": len(self.killed.held),
                "recovered_after": round(self.killed.recovered_after, 1),
            },
            "checks": [asdict(check) for check in self.checks],
        }


def check_endings(counts: Sequence[Count], expected: int) -> Check:
    """Every run that was started has succeeded."""
    succeeded = sum(count.runs for count in counts if count.status is RunStatus.SUCCEEDED)
    others = ", ".join(f"{count.runs} {count.status}" for count in counts if count.status is not RunStatus.SUCCEEDED)
    return Check(
        name="every run succeeded",
        ok=succeeded == expected and not others,
        detail=f"{succeeded} of {expected}{f'; {others}' if others else ''}",
    )


def check_held(killed: Killed, ended: Mapping[UUID, RunStatus]) -> Check:
    """The worker held runs when it was killed, and each of them has succeeded elsewhere."""
    done = sum(ended.get(run) is RunStatus.SUCCEEDED for run in killed.held)
    return Check(
        name="the runs of the killed worker were finished by others",
        ok=done == len(killed.held) > 0,
        detail=f"{done} of {len(killed.held)}, recovered {killed.recovered_after:.1f} s after the kill",
    )


def check_calls(ledger: Sequence[Line], recorded: Sequence[Recorded], ahead: timedelta, blur: timedelta) -> list[Check]:
    """No step was called after its outcome had been recorded, and none was recorded without a call.

    A call is the moment that its ledger line was written, just before the function was entered; an outcome is recorded
    at its ``journal.at``. The database's clock is ``ahead`` of ours, give or take ``blur``.
    """
    calls = Counter(line.step for line in ledger)
    at = {(outcome.run_id, outcome.key): outcome.at for outcome in recorded}
    late = [line for line in ledger if line.step in at and line.time + ahead > at[line.step] + blur]
    uncalled = [step for step in at if not calls[step]]
    again = sum(1 for count in calls.values() if count > 1)
    return [
        Check(
            name="no recorded activity was called again",
            ok=not late and bool(at),
            detail=f"{len(at)} outcomes recorded, {len(late)} calls after that; {again} activities that were under way "
            "when their worker died, and so had no outcome, were called a second time",
        ),
        Check(
            name="every recorded outcome comes from a call",
            ok=not uncalled and bool(at),
            detail=f"{len(ledger)} calls in the ledger, {len(uncalled)} outcomes without one",
        ),
    ]


def check_figures(counted: Mapping[str, Figures], everything: Figures) -> Check:
    """The sums are those of the files on this disk, counted here once more."""
    files = [path for package in counted for path in sources(package)]
    lines = sum(_lines(path) for path in files)
    return Check(
        name="the census is right",
        ok=(everything.modules, everything.lines) == (len(files), lines),
        detail=f"{everything.modules:,} modules and {everything.lines:,} lines; on disk {len(files):,} and {lines:,}",
    )


def check_departure(codes: Mapping[int, int]) -> Check:
    """The other workers left in order."""
    return Check(
        name="the other workers left in order",
        ok=bool(codes) and not any(codes.values()),
        detail=", ".join(f"pid {pid}: exit code {code}" for pid, code in codes.items()),
    )


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")
