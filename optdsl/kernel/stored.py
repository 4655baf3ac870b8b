"""What is kept in other types than it is computed in: which buffers, what more they take, how it is rounded.

In: an optimizer and a `Precision`. Out: `Stored`, for lowering and for what is said about a module. Assumes
that `optdsl.storing` has nothing against it. NOT done: rounding itself (`portable.formats`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from optdsl.kernel.ir import BY_BLOCKS, PARAMETER, WITH_MORE, Cast, Kernel, Precision, Store, Type
from optdsl.language.inputs import drawn, inputs_by_shape
from optdsl.language.optimizer import Optimizer

_MORE = {Type.S8: "scale", Type.U8: "scale", Type.PAIR: "rest", Type.SPLIT: "low"}


@dataclass(frozen=True)
class Stored:
    """types: of buffers that are not of the type of the parameters; more: the buffers of what some of them
    do not hold, by these; dithered: what is rounded at random.
    """

    optimizer: Optimizer
    precision: Precision
    types: dict[str, Type] = field(init=False)
    more: dict[str, str] = field(init=False)
    dithered: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        precision = self.precision
        here = {state.name for state in self.optimizer.states}  # with these flags
        kept = [(name, type_) for name, type_ in precision.kept if name in here]
        types = dict(kept)
        if precision.theta is not None:
            types["theta"] = precision.theta
            given = (name for name in inputs_by_shape(self.optimizer.inputs)[1] if drawn(name) is None)
            types |= dict.fromkeys(("g", *given), Type.BF16)
        # No name of a spec holds a dot.
        more = {name: f"{name}.{_MORE[type_]}" for name, type_ in types.items() if type_ in WITH_MORE}
        types |= {more[name]: WITH_MORE[types[name]] for name in more}
        rounded = {name for name, type_ in kept if type_ is not Type.F32}
        object.__setattr__(self, "types", types)
        object.__setattr__(self, "more", more)
        object.__setattr__(
            self, "dithered", frozenset(rounded | ({"theta"} if precision.dithered else set()))
        )

    def columns(self, arrays: Sequence[str]) -> tuple[str, ...]:
        """Behind the states: what they do not hold, inputs, and last what only some dtypes of parameters
        have, so that the others' kernels have the same columns without it.
        """
        of_states = (more for name, more in self.more.items() if name != "theta")
        of_theta = (more for name, more in self.more.items() if name == "theta")
        return (*of_states, *arrays, *((PARAMETER,) if self.dithers else ()), *of_theta)

    @property
    def dithers(self) -> bool:
        return bool(self.dithered)


def shared_bits(kernel: Kernel) -> dict[str, int]:
    """A number for each buffer that is rounded at random: two after one another share 32 random bits.

    Numbers of 8 bits are rounded in a loop of their own, and share none with others.
    """
    stores = [stmt for stmt in kernel.phases[0].body if isinstance(stmt, Store)]
    found = [stmt for stmt in stores if isinstance(stmt.value, Cast) and stmt.value.at is not None]
    in_blocks = [stmt.buffer for stmt in found if kernel.buffer(stmt.buffer).type in BY_BLOCKS]
    others = [stmt.buffer for stmt in found if stmt.buffer not in in_blocks]
    first = len(others) + len(others) % 2
    return {name: number for number, name in enumerate(others)} | {
        name: number for number, name in enumerate(in_blocks, first)
    }
