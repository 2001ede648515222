"""Where the program can raise one of its errors, read from the source: what the table of messages must cover.

A site is named `MODULE FUNCTION: WORDS`: the module below forecast/ (or the package beside it), the function, and
words of the message that no other error of that function holds. Lines may move; a site keeps its name.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("forecast", "dashboards", "kernels")
CODES = {"UsageError": 2, "DataError": 3, "ArtifactError": 4, "RunError": 5}
HOLE = "…"


class Site(NamedTuple):
    module: str  # data/read.py, dashboards/load.py
    function: str
    message: str  # found; expected; do, with … for what is filled in
    code: int
    path: str
    first: int
    last: int

    @property
    def name(self) -> str:
        return f"{self.module} {self.function}: {self.message}"


@cache
def sites() -> tuple[Site, ...]:
    """Every call that makes an error with an exit code."""
    return tuple(
        site
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for site in _within(ast.parse(path.read_text(encoding="utf-8")), "", path, package)
    )


def _within(node: ast.AST, function: str, path: Path, package: str) -> Iterator[Site]:
    for child in ast.iter_child_nodes(node):
        inner = child.name if isinstance(child, ast.FunctionDef) else function
        if isinstance(child, ast.Call) and isinstance(child.func, ast.Name) and child.func.id in CODES:
            parts = [*child.args, *(word.value for word in child.keywords if word.arg != "reason")]
            message = "; ".join(text for part in parts if (text := _text(part)))
            module = path.relative_to(ROOT / package if package == "forecast" else ROOT).as_posix()
            code = CODES[child.func.id]
            yield Site(module, inner, message, code, str(path), child.lineno, child.end_lineno or child.lineno)
        yield from _within(child, inner, path, package)


def _text(node: ast.expr) -> str:
    """The literal words of an expression."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return HOLE


def resolve(name: str) -> Site:
    """The one site of that name; LookupError, in one sentence, where there is none or several."""
    place, _, words = name.partition(": ")
    module, _, function = place.partition(" ")
    here = [s for s in sites() if s.module == module and s.function == function]
    found = [s for s in here if s.message == words] or [s for s in here if words in s.message]
    if len(found) != 1:
        have = "; ".join(s.name for s in here) or "none"
        raise LookupError(f"{name!r} names {len(found)} errors: correct the site (in {place} there are: {have})")
    return found[0]


def at(path: str, line: int) -> Site | None:
    """The site whose call stands at this line."""
    return next((s for s in sites() if s.path == path and s.first <= line <= s.last), None)
