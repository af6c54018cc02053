"""A census of the standard library: one durable run per package, which counts what is in its modules.

    holdfast worker --app code_census:app    # in as many terminals as you like
    python code_census.py                    # starts the runs, waits for them, prints the report

Kill a worker while they run: nothing is lost, and no module whose figures were recorded is read again.
"""

from __future__ import annotations

import ast
import asyncio
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from holdfast import App

app = App()


@dataclass
class Figures:
    """What was counted in some modules."""

    modules: int = 0
    lines: int = 0
    functions: int = 0
    classes: int = 0
    imports: dict[str, int] = field(default_factory=dict[str, int])


def packages() -> list[str]:
    """The top-level packages and modules of the running Python that are written in Python."""
    return sorted(name for name in sys.stdlib_module_names if not name.startswith("_") and sources(name))


def sources(package: str) -> list[Path]:
    """The files of a package, or the one of a module."""
    library = Path(sysconfig.get_path("stdlib"))
    module = library / f"{package}.py"
    return [module] if module.is_file() else sorted((library / package).rglob("*.py"))


@app.activity
def list_modules(package: str) -> list[str]:
    """The files of a package."""
    return [str(path) for path in sources(package)]


@app.activity
def measure(path: str) -> Figures:
    """Reads one module and counts. Not async, so it runs in a thread."""
    text = Path(path).read_bytes()
    figures = Figures(modules=1, lines=text.count(b"\n"))
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return figures  # some modules are wrong on purpose: they are there to be refused
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                figures.functions += 1
            case ast.ClassDef():
                figures.classes += 1
            case ast.Import(names=names):
                _count(figures, (alias.name for alias in names))
            case ast.ImportFrom(module=str(module), level=0):
                _count(figures, [module])
            case _:
                pass
    return figures


@app.workflow(name="code-census")
async def census(package: str) -> Figures:
    """Counts what is in all modules of a package, one activity each."""
    modules = await list_modules(package)
    return total(await asyncio.gather(*(measure(path) for path in modules)))


def total(parts: Iterable[Figures]) -> Figures:
    """The sum."""
    result = Figures()
    for part in parts:
        result.modules += part.modules
        result.lines += part.lines
        result.functions += part.functions
        result.classes += part.classes
        for name, count in part.imports.items():
            result.imports[name] = result.imports.get(name, 0) + count
    return result


def report(counted: dict[str, Figures]) -> str:
    """The ten largest packages, and the sum of all."""
    lines = [f"{'package':<20} {'modules':>8} {'lines':>9} {'functions':>10} {'classes':>8}"]
    largest = sorted(counted.items(), key=lambda item: -item[1].lines)[:10]
    everything = total(counted.values())
    for name, one in [*largest, (f"all {len(counted)}", everything)]:
        lines.append(f"{name:<20} {one.modules:>8,} {one.lines:>9,} {one.functions:>10,} {one.classes:>8,}")
    favourites = sorted(everything.imports.items(), key=lambda item: -item[1])[:8]
    lines.append("most imported: " + ", ".join(f"{name} ({count})" for name, count in favourites))
    return "\n".join(lines)


def _count(figures: Figures, names: Iterable[str]) -> None:
    for name in names:
        top = name.partition(".")[0]
        figures.imports[top] = figures.imports.get(top, 0) + 1


async def main() -> None:
    names = packages()
    async with app.client() as client:
        runs = await client.start_many([census.call(name) for name in names])
        figures = await asyncio.gather(*(run.result() for run in runs))
    print(report(dict(zip(names, figures, strict=True))))


if __name__ == "__main__":
    asyncio.run(main())
