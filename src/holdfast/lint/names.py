"""The names that a function has for itself: its parameters, what it assigns, and what it imports."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from holdfast.lint.source import FunctionNode


class Names(ast.NodeVisitor):
    """Collected from a function and those inside of it, as if they were one."""

    def __init__(self, node: FunctionNode) -> None:
        self.own: set[str] = set()
        self.imports: dict[str, str] = {}
        """What an import in the function brings, by its full name."""
        self.assigned: dict[str, list[ast.expr | None]] = {}
        """What is assigned to each name; None: something that cannot be told."""
        self.annotations: dict[str, ast.expr] = {}
        self.declared_global: set[str] = set()
        self._node = node
        self.visit(node)
        # Wherever it is assigned: what is declared global is not the function's own.
        self.own -= self.declared_global

    def visit_arg(self, node: ast.arg) -> None:
        self.own.add(node.arg)
        if node.annotation is not None:
            self.annotations[node.arg] = node.annotation

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.own.add(node.id)

    def visit_Global(self, node: ast.Global) -> None:
        self.declared_global.update(node.names)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._define(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._define(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._define(node)

    def _define(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        if node is not self._node:
            self.own.add(node.name)
            self.assigned.setdefault(node.name, []).append(None)
        self.generic_visit(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name is not None:
            self._assign([ast.Name(id=node.name, ctx=ast.Store())], None)
            self.own.add(node.name)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._assign(node.targets, node.value)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.annotations[node.target.id] = node.annotation
        self.generic_visit(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._assign([node.target], node.value)
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        self._assign([node.target], None)
        self.generic_visit(node)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> None:
        self._assign([node.target], None)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self._assign([node.target], None)
        self.generic_visit(node)

    def visit_withitem(self, node: ast.withitem) -> None:
        if node.optional_vars is not None:
            self._assign([node.optional_vars], None)
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            first = alias.name.partition(".")[0]
            self._bring(alias.asname or first, alias.name if alias.asname else first)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            name = alias.asname or alias.name
            if node.module and not node.level:
                self._bring(name, f"{node.module}.{alias.name}")
            self.own.add(name)

    def _bring(self, name: str, full: str) -> None:
        self.own.add(name)
        self.imports[name] = full

    def _assign(self, targets: Iterable[ast.expr], value: ast.expr | None) -> None:
        for target in targets:
            if isinstance(target, ast.Name):
                self.assigned.setdefault(target.id, []).append(value)
            elif isinstance(target, ast.Tuple | ast.List):
                self._assign(target.elts, None)
            elif isinstance(target, ast.Starred):
                self._assign([target.value], None)
