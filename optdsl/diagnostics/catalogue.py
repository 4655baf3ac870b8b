"""Everything that can be wrong with the text of a spec, worded once.

A class is one kind of finding: its fields are the facts, its templates the words, its docstring the long
explanation that `optdsl explain CODE` prints. Codes are never used again for something else:
OD0xx files (`catalogue_files`), OD1xx syntax, OD2xx names and time, OD3xx kinds and shapes,
OD4xx numbers and domains, OD5xx what is unused, OD6xx the checks (`catalogue_checks`), OD8xx what is
not compiled yet.
"""

from dataclasses import dataclass

from optdsl.diagnostics.model import Problem, Severity

# --- OD1xx: syntax -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class UnexpectedText(Problem):
    """The line is not a statement of the language.

    A file holds one statement a line: `hyper`, `flag`, `state`, an assignment such as
    `m[t] = beta1*m[t-1] + (1 - beta1)*g[t]`, or a claim (`prove ...`). `optdsl new NAME` writes an
    example of each.
    """

    code = "OD101"
    title = "expected {expected}, found {found}"
    label = "expected {expected}"
    expected: str
    found: str
    advice = None


@dataclass(frozen=True, kw_only=True)
class IllegalCharacter(Problem):
    """A character that the language does not use.

    Specs are ASCII, with Greek letters (β₁ is beta1) and subscript digits as other spellings of names.
    Everything is allowed in comments, except control and text-direction characters.
    """

    code = "OD102"
    title = "the character {character} is not part of the language"
    label = "not part of the language"
    advice = "write {instead}"
    character: str
    instead: str


@dataclass(frozen=True, kw_only=True)
class PowerSpelling(Problem):
    """Powers are written with `^`, as in the paper: `beta1^t`, `g[t]^2`."""

    code = "OD103"
    title = "a power is written `^`"
    label = "not an operator here"
    advice = "replace `**` by `^`"


@dataclass(frozen=True, kw_only=True)
class UnbalancedBracket(Problem):
    """Every bracket is closed on the line that opened it: a statement never runs over a line end."""

    code = "OD104"
    title = "`{bracket}` has no partner on this line"
    label = "no partner"
    advice = "close it on the same line; long expressions can be named: `u = ...`"
    bracket: str


@dataclass(frozen=True, kw_only=True)
class MissingOperator(Problem):
    """Two values stand side by side. Products are written out: `2*x`, `lr*m[t]`."""

    code = "OD105"
    title = "an operator is missing"
    label = "two values side by side"
    advice = "write `{left}*{right}` if a product is meant"
    left: str
    right: str


@dataclass(frozen=True, kw_only=True)
class AssignmentSpelling(Problem):
    """A line says what a new value is, with `=`; nothing is changed in place.

    Instead of `m += x` write `m[t] = m[t-1] + x`.
    """

    code = "OD106"
    title = "`{operator}` is not how a value is set"
    label = "use `=`"
    advice = "write `x[t] = ...` for a state, `x = ...` for a value of this step"
    operator: str


@dataclass(frozen=True, kw_only=True)
class MissingEnd(Problem):
    """A `when` block reaches to its `end`, on a line of its own."""

    code = "OD107"
    title = "the file ends inside a `when` block"
    label = "this block is not closed"
    advice = "add a line `end`"


@dataclass(frozen=True, kw_only=True)
class TooDeep(Problem):
    """An expression may be nested {limit} levels deep, far more than any formula that can be read."""

    code = "OD108"
    title = "this expression is nested more than {limit} levels deep"
    label = "too deep"
    advice = "give parts of it a name on lines of their own"
    limit: int


@dataclass(frozen=True, kw_only=True)
class NoDefinition(Problem):
    """A spec begins with its kind and name: `optimizer Adam`."""

    code = "OD109"
    title = "there is no definition in this file"
    label = "the first statement must be a definition"
    advice = "begin with a line such as `optimizer MyOptimizer`"


@dataclass(frozen=True, kw_only=True)
class EmptyDefinition(Problem):
    """A definition needs at least the line that says how the parameters change: `theta[t] = ...`."""

    code = "OD110"
    title = "`{name}` has no statements"
    label = "nothing follows"
    advice = "add at least `theta[t] = theta[t-1] - ...`"
    name: str


@dataclass(frozen=True, kw_only=True)
class TimeIndex(Problem):
    """A time index is `[t]` (the new value), `[t-1]` (the old one) or, in a case of its own, `[1]`.

    Elements are never indexed: an optimizer's equations hold for every element alike.
    """

    code = "OD111"
    title = "`[{index}]` is not a time index"
    label = "not a time index"
    advice = "write `[t]` for the new value or `[t-1]` for the old one"
    index: str


@dataclass(frozen=True, kw_only=True)
class ChainedComparison(Problem):
    """Comparisons take two sides: write `a < b and b < c`."""

    code = "OD112"
    title = "comparisons do not chain"
    label = "a second comparison"
    advice = "join two comparisons with `and`"


@dataclass(frozen=True, kw_only=True)
class PrintedFormula(Problem):
    """Formulas are typed a little otherwise than they are printed. `docs/language.md` has the list: bars are
    `abs(x)` or `norm(x)`, a case is `if CONDITION then X else Y`, and left of `=` stands one name.
    """

    code = "OD114"
    title = "this is written otherwise here"
    label = "{what}"
    advice = "{choice}"
    what: str
    choice: str


@dataclass(frozen=True, kw_only=True)
class TooManyErrors(Problem):
    """After so many errors of syntax the rest of the file is not looked at."""

    code = "OD113"
    title = "too many errors; the rest of the file was not read"
    label = "reading stopped here"


# --- OD2xx: names and time -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class UnknownName(Problem):
    """A name must be declared (`hyper`, `flag`, `state`) or set on an earlier line before it is read."""

    code = "OD201"
    title = "unknown name `{name}`"
    label = "no hyper, flag, state or earlier line has this name"
    advice = "{choice}"
    name: str
    choice: str = ""


@dataclass(frozen=True, kw_only=True)
class IllegalName(Problem):
    """Names begin with a letter, hold letters, digits and `_`, and have at most 64 characters.

    Some are taken: `theta`, `g`, `t`, `E`, `inf`, the operators, the words of the language and those of
    Python (a compiled optimizer takes hyperparameters as keyword arguments).
    """

    code = "OD202"
    title = "`{name}` cannot be used as a name: it {reason}"
    label = "choose another name"
    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class AlreadyDeclared(Problem):
    """Hypers, flags, states and inputs share one set of names, and each is declared once."""

    code = "OD203"
    title = "`{name}` is declared twice"
    label = "declared again"
    name: str


@dataclass(frozen=True, kw_only=True)
class MissingIndex(Problem):
    """A state has an old and a new value, and a spec always says which one it means.

    `m[t-1]` is what the last step left, `m[t]` what this step has set. Mixing them up is the commonest
    mistake in hand-written optimizers, so neither is the default.
    """

    code = "OD204"
    title = "`{name}` needs a time index"
    label = "old or new value?"
    advice = "{choice}"
    name: str
    choice: str


@dataclass(frozen=True, kw_only=True)
class ReadBeforeSet(Problem):
    """Lines run from top to bottom, so a new value can be read only below the line that sets it."""

    code = "OD205"
    title = "`{name}` is read before it is set"
    label = "not set yet"
    advice = "{choice}"
    name: str
    choice: str


@dataclass(frozen=True, kw_only=True)
class NeedlessIndex(Problem):
    """Only `theta`, `g` and states change with time and carry an index."""

    code = "OD206"
    title = "`{name}` has no time index"
    label = "{what}"
    advice = "write `{name}`"
    name: str
    what: str


@dataclass(frozen=True, kw_only=True)
class SetTwice(Problem):
    """Every value is set by one line: a name means one thing in the whole step."""

    code = "OD207"
    title = "`{name}` is set twice"
    label = "set again"
    advice = "give the second value a name of its own"
    name: str


@dataclass(frozen=True, kw_only=True)
class CannotSet(Problem):
    """Hyperparameters, flags, inputs, `t` and old values are given; a line cannot set them."""

    code = "OD208"
    title = "`{name}` cannot be set by a line"
    label = "{what}"
    advice = "{choice}"
    choice: str = ""
    name: str
    what: str


@dataclass(frozen=True, kw_only=True)
class UnknownFunction(Problem):
    """`optdsl explain OD209` lists them: sqrt exp log abs sign cbrt sigmoid tanh cos sin floor (one
    argument), min max (two), clip(x, low, high), where(condition, x, y).
    """

    code = "OD209"
    title = "unknown function `{name}`"
    label = "not an operator of the language"
    advice = "{choice}"
    name: str
    choice: str = ""


@dataclass(frozen=True, kw_only=True)
class WrongArity(Problem):
    """An operator takes a fixed number of arguments, by position."""

    code = "OD210"
    title = "`{name}` takes {expected}, not {given}"
    label = "{given} given"
    name: str
    expected: str
    given: str


@dataclass(frozen=True, kw_only=True)
class NoSuchTime(Problem):
    """A step knows the old value `x[t-1]` and the new one `x[t]`; the future is never known."""

    code = "OD211"
    title = "`{name}[{index}]` cannot be read"
    label = "{reason}"
    advice = "{choice}"
    name: str
    index: str
    reason: str
    choice: str


@dataclass(frozen=True, kw_only=True)
class StateSetWithoutIndex(Problem):
    """A line that sets a state says so: `m[t] = ...`. Without the index it would be a second `m`."""

    code = "OD212"
    title = "the state `{name}` is set without its time index"
    label = "this would be a second `{name}`"
    advice = "write `{name}[t] = ...`"
    name: str


@dataclass(frozen=True, kw_only=True)
class UndeclaredState(Problem):
    """What is kept from step to step is declared, with its value at the start."""

    code = "OD213"
    title = "`{name}[t]` is set, but no state `{name}` is declared"
    label = "not a state"
    advice = "declare it above: `state {name}[0] = 0`; or write `{name} = ...` if it is not kept"
    name: str


@dataclass(frozen=True, kw_only=True)
class FirstStepCase(Problem):
    """`x[1] = ...` says what a state is after the first step, and `x[t] = ...`, below it, for every
    later one. Only step 1 can have a case of its own.
    """

    code = "OD214"
    title = "{reason}"
    label = "the case of one step"
    advice = "write `{name}[1] = ...` above `{name}[t] = ...`"
    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ParametersNotSet(Problem):
    """An optimizer says how the parameters change, in one line `theta[t] = ...`."""

    code = "OD215"
    title = "`{name}` never sets `theta[t]`"
    label = "this optimizer changes nothing"
    advice = "end with a line `theta[t] = theta[t-1] - ...`"
    name: str


@dataclass(frozen=True, kw_only=True)
class GradientPoint(Problem):
    """`g[t]` is taken once a step: at `theta[t-1]`, or where `g[t] = grad(...)` says.

    That point can use old values, hyperparameters and lines above, none of which may need `g[t]`; a gradient
    to find it with is another one, `h = grad(theta[t-1])`.
    """

    code = "OD216"
    title = "{reason}"
    label = "`g[t]` is taken once a step"
    advice = (
        "write `g[t] = grad(POINT)` on a line of its own, above the first use of g[t]; "
        "a gradient to find POINT with is `h = grad(theta[t-1])`, above that"
    )
    reason: str


@dataclass(frozen=True, kw_only=True)
class StateNotSet(Problem):
    """A state that no line sets stays what it was at the start: it is no state."""

    code = "OD217"
    title = "the state `{name}` is never set"
    label = "declared here"
    advice = "add a line `{name}[t] = ...`, or remove the declaration"
    name: str


@dataclass(frozen=True, kw_only=True)
class AliasClash(Problem):
    """`as` gives the name under which a framework keeps a thing; two things cannot share one."""

    code = "OD218"
    title = "the name `{alias}` after `as` {reason}"
    label = "not possible"
    alias: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class NotOfObjective(Problem):
    """An objective is a function of its variables and hyperparameters: it knows no time and no gradient.

    Its lines are values (`u = x + y^2`); the last word is `out = ...`, the value that is minimised.
    """

    code = "OD219"
    title = "{what} has no meaning in an objective"
    label = "an objective is a function of its variables"
    advice = "write `name = ...` for a value and `out = ...` for what is minimised"
    what: str


@dataclass(frozen=True, kw_only=True)
class ObjectiveIncomplete(Problem):
    """An objective names its variables, its value and where minimising begins:

    `objective Rosenbrock(x, y)`, a line `out = ...`, and a line `start x = -1.5, y = 2`.
    """

    code = "OD220"
    title = "{reason}"
    label = "{missing}"
    advice = "{choice}"
    reason: str
    missing: str
    choice: str


@dataclass(frozen=True, kw_only=True)
class NoSuchInput(Problem):
    """A step is given the gradient, and what is declared: `input loss`, `input hvp`. A number that is the
    same in every step is a hyperparameter.
    """

    code = "OD221"
    title = "a step is given no `{name}`"
    label = "not an input"
    advice = "there are {known}"
    name: str
    known: str


@dataclass(frozen=True, kw_only=True)
class OutputNotKept(Problem):
    """An output is worked out between steps, when a user asks for it: from theta and the states as the last
    step left them, hypers and flags.
    """

    code = "OD222"
    title = "the output `{name}` cannot be worked out between steps: {reason}"
    label = "read when no step is being taken"
    advice = "make it of theta[t], states with [t], hypers and flags; what else it needs, keep as a state"
    name: str
    reason: str


# --- OD3xx: kinds and shapes ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class WrongKind(Problem):
    """Numbers and conditions are different things: `if` tests a condition, arithmetic takes numbers."""

    code = "OD301"
    title = "expected a {expected}, found a {found}"
    label = "this is a {found}"
    advice = "{choice}"
    expected: str
    found: str
    choice: str


@dataclass(frozen=True, kw_only=True)
class ShapeClash(Problem):
    """A quantity has one value per step, or one per element of every parameter.

    What depends on `theta` or `g[t]` has one per element; hyperparameters, `t` and what follows from
    them have one per step. Where one value is needed, an array cannot stand.
    """

    code = "OD302"
    title = "{reason}"
    label = "{found}"
    advice = "{choice}"
    reason: str
    found: str
    choice: str


@dataclass(frozen=True, kw_only=True)
class NothingToReduce(Problem):
    """`norm`, `sum`, `mean` and `dot` make one number of the elements of a tensor, or of all parameters.

    What has one value per step or per tensor already has nothing to be reduced. `norm(x)` is of each
    tensor on its own, `norm(x over all)` of all parameters that are stepped together. A tensor is also a
    batch of matrices in its last two dimensions: `mean(x over cols)` is along each row, and has one value
    per row; `mean(x over rows)` is down each column. What has one value per row is reduced over rows.
    """

    code = "OD303"
    title = "nothing to reduce in `{name}(...)`"
    label = "this has one value{per} already"
    advice = "{choice}"
    per: str
    choice: str
    name: str


@dataclass(frozen=True, kw_only=True)
class SetInABranch(Problem):
    """What one branch of a `when` block sets is known in that branch alone.

    For tensors of another rank it has no value. To read it behind the block, set it in both branches.
    """

    code = "OD304"
    title = "`{name}` is set in one branch of a `when` block only"
    label = "for some tensors this has no value"
    advice = "set `{name}` in both branches, or read it in the branch that sets it"
    name: str


# --- OD4xx: numbers and domains ------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DefaultOutsideDomain(Problem):
    """The default of a hyperparameter must lie in its own domain; an end with a round bracket is out."""

    code = "OD401"
    title = "the default of `{name}` is outside of its domain {domain}"
    label = "{value} is not in {domain}"
    name: str
    value: str
    domain: str


@dataclass(frozen=True, kw_only=True)
class EmptyDomain(Problem):
    """A domain is an interval with its lower end first. Infinite ends take a round bracket."""

    code = "OD402"
    title = "the domain {domain} {reason}"
    label = "not an interval"
    domain: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class NotConstant(Problem):
    """Defaults and the ends of domains are constants: numbers, and arithmetic on numbers."""

    code = "OD403"
    title = "{what} must be a constant"
    label = "not known before the optimizer runs"
    advice = "{choice}"
    what: str
    choice: str = ""


@dataclass(frozen=True, kw_only=True)
class NumberOutOfRange(Problem):
    """Numbers are float64 when they run: at most 40 digits, and between 1e-307 and 1e308 in size."""

    code = "OD404"
    title = "the number `{text}` {reason}"
    label = "not a float64"
    text: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ConstantOverflow(Problem):
    """An expression of numbers alone must have a finite value."""

    code = "OD405"
    title = "this constant has no finite value"
    label = "{reason}"
    reason: str


@dataclass(frozen=True, kw_only=True)
class NoDomain(Problem):
    """A hyperparameter should say which values make sense: they are checked when the optimizer is used,
    and everything that is proved about a spec is proved for them.
    """

    code = "OD406"
    severity = Severity.WARNING
    title = "the hyperparameter `{name}` has no domain"
    label = "any number is accepted"
    advice = "add one, for example `in [0, inf)`"
    name: str


# --- OD5xx: unused -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class StateNotRead(Problem):
    """A state that never reaches `theta` costs memory and does nothing: often a sign that a formula
    reads the wrong name.
    """

    code = "OD501"
    title = "the state `{name}` has no influence on the parameters"
    label = "kept for nothing"
    name: str


@dataclass(frozen=True, kw_only=True)
class Unused(Problem):
    """A hyperparameter, flag, input or value that never reaches `theta` does nothing; in an objective, a
    variable, hyperparameter or value that never reaches `out`.
    """

    code = "OD502"
    severity = Severity.WARNING
    title = "the {what} `{name}` has no influence on {target}"
    label = "never used"
    what: str
    name: str
    target: str = "the parameters"


@dataclass(frozen=True, kw_only=True)
class GradientNotRead(Problem):
    """An optimizer that never reads `g[t]` does not optimize."""

    code = "OD503"
    severity = Severity.WARNING
    title = "`{name}` never uses the gradient g[t]"
    label = "the parameters move without it"
    name: str


# --- OD8xx: not compiled yet ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class NotYet(Problem):
    """The language has this, and the compiler does not yet: it is refused rather than half done."""

    code = "OD801"
    title = "{what} cannot be compiled yet"
    label = "understood, but not compiled by this version"
    what: str


@dataclass(frozen=True, kw_only=True)
class OneOptimizer(Problem):
    """Today a file defines one optimizer."""

    code = "OD802"
    title = "a file holds one definition"
    label = "a second definition"
    advice = "move it to a file of its own"


@dataclass(frozen=True, kw_only=True)
class TooManyFlags(Problem):
    """Every combination of the flags gets kernels of its own: at most {limit} flags, 16 combinations."""

    code = "OD803"
    title = "{count} flags make too many variants to compile"
    label = "one flag too many"
    advice = "at most {limit} flags: turn some into hyperparameters, or write two specs"
    count: int
    limit: int


@dataclass(frozen=True, kw_only=True)
class NotAnOptimizer(Problem):
    """Kernels are made from optimizers. An objective is what they minimise: it can be checked and
    explained, and `optdsl.load(NAME).objective` gives its value and gradient in Python.
    """

    code = "OD804"
    title = "`{name}` is an objective: there is no optimizer to compile"
    label = "not an optimizer"
    advice = (
        "use `optdsl check` and `optdsl explain`; in Python, `optdsl.load(...).objective.gradient(point)`"
    )
    name: str
