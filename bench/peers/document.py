"""What came out of a sitting, for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.environment import Environment
from bench.peers.installation import Installation
from bench.peers.peer import Peer
from bench.peers.record import Records
from bench.peers.scenario import LEFT_OUT
from bench.peers.verdict import judge
from bench.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Sat:
    """A sitting: its figures, and everything that they were measured with."""

    records: Records
    peers: Sequence[Peer]
    installation: Installation
    environment: Environment
    plan: Plan

    def version(self, peer: Peer) -> str:
        """The version of one of them."""
        return self.installation.version(peer) or self.environment.holdfast


def write_json(file: Path, sat: Sat) -> None:
    """One object: environment, settings of everybody, figures, and what was to be reached."""
    document = {
        "environment": asdict(sat.environment) | {"node": sat.installation.node},
        "plan": {
            "seconds": sat.plan.seconds,
            "warm_up": sat.plan.warm_up,
            "repeat": sat.plan.repeat,
            "samples": sat.plan.samples,
        },
        "systems": {peer.name: _system(sat, peer) for peer in sat.peers},
        "records": [record.as_json() for record in sat.records.records],
        "targets": [
            {
                "what": verdict.what,
                "ratio": verdict.ratio,
                "least": verdict.target.least,
                "most": verdict.target.most,
                "reached": verdict.reached,
            }
            for verdict in judge(sat.records, sat.peers)
        ],
        "left_out": dict(LEFT_OUT),
    }
    file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _system(sat: Sat, peer: Peer) -> Mapping[str, Any]:
    return {
        "title": peer.title,
        "version": sat.version(peer),
        "language": peer.language,
        "missing": sat.installation.lack(peer),
        "settings": {whom: dict(options) for whom, options in peer.told.items()},
        "source": peer.source._asdict(),
    }
