"""Prints the figures of the house: code lines, files, private root modules, arguments, longest bodies and comments.

python tools/house.py [FOLDER]   (default: src/lava_sc beside this file)
"""

from __future__ import annotations

import ast
import io
import statistics
import sys
import tokenize
from pathlib import Path
from typing import Final

_NO_CODE: Final = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
_DOCUMENTED: Final = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def docstring_of(node: ast.AST) -> ast.stmt | None:
    """Statement that holds the docstring of a module, class or function."""
    body = getattr(node, "body", [])
    if isinstance(node, _DOCUMENTED) and body and isinstance(body[0], ast.Expr):
        value = body[0].value
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            return body[0]
    return None


def count_lines(text: str) -> tuple[int, int]:
    """Numbers of code lines (no blank lines, comments or docstrings) and of comments."""
    code, comments = set[int](), 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        comments += token.type == tokenize.COMMENT and not token.string.startswith(("# type:", "# noqa"))
        if token.type not in _NO_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if (docstring := docstring_of(node)) is not None:
            code -= set(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return len(code), comments


def body_length(function: ast.FunctionDef) -> int:
    """Lines from the first to the last statement after the docstring."""
    body = function.body[1:] if docstring_of(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def n_arguments(function: ast.FunctionDef) -> int:
    """Number of arguments that a caller can pass by name."""
    arguments = function.args
    return len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs)


def main(folder: Path) -> None:
    """Print the figures of a package."""
    files = sorted(folder.rglob("*.py"))
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    counts = [count_lines(text) for text in texts.values()]
    code, comments = (sum(part) for part in zip(*counts, strict=True))
    functions = [
        (file, node)
        for file, text in texts.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
    ]
    private = [file for file in folder.glob("_*.py") if not file.name.startswith("__")]
    public = sorted(
        n_arguments(node)
        for file, node in functions
        if file.parent.name in {"tl", "pp"} and file.stem == node.name and node.col_offset == 0
    )
    longest = sorted(
        ((body_length(node), f"{file.relative_to(folder)}:{node.name}") for file, node in functions), reverse=True
    )
    print(f"lines                    {sum(text.count(chr(10)) for text in texts.values()):,}")
    print(f"code lines               {code:,}")
    print(f"files                    {len(files)}")
    print(f"private root modules     {len(private)}")
    print(f"functions                {len(functions):,}")
    print(f"body, median             {statistics.median(body_length(node) for _, node in functions):g}")
    print(f"body, longest            {longest[0][0]} ({longest[0][1]})")
    print(f"arguments of tl and pp   median {statistics.median(public):g}, most {public[-1]}")
    print(f"comments per 100 lines   {100 * comments / code:.1f}")
    print("code lines by folder")
    rooms: dict[str, int] = {}
    for file, (lines, _) in zip(files, counts, strict=True):
        room = "/".join(file.relative_to(folder).parts[:-1][:2]) or "."
        rooms[room] = rooms.get(room, 0) + lines
    for room, lines in sorted(rooms.items()):
        print(f"  {room:24} {lines:6,}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "src" / "lava_sc")
