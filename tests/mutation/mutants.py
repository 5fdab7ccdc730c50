"""All the small changes that can be made to a module, one at a time.

What changes into what is mutmut's. Its own runner leaves out what has a decorator, as
properties and context managers have, and what stands outside of functions.
"""

from __future__ import annotations

import collections.abc as c
import difflib
import itertools
import typing as t

import libcst as cst
import libcst.matchers as m
import libcst.metadata
from mutmut.mutation.mutators import mutation_operators, operator_string


class Mutant(t.NamedTuple):
    """A module with one change in it.

    :param change: where, as the names of classes and functions, and below it the
        lines that are gone and those that are there instead.
    """

    change: str
    source: str


def mutants(source: str) -> c.Iterator[Mutant]:
    """Every one that compiles, each once."""
    module = cst.parse_module(source)
    wrapper = cst.MetadataWrapper(module, unsafe_skip_copy=True)
    spans = wrapper.resolve(cst.metadata.ByteSpanPositionProvider)
    seen = {source}
    for node, scope in _nodes(module, "the module"):
        for other in _instead_of(node):
            changed = _replaced(module, node, other, spans[node])
            if changed not in seen and _compiles(changed):
                seen.add(changed)
                yield Mutant("\n".join([scope, *_diff(source, changed)]), changed)


def _replaced(module: t.Any, node: t.Any, other: t.Any, span: t.Any) -> str:
    text, end = module.bytes, span.start + span.length
    if text[span.start : end].decode() == module.code_for_node(node).strip():
        # Many times faster, where it can be done.
        code = module.code_for_node(other).strip().encode()
        return t.cast(str, (text[: span.start] + code + text[end:]).decode())
    return t.cast(str, module.deep_replace(node, other).code)


def _nodes(node: t.Any, scope: str) -> c.Iterator[tuple[t.Any, str]]:
    """All that means something when the program runs."""
    if m.matches(node, _NOT_RUN) or _is_text(node):
        return
    if m.matches(node, _CAST):
        yield from _nodes(node.args[1], scope)
        return
    if m.matches(node, m.FunctionDef() | m.ClassDef()):
        around = "" if scope == "the module" else f"{scope}."
        scope = around + node.name.value
    yield node, scope
    for child in node.children:
        yield from _nodes(child, scope)


def _instead_of(node: t.Any) -> c.Iterator[t.Any]:
    no_value = _code(node).replace("False", "None")
    for kind, operator in mutation_operators:
        if isinstance(node, kind):
            others = iter(operator(node))
            if operator is operator_string:
                # The others are the same in capital and in small letters.
                others = itertools.islice(others, 1)
            for other in others:
                # What is said to people is left alone, and what is as false already.
                if _texts(other) >= _texts(node) and _code(other) != no_value:
                    yield other


def _typing(name: t.Any) -> m.Call:
    return m.Call(func=m.Attribute(value=m.Name("t"), attr=name))


_CAST = _typing(m.Name("cast"))

_NOT_RUN = (
    m.Annotation()
    | m.Decorator()
    | m.Import()
    | m.ImportFrom()
    | m.Assign(value=_typing(m.Name("TypeVar")))
    | m.AnnAssign(annotation=m.Annotation(m.Attribute(attr=m.Name("TypeAlias"))))
)

_STRINGS = m.SimpleString() | m.FormattedString() | m.ConcatenatedString()


def _is_text(node: t.Any) -> bool:
    return bool(m.matches(node, _STRINGS)) and " " in _code(node)


def _code(node: t.Any) -> str:
    return t.cast(str, cst.Module([]).code_for_node(node))


def _texts(node: t.Any) -> int:
    if _is_text(node):
        return 1
    return sum(map(_texts, node.children))


def _compiles(source: str) -> bool:
    try:
        compile(source, "a mutant", "exec")
    except SyntaxError:
        return False
    return True


def _diff(old: str, new: str) -> c.Iterator[str]:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm="")
    for line in itertools.islice(lines, 2, None):
        if line[0] in "+-":
            yield line[0] + line[1:].strip()
