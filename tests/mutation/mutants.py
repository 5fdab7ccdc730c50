"""All the small changes that can be made to a module, one at a time.

mutmut's operators decide what changes into what. mutmut's own runner skips decorated
functions, such as properties and context managers, and code outside of functions.
"""

from __future__ import annotations

import collections.abc as c
import difflib
import io
import itertools
import re
import tokenize
import typing as t

import libcst as cst
import libcst.matchers as m
import libcst.metadata
from mutmut.mutation.mutators import mutation_operators, operator_string


class Mutant(t.NamedTuple):
    """A module with one change in it.

    :param change: the names of the classes and functions around the change, and below
        them the removed and the added lines.
    """

    change: str
    source: str


class PragmaError(Exception):
    """A comment that excludes a line from mutation is malformed or has no effect."""


def mutants(source: str) -> c.Iterator[Mutant]:
    """Generate every mutant that compiles, each once.

    A line is left alone if it ends with ``# pragma: no mutate: <reason>``. Where the
    reason is long, the comment stands above the line and may go on in comments below.

    :raises PragmaError: a pragma has no reason, or there is nothing to mutate on its
        line.
    """
    excluded, used = _excluded_lines(source), set[int]()
    module = cst.parse_module(source)
    wrapper = cst.MetadataWrapper(module, unsafe_skip_copy=True)
    spans = wrapper.resolve(cst.metadata.ByteSpanPositionProvider)
    positions = wrapper.resolve(cst.metadata.PositionProvider)
    seen = {source}
    for node, scope in _nodes(module, "the module"):
        line = positions[node].start.line
        for other in _instead_of(node):
            if line in excluded:
                used.add(line)
                continue
            changed = _replaced(module, node, other, spans[node])
            if changed not in seen and _compiles(changed):
                seen.add(changed)
                yield Mutant("\n".join([scope, *_diff(source, changed)]), changed)
    if unused := excluded - used:
        raise PragmaError(f"line {min(unused)}: there is nothing to mutate")


_PRAGMA = re.compile(r"# *pragma: *no mutate\b(?P<rest>.*)")
_REASON = re.compile(r" *[:—–-] *\w")
_NOT_CODE = (tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT)


def _excluded_lines(source: str) -> set[int]:
    """Return the numbers of the lines of code that a pragma excludes."""
    excluded, line_of_code, pending = set[int](), 0, False
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        line = token.start[0]
        if pragma := token.type == tokenize.COMMENT and _PRAGMA.match(token.string):
            if not _REASON.match(pragma["rest"]):
                raise PragmaError(f"line {line}: write `# pragma: no mutate: <reason>`")
            if line_of_code == line:
                excluded.add(line)
            else:
                pending = True
        elif token.type not in _NOT_CODE:
            if pending:
                excluded.add(line)
            pending, line_of_code = False, token.end[0]
    return excluded


def _replaced(module: t.Any, node: t.Any, other: t.Any, span: t.Any) -> str:
    text, end = module.bytes, span.start + span.length
    if text[span.start : end].decode() == module.code_for_node(node).strip():
        # This is many times faster than deep_replace, but not always possible.
        code = module.code_for_node(other).strip().encode()
        return t.cast(str, (text[: span.start] + code + text[end:]).decode())
    return t.cast(str, module.deep_replace(node, other).code)


def _nodes(node: t.Any, scope: str) -> c.Iterator[tuple[t.Any, str]]:
    """Generate the nodes that have an effect when the program runs."""
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
                # The other variants only change the case of the string.
                others = itertools.islice(others, 1)
            for other in others:
                # Keep the texts that people read. None for False changes nothing.
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
