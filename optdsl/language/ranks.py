"""`when rank(theta) >= 2 ... else ... end`: rules that a tensor chooses by the number of its dimensions.

In: a block, and the lines that its branches mean. Out: one line for each name that is set, which is `if`
over a flag that no user sets (`Flag.rank`), so that everything behind knows it as a flag; a name that only
one branch sets is read in that branch alone, and is gone where the flag is decided the other way.
Not done here: resolving the branches, hiding their names (`Scope.elsewhere`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from optdsl.diagnostics import Report
from optdsl.diagnostics import catalogue as problem
from optdsl.language import syntax
from optdsl.language.optimizer import Apply, Assign, Expr, Flag, Kind, Ref, Role, joined


@dataclass(frozen=True)
class Block:
    when: syntax.When

    @property
    def branches(self) -> tuple[tuple[syntax.Statement, ...], tuple[syntax.Statement, ...]]:
        return self.when.then, self.when.otherwise

    @property
    def names(self) -> set[str]:
        """Everything that it sets."""
        return _set_in(self.when.then) | _set_in(self.when.otherwise)

    @property
    def partial(self) -> tuple[set[str], set[str]]:
        """What only the first branch sets, and what only the second does."""
        then, otherwise = (_set_in(branch) - {"theta"} for branch in self.branches)
        return then - otherwise, otherwise - then

    @property
    def rank(self) -> int | None:
        """The 2 of `rank(theta) >= 2`."""
        match self.when.test:
            case syntax.Binary(
                ">=", syntax.Call("rank", (syntax.Argument(value=syntax.Name("theta")),), None), right
            ):
                if isinstance(right, syntax.Number) and right.text.isdecimal():
                    return int(right.text)
        return None

    @property
    def flag(self) -> Flag:
        assert self.rank is not None
        return Flag(f"rank(theta) >= {self.rank}", True, span=self.when.test.span, rank=self.rank)

    def check(self, report: Report) -> bool:
        """Whether it can be compiled; reports why not."""
        if self.rank is None:
            what = "`when` with another condition than `rank(theta) >= 2`"
            report.add(problem.NotYet(span=self.when.test.span, what=what))
            return False
        wrong = [
            each
            for branch in self.branches
            for each in branch
            if not isinstance(each, syntax.Assign | syntax.StateDecl)
            or (isinstance(each, syntax.Assign) and _name(each) == "g")
        ]
        for each in wrong:
            report.add(problem.NotYet(span=each.span, what="this in a `when` block"))
        theta = ["theta" in _set_in(branch) for branch in self.branches]
        if theta[0] is not theta[1]:
            what = "a `when` block that sets the parameters in one branch only"
            report.add(problem.NotYet(span=self.when.test.span, what=what))
        return not wrong and theta[0] is theta[1]

    def merged(self, then: list[Assign], otherwise: list[Assign], report: Report) -> list[Assign]:
        """The lines of both branches in an order that is right for either."""
        lines: list[Assign] = []
        left = list(then)
        names = {line.target.name for line in then}
        for line in otherwise:
            if line.target.name in names:
                while left and left[0].target.name != line.target.name:
                    lines.append(left.pop(0))
                if not left:
                    what = "a `when` block whose branches set the same names in another order"
                    report.add(problem.NotYet(span=line.span, what=what))
                    return []
                lines.append(self._either(left.pop(0), line))
            else:
                lines.append(line)
        return lines + left

    def _either(self, then: Assign, otherwise: Assign) -> Assign:
        first = None
        if then.first is not None or otherwise.first is not None:
            first = self._where(then.first or then.value, otherwise.first or otherwise.value)
        value = self._where(then.value, otherwise.value)
        target = then.target
        if target.role is Role.VALUE:
            target = replace(target, shape=value.shape)
        return replace(then, target=target, value=value, first=first)

    def _where(self, then: Expr, otherwise: Expr) -> Expr:
        flag = Ref(Role.FLAG, self.flag.name, kind=Kind.BOOL, span=self.when.test.span)
        shape = joined((then.shape, otherwise.shape))
        return Apply("where", (flag, then, otherwise), shape, Kind.REAL, then.span)


def rank_flags(blocks: Iterable[Block], report: Report) -> tuple[Flag, ...]:
    """The flag that the blocks of a definition stand for, if it has any."""
    flags: dict[int, Flag] = {}
    for block in blocks:
        if block.rank is not None:
            flags.setdefault(block.rank, block.flag)
    for other in list(flags.values())[1:]:
        report.add(problem.NotYet(span=other.span, what="a second rank"))
    return tuple(flags.values())


def _set_in(statements: Iterable[syntax.Statement]) -> set[str]:
    return {_name(each) for each in statements if isinstance(each, syntax.Assign)}


def _name(line: syntax.Assign) -> str:
    return line.target.name
