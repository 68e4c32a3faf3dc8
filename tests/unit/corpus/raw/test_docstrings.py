import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_pipeline.corpus.raw.docstrings import find_docstrings

SOURCE = '''"""Module text."""
import os
if os.name == "posix":
    def f():
        """
        Indented text.

            Code.
        """
        class Inner:
            "类的说明。"
else:
    try:
        async def g(): "Async."
    finally:
        pass
def empty(): "   "
def none(): return 1
match os.name:
    case "nt":
        class M: "In a match."
'''


def found(source: str, module: str = "m") -> dict[str, str]:
    return {doc.name: doc.text for doc in find_docstrings(source.encode(), module)}


def test_docstrings_are_found_in_every_kind_of_block_and_cleaned():
    assert found(SOURCE) == {
        "m": "Module text.",
        "m.f": "Indented text.\n\n    Code.",
        "m.f.Inner": "类的说明。",
        "m.g": "Async.",
        "m.M": "In a match.",
    }


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('add_docstr(torch.abs, r"""\nabs(x)\n\n    More.\n""")', {"torch.abs": "abs(x)\n\n    More."}),
        ('fft = _add_docstr(_fft.fft, "a" + "b")', {"_fft.fft": "ab"}),
        ('add_docstr_all("new", "text")', {"m.new": "text"}),
        ('add_newdoc("numpy", "abs", "text")', {"numpy.abs": "text"}),
        ('add_newdoc("numpy", "nd", ("T", "transposed"))', {"numpy.nd.T": "transposed"}),
        ('add_newdoc("numpy", "nd", [("T", "t"), ("S", "s")])', {"numpy.nd.T": "t", "numpy.nd.S": "s"}),
        ('add_docstr(torch.f, "f($self, /)\\n--\\n\\nText.")', {"torch.f": "Text."}),
        (
            'add_docstr(torch.f, """Text {kind} {{1}}.\n\nArgs:\n    {input}\n    dim: x\n""".format(**a))',
            {"torch.f": "Text kind {1}.\n\nArgs:\n    dim: x"},
        ),
        ("add_docstr(torch.f, make())", {}),
        ('print("not", "documentation")', {}),
    ],
)
def test_docstrings_that_are_attached_to_c_functions_are_found(code, expected):
    assert found(code) == expected


def test_an_encoding_declaration_is_honoured():
    source = '# -*- coding: gbk -*-\n"""模块说明"""\n'.encode("gbk")
    assert [doc.text for doc in find_docstrings(source, "m")] == ["模块说明"]


def test_others_invalid_escapes_raise_no_warning():
    assert found('"""a \\d"""') == {"m": "a \\d"}


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50))
def test_any_docstring_is_found_as_python_sees_it(text: str):
    source = f"def f():\n    {text!r}\n"
    expected = (ast.get_docstring(ast.parse(source).body[0]) or "").strip()  # type: ignore[arg-type]
    assert found(source) == ({"m.f": expected} if expected else {})
