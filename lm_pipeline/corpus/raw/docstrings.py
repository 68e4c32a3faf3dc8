"""Docstrings of Python source files, found in the syntax tree without importing anything."""

import ast
import inspect
import string
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

_ADDERS = {"add_docstr", "add_docstr_all", "add_docstring", "add_newdoc", "add_newdoc_for_scalar_type"}
"""Functions by which torch and numpy attach a docstring to something written in C."""


_DOCUMENTED = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class Docstring:
    """A cleaned docstring and the qualified name of what it documents."""

    name: str
    text: str


def find_docstrings(source: bytes, module: str) -> Iterator[Docstring]:
    """Yield the docstrings of a module in source order, empty ones left out.

    Args:
        source: the file's bytes; an encoding declaration is honoured.
        module: its dotted name.

    Raises:
        SyntaxError: this Python cannot parse it.
        ValueError: it holds NUL bytes.

    >>> code = b'''def area(r):
    ...     "Area of a circle."
    ... class Point:
    ...     def norm(self):
    ...         "Distance from the origin."
    ... '''
    >>> [(doc.name, doc.text) for doc in find_docstrings(code, "shapes")]
    [('shapes.area', 'Area of a circle.'), ('shapes.Point.norm', 'Distance from the origin.')]
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in others' code
        tree = ast.parse(source)
    text = ast.get_docstring(tree)
    if text and text.strip():
        yield Docstring(module, text.strip())
    yield from _walk(tree, module)


def _walk(node: ast.AST, name: str) -> Iterator[Docstring]:
    if isinstance(node, _DOCUMENTED):
        text = ast.get_docstring(node, clean=True)
        if text and text.strip():
            yield Docstring(name, text.strip())
    # Statements alone are looked through: expressions hold no definitions and are most of a tree.
    for block in ("body", "handlers", "orelse", "finalbody", "cases"):
        for child in getattr(node, block, ()):
            if isinstance(child, _DOCUMENTED):
                yield from _walk(child, f"{name}.{child.name}")
            elif isinstance(child, ast.Expr | ast.Assign | ast.AnnAssign | ast.Return):
                if isinstance(child.value, ast.Call):
                    yield from _added(child.value, name)
            else:
                yield from _walk(child, name)


def _added(call: ast.Call, module: str) -> Iterator[Docstring]:
    """The docstrings that a call such as `add_docstr(torch.abs, "...")` attaches."""
    function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if function.lstrip("_") not in _ADDERS or len(call.args) < 2:
        return
    *targets, last = call.args
    parts = [_literal(target) or ast.unparse(target) for target in targets if not isinstance(target, ast.List)]
    name = ".".join(parts)
    if function.lstrip("_") == "add_newdoc_for_scalar_type" or not parts or "." not in name:
        name = f"{module}.{name}"
    entries = last.elts if isinstance(last, ast.List) else [last]
    for entry in entries:
        attribute, told = None, entry
        if isinstance(entry, ast.Tuple) and len(entry.elts) == 2:
            attribute, told = _literal(entry.elts[0]), entry.elts[1]
        text = _literal(told)
        if text is None:
            continue
        # C docstrings begin with a signature for `inspect`, ended by this mark.
        text = inspect.cleandoc(text.partition("\n--\n\n")[2] or text).strip()
        if text:
            yield Docstring(f"{name}.{attribute}" if attribute else name, text)


def _literal(node: ast.expr) -> str | None:
    """The text of a string expression: a literal, a sum of them, or a template with `.format(...)`."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _literal(node.left), _literal(node.right)
        return None if left is None or right is None else left + right
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        template = _literal(node.func.value)
        return None if template is None else _without_fields(template)
    return None


def _without_fields(template: str) -> str:
    """A format template as text: a line that is one field goes, a field within a line leaves its name."""
    kept = [
        line for line in template.splitlines() if not (line.strip()[:1] == "{" and line.strip()[1:-1].isidentifier())
    ]
    text = "\n".join(kept)
    try:
        return "".join(literal + (field or "") for literal, field, _, _ in string.Formatter().parse(text))
    except ValueError:
        return text
