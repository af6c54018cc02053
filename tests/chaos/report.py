"""What is said about a trial: lines for people, JSON for programs."""

from __future__ import annotations

import json
import shlex
import tempfile
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from tests.house import invariants

if TYPE_CHECKING:
    from tests.chaos.trial import Outcome, Plan

_MOST = 20


def lines(outcome: Outcome) -> Iterator[str]:
    """The report, line by line."""
    verdict = outcome.verdict
    yield f"seed {outcome.plan.seed}: {sum(outcome.faults.values())} faults"
    for name, number in outcome.faults.most_common():
        yield f"  {number:5}  {name}"
    if outcome.missed:
        missed = ", ".join(f"{name} ({number})" for name, number in outcome.missed.most_common())
        yield f"and {sum(outcome.missed.values())} that had nothing to break: {missed}"
    yield f"{sum(outcome.lost.values())} answers were lost, and {outcome.arrived_late} requests arrived late:"
    for name, number in outcome.lost.most_common():
        yield f"  {number:5}  {name}"
    if outcome.held:
        yield f"for {outcome.held:.0f} s of {outcome.plan.seconds:.0f} s nothing was started: too much stood in line"
    yield f"{outcome.promised} runs were promised to callers; {sum(outcome.refused.values())} starts were refused:"
    for name, number in sorted(verdict.ended.items()):
        yield f"  {number:5}  {name}"
    for name, number in sorted(outcome.traffic.items()):
        yield f"  {number:5}  {name}"
    yield f"{verdict.share:.1%} of all starts came to an end as it should be"
    yield f"{verdict.calls} calls of activities were written down, and {verdict.entries} entries by transactional ones"
    yield f"after kill -9 all was in other hands within {_percentiles(outcome.recoveries)}"
    yield f"after server and network were back something ended within {_percentiles(outcome.resumptions)}"
    yield (
        f"the tables and the ledger were looked at {outcome.looks} times meanwhile, and once at the end; "
        f"{outcome.blind} times the server was away"
    )
    yield from checks(outcome.looked)
    for one in outcome.findings[:_MOST]:
        yield f"WRONG: {one.check}: {'' if one.run_id is None else f'run {one.run_id}: '}{one.sentence}"
    if len(outcome.findings) > _MOST:
        yield f"and {len(outcome.findings) - _MOST} more"
    if outcome.good:
        yield "nothing is lost and nothing is doubled"
        return
    yield f"again: {again(outcome.plan)}"
    yield "what was broken, and when: " + ", ".join(f"{name} ({at:.0f} s)" for at, name in outcome.journal)
    for journal in outcome.journals:
        yield f"\n{journal}"
    log = Path(tempfile.gettempdir()) / f"holdfast-chaos-{outcome.plan.seed}.log"
    log.write_text(outcome.log, encoding="utf-8")
    yield f"\nwhat the workers said: {log}"


def checks(looked: Mapping[str, int]) -> Iterator[str]:
    """How often each check was made: invariants by their numbers, where they have any, the others by their names."""
    yield "what was checked, and how often:"
    titles = {title for title, _ in invariants()}
    together = defaultdict[int, list[str]](list)
    for title, _ in invariants():
        short, point, _ = title.partition(". ")
        together[looked.get(title, 0)].append(short if point else title)
    for number, names in together.items():
        said = f"{number:7}  tests/invariants.sql: {', '.join(names)}"
        yield from textwrap.wrap(said, 110, subsequent_indent=" " * 9, drop_whitespace=True)
    for name, number in sorted(looked.items()):
        if name not in titles:
            yield f"{number:7}  {name}"


def again(plan: Plan) -> str:
    """The command that deals the same."""
    words = ["./dev", "chaos", "--seed", str(plan.seed), "--minutes", f"{plan.seconds / 60:.4g}"]
    if plan.trial is not None:
        words += ["--broken", "--defect", plan.trial, *(["--sound"] if plan.defect is None else [])]
        return shlex.join(words)
    words += ["--workers", str(plan.workers), "--rate", f"{plan.rate:g}", "--patience", f"{plan.patience:g}"]
    for name in sorted(plan.only):
        words += ["--only", name]
    return shlex.join(words)


def as_json(outcome: Outcome) -> str:
    """The same as JSON; durations in seconds."""
    return json.dumps(
        {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seed": outcome.plan.seed,
            "seconds": outcome.plan.seconds,
            "again": again(outcome.plan),
            "good": outcome.good,
            "faults": dict(outcome.faults),
            "journal": outcome.journal,
            "missed": dict(outcome.missed),
            "answers lost": dict(outcome.lost),
            "arrived late": outcome.arrived_late,
            "promised": outcome.promised,
            "refused": dict(outcome.refused),
            "held": outcome.held,
            "ended": dict(outcome.verdict.ended),
            "traffic": dict(outcome.traffic),
            "share": outcome.verdict.share,
            "calls": outcome.verdict.calls,
            "entries": outcome.verdict.entries,
            "looks": outcome.looks,
            "blind": outcome.blind,
            "replayed": outcome.verdict.replayed,
            "checked": dict(outcome.looked),
            "recovery": _quantiles(outcome.recoveries),
            "resumption": _quantiles(outcome.resumptions),
            "findings": [
                {
                    "check": one.check,
                    "sentence": one.sentence,
                    "run": None if one.run_id is None else str(one.run_id),
                    "after": one.after,
                }
                for one in outcome.findings
            ],
        },
        indent=2,
    )


def _quantiles(seconds: Sequence[float]) -> dict[str, float] | None:
    if not seconds:
        return None
    ordered = sorted(seconds)
    return {
        "p50": median(ordered),
        "p99": ordered[int(len(ordered) * 0.99)],
        "worst": ordered[-1],
        "count": len(ordered),
    }


def _percentiles(seconds: Sequence[float]) -> str:
    found = _quantiles(seconds)
    if found is None:
        return "(it did not happen)"
    return f"{found['p50']:.1f} s (p50), {found['p99']:.1f} s (p99), {found['worst']:.1f} s (worst) of {found['count']}"
