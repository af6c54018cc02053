"""The linter: reads the workflows of an app, and the functions of their packages that they come to."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.core.definition import Definition
from holdfast.core.states import RunKind
from holdfast.lint.finding import Allowed, Finding
from holdfast.lint.reader import Called, Place, Reader
from holdfast.lint.source import Source, forget, plain_function, source_of

_MOST_FUNCTIONS = 2_000
"""Of one workflow at most so many are followed."""

_NO_REASON = "a reason: a comment that allows something says why, as in `# holdfast: allow, the seed is the order's`"


@dataclass(frozen=True, slots=True, kw_only=True)
class LintReport:
    """What was found in the workflows. ``unread`` are those whose source could not be read."""

    workflows: int
    findings: Sequence[Finding]
    allowed: Sequence[Allowed]
    unread: Sequence[str] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing was found, and all was read."""
        return not self.findings and not self.unread


def lint(definitions: Mapping[str, Definition[..., Any]]) -> LintReport:
    """Reads the workflows among these definitions; nothing of theirs is called."""
    forget()
    findings: dict[tuple[str, int, int, str], Finding] = {}
    allowed: dict[tuple[str, int, int, str], Allowed] = {}
    unread: list[str] = []
    workflows = [one for one in definitions.values() if one.kind is RunKind.WORKFLOW]
    for workflow in workflows:
        function = plain_function(workflow.fn)
        if function is None or source_of(function) is None:
            unread.append(workflow.task_name)
            continue
        for finding, reason in _read(workflow, function):
            place = (finding.file, finding.line, finding.column, finding.rule)
            if reason is None or finding.rule == "allow":
                findings.setdefault(place, finding)
            else:
                allowed.setdefault(place, Allowed(finding=finding, reason=reason))
    return LintReport(
        workflows=len(workflows),
        findings=[findings[place] for place in sorted(findings)],
        allowed=[allowed[place] for place in sorted(allowed)],
        unread=unread,
    )


def _read(workflow: Definition[..., Any], function: Callable[..., Any]) -> Iterable[tuple[Finding, str | None]]:
    package = _package(function)
    waiting: deque[tuple[Called, tuple[str, ...]]] = deque([(Called(function), (function.__qualname__,))])
    seen = {function.__code__}
    while waiting and len(seen) < _MOST_FUNCTIONS:
        called, through = waiting.popleft()
        source = source_of(called.function)
        if source is None:
            continue
        reader = Reader(called.function, source, called.owner)
        for place in reader.places():
            yield from _judged(place, source, workflow, through)
        for following in reader.calls():
            code = following.function.__code__
            if code not in seen and _package(following.function) == package:
                seen.add(code)
                waiting.append((following, (*through, following.function.__qualname__)))


def _judged(
    place: Place, source: Source, workflow: Definition[..., Any], through: tuple[str, ...]
) -> Iterable[tuple[Finding, str | None]]:
    line, column = getattr(place.node, "lineno", 0), getattr(place.node, "col_offset", 0) + 1
    last = getattr(place.node, "end_lineno", line) or line
    allows = source.module.allows
    reason = next((allows[at] for at in (line, last) if at in allows), None)

    def finding(rule: str, what: str, instead: str) -> Finding:
        return Finding(
            file=source.module.file,
            line=line,
            column=column,
            rule=rule,
            what=what,
            instead=instead,
            workflow=workflow.task_name,
            through=through,
        )

    found = finding(place.rule.rule, f"{place.subject} {place.rule.what}", place.rule.instead)
    if reason == "":
        yield finding("allow", f"{place.subject} is allowed without a reason", f"give {_NO_REASON}"), ""
    else:
        yield found, reason


def _package(function: Callable[..., Any]) -> str:
    """What is followed: the code of one package; of a module without one, that module."""
    return (function.__module__ or "").partition(".")[0]
