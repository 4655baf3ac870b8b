"""What is wrong with compositions and their parts, worded once: OD9xx. See `catalogue`."""

from dataclasses import dataclass

from optdsl.diagnostics.model import Problem, Severity


@dataclass(frozen=True, kw_only=True)
class UnknownPart(Problem):
    """A part of a composition is a definition above it in the same file, or a spec of the library.

    `ClipByValue` is written `clip_by_value` or `ClipByValue`. `optdsl list` shows the library.
    """

    code = "OD901"
    title = "there is no part `{name}`"
    label = "neither above in this file nor in the library"
    advice = "`optdsl list` shows the transforms, schedules, wrappers and optimizers there are"
    name: str


@dataclass(frozen=True, kw_only=True)
class WrongPlace(Problem):
    """A composition is read from left to right: transforms of the gradient, one optimizer, then transforms
    of its step and wrappers around it. Schedules stand in the place of a number:

        clip_by_value(1) | adamw(lr = cosine(3e-4, 1000)) | lookahead
    """

    code = "OD902"
    title = "{reason}"
    label = "{here}"
    advice = "{choice}"
    reason: str
    here: str
    choice: str


@dataclass(frozen=True, kw_only=True)
class BadArgument(Problem):
    """Arguments replace the defaults of a part: by position in the order of its hyperparameters, or by
    name (the spec's or the framework's); flags by name, with true or false. Each is given once, and is a
    number or, for a hyperparameter, a schedule.
    """

    code = "OD903"
    title = "{reason}"
    label = "{here}"
    advice = "{choice}"
    reason: str
    here: str
    choice: str


@dataclass(frozen=True, kw_only=True)
class ArgumentOutsideDomain(Problem):
    """An argument has to lie in the domain of the hyperparameter that it is for."""

    code = "OD904"
    title = "{name} = {value} is outside its domain {domain}"
    label = "outside {domain}"
    name: str
    value: str
    domain: str


@dataclass(frozen=True, kw_only=True)
class PartOfItself(Problem):
    """A composition is made of parts that are defined above it, so none can hold itself."""

    code = "OD905"
    title = "`{name}` would be a part of itself"
    label = "defined by itself, or further down"
    advice = "give the composition another name, or define `{name}` above it"
    name: str


@dataclass(frozen=True, kw_only=True)
class NotOnItsOwn(Problem):
    """Transforms, schedules and wrappers are compiled together with the optimizer that they are a part of.
    On their own they can be checked, shown and explained.
    """

    code = "OD906"
    title = "`{name}` is a {kind}: on its own there is nothing to compile"
    label = "a part of an optimizer"
    advice = 'put it together with an optimizer: `optdsl compile "{example}"`'
    name: str
    kind: str
    example: str


@dataclass(frozen=True, kw_only=True)
class NotOfPart(Problem):
    """A schedule knows hyperparameters, flags and `t`; a transform besides that `g[t]` (what comes in),
    `theta[t-1]` and states of its own. Both end in `out = ...`, and leave moving the parameters to an
    optimizer; only a wrapper is around one.
    """

    code = "OD907"
    title = "a {kind} cannot have {what}"
    label = "not in a {kind}"
    kind: str
    what: str


@dataclass(frozen=True, kw_only=True)
class NoValue(Problem):
    """A transform says what it makes of the gradient, a schedule what its value is: in a line `out = ...`."""

    code = "OD908"
    title = "the {kind} `{name}` gives nothing"
    label = "what comes out?"
    advice = "end with a line `{value} = ...`"
    kind: str
    name: str
    value: str


@dataclass(frozen=True, kw_only=True)
class OneInner(Problem):
    """A wrapper names the optimizer that it is around: `wrapper Lookahead(inner)`."""

    code = "OD909"
    title = "the wrapper `{name}` is around one optimizer"
    label = "one name, in round brackets"
    advice = "write `wrapper {name}(inner)`, and `fast = inner(theta[t-1])` in a line"
    name: str


@dataclass(frozen=True, kw_only=True)
class UnusedPart(Problem):
    """A file that ends with a composition defines that and its parts, and nothing else."""

    code = "OD910"
    severity = Severity.WARNING
    title = "`{name}` is no part of the composition"
    label = "not used"
    name: str


@dataclass(frozen=True, kw_only=True)
class TooManyParts(Problem):
    """A composition has at most {limit} parts, with some hundred lines in all: more than can be read."""

    code = "OD911"
    title = "`{name}` is made of too many parts"
    label = "too many"
    advice = "at most {limit} parts: write what they are together as a part of its own"
    name: str
    limit: int


@dataclass(frozen=True, kw_only=True)
class OnlyClaims(Problem):
    """Below `optimizer Mine = clip_by_value | adamw` stand claims about the whole, in its names (`optdsl
    explain` prints them), or the next definition. Lines belong to a part.
    """

    code = "OD912"
    title = "a composition has no lines of its own"
    label = "only claims stand here"
    advice = (
        "write it into a transform or a wrapper above; a hyperparameter is given to a part: `adamw(lr = 0.1)`"
    )


@dataclass(frozen=True, kw_only=True)
class TwoSeeds(Problem):
    """What is drawn is a function of the seed and of the call: the parts of a composition draw numbers of
    their own from one seed, which users may set, `seed=0`.
    """

    code = "OD913"
    title = "a composition has one seed, and this is another"
    label = "{seed} here"
    advice = "leave one of the two out: parts draw numbers of their own from the same seed"
    seed: str
