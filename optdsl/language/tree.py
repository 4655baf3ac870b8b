"""The grammar's rules, each turned into its node of `syntax` while the text is being parsed.

Built from the bottom up inside the parser's own stack: no recursion, however the text is nested. The
depth of each node is counted along the way, so that everything after this may recurse.
"""

from dataclasses import dataclass, replace
from typing import Any

from lark import Token, Transformer

from optdsl.diagnostics import Span
from optdsl.language import syntax
from optdsl.language.names import to_ascii

DEPTH_LIMIT = 60

Children = list[Any]  # tokens, nodes of `syntax`, and the helpers below: all with a span


class TooDeepError(Exception):
    """An expression past `DEPTH_LIMIT`; becomes the diagnostic OD108."""

    def __init__(self, span: Span) -> None:
        self.span = span


@dataclass(frozen=True)
class _Part:
    """What a rule below a statement gives: its values, and where they stand."""

    values: tuple[Any, ...]
    span: Span


class _Formals(_Part): ...


class _Stages(_Part): ...


class _Claims(_Part): ...


class _Body(_Part): ...


class _Time(_Part):
    """(offset from t, None, None), (None, fixed step, None), (0, None, k) for `[t-k]`, (None, None, k)."""


class _Truth(_Part): ...


class _Scope(_Part): ...


class _Relation(_Part):
    """The two sides of `left = right`; right may be None."""


class _Condition(_Part): ...


class _Free(_Part): ...


class _Substitution(_Part): ...


def _span(*children: Any) -> Span:
    first, last = children[0], children[-1]
    start = first.start_pos if isinstance(first, Token) else first.span.start
    end = last.end_pos if isinstance(last, Token) else last.span.end
    return Span(int(start or 0), int(end or 0))


def _names(children: Children) -> list[Token]:
    return [child for child in children if isinstance(child, Token) and child.type == "NAME"]


def _name(children: Children) -> str:
    return to_ascii(_names(children)[0])


def _nodes(children: Children) -> Children:
    return [child for child in children if not isinstance(child, Token)]


def _values(kind: type[_Part], children: Children) -> tuple[Any, ...]:
    """The values of the child of a kind; () when there is none."""
    return next((child.values for child in children if isinstance(child, kind)), ())


def _child(kind: Any, children: Children) -> Any:
    return next((child for child in children if isinstance(child, kind)), None)


class TreeBuilder(Transformer[Token, Any]):
    """One method per rule of `optdsl.lark`, in its order; `children` are all its parts, tokens too."""

    def __init__(self) -> None:
        super().__init__()
        self._depths: dict[int, int] = {}  # by id: good only while `_kept` holds the nodes
        self._kept: list[Any] = []

    def reset(self) -> None:
        self._depths.clear()
        self._kept.clear()

    def _expression(self, node: Any, *parts: Any) -> Any:
        depth = 1 + max((self._depths.get(id(part), 0) for part in parts), default=0)
        if depth > DEPTH_LIMIT:
            raise TooDeepError(node.span)
        return self._keep(node, depth)

    def _keep(self, node: Any, depth: int) -> Any:
        self._depths[id(node)] = depth
        self._kept.append(node)
        return node

    def start(self, children: Children) -> Children:
        return _nodes(children)

    def definition(self, children: Children) -> syntax.Definition:
        kind, name = children[:2]
        formals, body = _values(_Formals, children), _values(_Body, children)
        return syntax.Definition(
            syntax.Kind(str(kind.values[0])), to_ascii(name), formals, body, _span(kind, name), _span(name)
        )

    def composition(self, children: Children) -> syntax.Composition:
        kind, name = children[:2]
        stages, claims = _child(_Stages, children), _values(_Claims, children)
        what, span = syntax.Kind(str(kind.values[0])), _span(kind, stages)
        return syntax.Composition(what, to_ascii(name), stages.values, claims, span, _span(name))

    def kind(self, children: Children) -> _Part:
        return _Part((str(children[0]),), _span(*children))

    def formals(self, children: Children) -> _Formals:
        names = tuple(syntax.Name(to_ascii(token), _span(token)) for token in _names(children))
        return _Formals(names, _span(*children))

    def pipeline(self, children: Children) -> _Stages:
        return _Stages(tuple(_nodes(children)), _span(*children))

    def claims(self, children: Children) -> _Claims:
        return _Claims(tuple(_nodes(children)), _span(*children))

    def stage(self, children: Children) -> syntax.Stage:
        return syntax.Stage(_name(children), tuple(_nodes(children)), _span(*children))

    def named(self, children: Children) -> Any:
        return self._expression(
            syntax.Argument(_name(children), children[-1], _span(*children)), children[-1]
        )

    def counted(self, children: Children) -> Any:
        _, _, first, _, last = children
        counts = self._expression(syntax.Range(first, last, _span(first, last)), first, last)
        return self._expression(syntax.Argument(_name(children), counts, _span(*children)), counts)

    def numbered(self, children: Children) -> Any:
        offset, step, count = _values(_Time, children)
        at = syntax.At(_name(children), offset, step, _span(*children[:4]), count)
        value = children[-1]
        return self._expression(syntax.Argument(at.name, value, _span(*children), at), value)

    def positional(self, children: Children) -> Any:
        return self._expression(syntax.Argument(None, children[0], _span(*children)), children[0])

    def body(self, children: Children) -> _Body:
        return _Body(tuple(_nodes(children)), _span(*children))

    # --- statements ---

    def hyper(self, children: Children) -> syntax.HyperDecl:
        domain, alias = _child(syntax.Interval, children), _child(syntax.Alias, children)
        return syntax.HyperDecl(
            _name(children), children[3], domain, alias, _span(*children), _span(children[1])
        )

    def domain(self, children: Children) -> syntax.Interval:
        _, opening, low, _, high, closing = children
        return syntax.Interval(
            low, high, opening.values[0] == "[", closing.values[0] == "]", _span(opening, closing)
        )

    open_end = close_end = kind

    def flag(self, children: Children) -> syntax.FlagDecl:
        (default,) = _values(_Truth, children)
        alias = _child(syntax.Alias, children)
        return syntax.FlagDecl(_name(children), default, alias, _span(*children), _span(children[1]))

    def truth(self, children: Children) -> _Truth:
        return _Truth((children[0] == "true",), _span(*children))

    def state(self, children: Children) -> syntax.StateDecl:
        step, initial = _int(children[3]), children[6]
        alias = _child(syntax.Alias, children)
        return syntax.StateDecl(_name(children), step, initial, alias, _span(*children), _span(children[1]))

    def input(self, children: Children) -> syntax.InputDecl:
        return syntax.InputDecl(_name(children), _span(*children), _span(children[1]))

    def output(self, children: Children) -> syntax.OutputDecl:
        value = children[3] if len(children) > 2 else None
        return syntax.OutputDecl(_name(children), value, _span(*children), _span(children[1]))

    def alias(self, children: Children) -> syntax.Alias:
        index = _int(children[3]) if len(children) > 2 else None
        return syntax.Alias(_name(children), index, _span(*children))

    def update(self, children: Children) -> syntax.Assign:
        offset, step, count = _values(_Time, children)
        target = syntax.At(_name(children), offset, step, _span(*children[:4]), count)
        return syntax.Assign(target, children[-1], _span(*children))

    def value(self, children: Children) -> syntax.Assign:
        target = syntax.Name(_name(children), _span(children[0]))
        return syntax.Assign(target, children[-1], _span(*children))

    def now(self, children: Children) -> _Time:
        return _Time((0, None, None), _span(*children))

    def before(self, children: Children) -> _Time:
        return _Time((-_int(children[-1]), None, None), _span(*children))

    def after(self, children: Children) -> _Time:
        return _Time((_int(children[-1]), None, None), _span(*children))

    def fixed(self, children: Children) -> _Time:
        return _Time((None, _int(children[0]), None), _span(*children))

    def ago(self, children: Children) -> _Time:
        return _Time((0, None, _name(children)), _span(*children))

    def round(self, children: Children) -> _Time:
        return _Time((None, None, _name(children)), _span(*children))

    def when(self, children: Children) -> syntax.When:
        bodies = [child.values for child in children if isinstance(child, _Body)]
        otherwise = bodies[1] if len(bodies) > 1 else ()
        return syntax.When(children[1], bodies[0], otherwise, _span(*children[:2]))

    def start_at(self, children: Children) -> syntax.Start:
        return syntax.Start(tuple(_nodes(children)), _span(*children))

    # --- claims ---

    def prove(self, children: Children) -> syntax.Claim:
        claim: syntax.Claim = children[-1]
        return replace(claim, span=_span(*children))

    def refuted(self, children: Children) -> syntax.Claim:
        claim: syntax.Claim = children[-1]
        return replace(claim, span=_span(*children), refuted=True)

    def estimate(self, children: Children) -> syntax.Claim:
        claim: syntax.Claim = children[-1]
        return replace(claim, span=_span(*children), estimate=True)

    def claim(self, children: Children) -> syntax.Claim:
        left, right = _values(_Relation, children)
        (when,) = _values(_Condition, children) or (None,)
        return syntax.Claim(
            left,
            right,
            when=when,
            free=_values(_Free, children),
            substitution=_values(_Substitution, children),
            span=_span(*children),
        )

    def iff(self, children: Children) -> syntax.Claim:
        name = syntax.Name(_name(children), _span(children[0]))
        return syntax.Claim(name, None, iff=children[-1], span=_span(*children))

    def relation(self, children: Children) -> _Relation:
        sides = _nodes(children)
        return _Relation((sides[0], sides[1] if len(sides) > 1 else None), _span(*children))

    def condition(self, children: Children) -> _Condition:
        facts = _nodes(children)
        whole = facts[0]
        for fact in facts[1:]:
            whole = syntax.Binary("and", whole, fact, _span(whole, fact))
        return _Condition((whole,), _span(*children))

    def equality(self, children: Children) -> Any:
        left, right = _nodes(children)
        return self._expression(syntax.Binary("==", left, right, _span(*children)), left, right)

    def free(self, children: Children) -> _Free:
        return _Free(tuple(map(to_ascii, _names(children))), _span(*children))

    def substitution(self, children: Children) -> _Substitution:
        return _Substitution(tuple(_nodes(children)), _span(*children))

    # --- expressions ---

    def if_(self, children: Children) -> Any:
        test, then, otherwise = _nodes(children)
        return self._expression(syntax.If(test, then, otherwise, _span(*children)), test, then, otherwise)

    def binary(self, children: Children) -> Any:
        left, operator, right = children
        return self._expression(syntax.Binary(str(operator), left, right, _span(left, right)), left, right)

    def not_(self, children: Children) -> Any:
        return self._expression(syntax.Unary("not", children[1], _span(*children)), children[1])

    def negate(self, children: Children) -> Any:
        return self._expression(syntax.Unary("-", children[1], _span(*children)), children[1])

    def number(self, children: Children) -> Any:
        return self._expression(syntax.Number(str(children[0]), _span(*children)))

    def bool_(self, children: Children) -> Any:
        return self._expression(syntax.Bool(children[0].values[0], children[0].span))

    def name(self, children: Children) -> Any:
        return self._expression(syntax.Name(_name(children), _span(*children)))

    def at(self, children: Children) -> Any:
        offset, step, count = _values(_Time, children)
        return self._expression(syntax.At(_name(children), offset, step, _span(*children), count))

    def expectation(self, children: Children) -> Any:
        return self._expression(syntax.Expectation(children[2], _span(*children)), children[2])

    def call(self, children: Children) -> Any:
        arguments = tuple(child for child in children if isinstance(child, syntax.Argument))
        (scope,) = _values(_Scope, children) or (None,)
        return self._expression(syntax.Call(_name(children), arguments, scope, _span(*children)), *arguments)

    def over(self, children: Children) -> _Scope:
        return _Scope((str(children[-1]),), _span(*children))

    def group(self, children: Children) -> Any:
        """Brackets group and leave no node; the span of what they hold grows to cover them."""
        inner = children[1]
        return self._keep(replace(inner, span=_span(*children)), self._depths[id(inner)])


def _int(token: Any) -> int:
    """A small index. Longer digits than any index has are cut to a number that is refused later."""
    text = str(token).lstrip("0") or "0"
    return int(text) if len(text) <= 6 else 10**6
