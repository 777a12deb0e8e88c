"""How large the house is: `python tests/architecture/size.py` prints it, room by room.

A line of code is one that is not blank, a comment, a docstring or an import.
"""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CEILINGS = Path(__file__).with_name("ceilings.json")
LAYOUT = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE),
    *(tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
}
APART = ("workload/hugging_face", "results/bands")
"""Folders that are counted on their own, not with the room they stand in."""


@dataclass(frozen=True)
class Size:
    """Files, and lines by what they are, of a file or a room."""

    files: int = 0
    lines: int = 0
    code: int = 0
    docstrings: int = 0
    imports: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def size_of(path: Path) -> Size:
    """Size of one file of Python."""
    text = path.read_text(encoding="utf-8")
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in LAYOUT:
            code.update(range(token.start[0], token.end[0] + 1))
    docstrings: set[int] = set()
    imports: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        elif isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str):
            docstrings.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = len(text.splitlines())
    return Size(1, lines, len(code - docstrings - imports), len(docstrings), len(imports))


def rooms() -> dict[str, Size]:
    """Size of each room of `sim/`, by name."""
    sizes: dict[str, Size] = {}
    for path in sorted((ROOT / "sim").rglob("*.py")):
        inside = path.relative_to(ROOT / "sim")
        room = next((each for each in APART if inside.is_relative_to(each)), inside.parts[0])
        sizes[room] = sizes.get(room, Size()) + size_of(path)
    return sizes


def core(sizes: Mapping[str, Size], names: list[str]) -> int:
    """Lines of code of the simulator proper: the rooms of `names`."""
    return sum(size.code for room, size in sizes.items() if room in names)


def functions() -> Iterator[tuple[str, int, bool]]:
    """Place, number of parameters and whether compiled, of every function of `sim/`."""
    for path in sorted((ROOT / "sim").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                arguments = node.args
                count = len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs)
                decorators = " ".join(ast.unparse(each) for each in node.decorator_list)
                if "click" not in decorators:  # one parameter an option
                    place = f"{path.relative_to(ROOT)}:{node.name}"
                    yield place, count, "njit" in decorators


def untyped(room: str) -> int:
    """How often a room says Any."""
    texts = (path.read_text(encoding="utf-8") for path in (ROOT / "sim" / room).rglob("*.py"))
    return sum(len(re.findall(r"\bAny\b", text)) for text in texts)


def report() -> str:
    """The table of sizes beside their ceilings."""
    ceilings, sizes = json.loads(CEILINGS.read_text()), rooms()
    lines = [f"{'room':24}{'files':>7}{'lines':>8}{'code':>8}{'ceiling':>9}"]
    for room, size in sorted(sizes.items()):
        ceiling = ceilings["rooms"].get(room, "-")
        lines.append(f"{room:24}{size.files:7}{size.lines:8,}{size.code:8,}{ceiling:>9}")
    whole = sum(sizes.values(), Size())
    lines.append(f"{'all':24}{whole.files:7}{whole.lines:8,}{whole.code:8,}{ceilings['all']:>9}")
    proper = core(sizes, ceilings["core_rooms"])
    lines.append(f"{'simulator core':24}{'':15}{proper:8,}{ceilings['core']:>9}")
    lines.append(
        f"imports {whole.imports / whole.lines:.1%} of lines, Any in kernel {untyped('kernel')}"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    print(report())  # noqa: T201
