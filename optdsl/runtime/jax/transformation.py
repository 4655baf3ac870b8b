"""What generated modules for optax are made of: a table, and a pure `GradientTransformationExtraArgs`.

In: the functions of a spec (`backends/jnp.py`) and its options, which may be numbers, JAX arrays that are
traced, or schedules (functions of optax's count). Out: `init` and `update` without side effects, which can be
compiled, mapped, scanned and differentiated. State is kept in the dtype of the parameters, as optax does, but
as float32 for those of 16 bits, which are stepped in float32 and rounded at the end.

`update` needs the parameters, and returns their new values less the old, to be added by
`optax.apply_updates`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optdsl.runtime.hypers import chosen
from optdsl.runtime.jax.jnp_step import JaxVariant, Leaf, drawn, stepped, viewed
from optdsl.runtime.layout import (
    FIRST_GRADIENT,
    OPTAX_INPUTS,
    THETA_0,
    Flag,
    Hyper,
    Input,
    State,
    check_dimensions,
    choices,
)

LOSS = OPTAX_INPUTS["loss"]


@dataclass(frozen=True)
class JaxLayout:
    """`variants` by the values of the flags, in the order of `flags`; `views` by name."""

    name: str
    hypers: tuple[Hyper, ...]
    flags: tuple[Flag, ...]
    variants: Mapping[tuple[bool, ...], JaxVariant]
    inputs: tuple[Input, ...] = ()
    views: tuple[str, ...] = ()


class OptdslState(NamedTuple):
    """`count`: steps taken; `states` and `numbers` by key, each in the structure of the parameters.

    Where leaves of other ranks keep something else, there is an array without elements.
    """

    count: Any
    states: dict[str, Any]
    numbers: dict[str, Any]


class Transformation(optax.GradientTransformationExtraArgs):  # type: ignore[misc]
    """An optax transformation that knows more functions of its state and the parameters.

    step(params, state, gradients)   the new parameters and state; as `update` and `optax.apply_updates`,
                                 but rounded once. `jax.jit(tx.step, donate_argnums=(0, 1))` works in place
    query(state, params)         where the next gradient is to be taken: `params` itself for most specs; for
                                 the others `update(gradient, state, params, at=point)` has to be told that
                                 the gradient is from there. A step of two gradients needs the one at the
                                 parameters for both, as `first_gradient=`
    view(state, params, name)    the parameters to evaluate with; `name` may be left out where there is one
    """

    step: Callable[..., Any]
    query: Callable[..., Any]
    view: Callable[..., Any]

    functions: "Functions"


def transformation(layout: JaxLayout, given: Mapping[str, Any], maximize: bool) -> Transformation:
    """Raises `ValueError` for a number outside of its domain, and `TypeError` for a flag that is traced."""
    made = Functions(layout, given, maximize)
    new = Transformation(made.init, made.update)
    new.step, new.query, new.view, new.functions = made.step, made.query, made.view, made
    return new


class Functions:
    """`init`, `update`, `step`, `query` and `view` for one choice of options.

    `kernels`: what steps leaves instead of jax.numpy, if anything (`jax_kernels.KernelStep`).
    """

    kernels: Any = None

    def __init__(self, layout: JaxLayout, given: Mapping[str, Any], maximize: bool) -> None:
        self.layout = layout
        self.hypers = [_value(hyper, given[hyper.option]) for hyper in layout.hypers]
        for hyper, value in zip(layout.hypers, self.hypers, strict=True):
            if isinstance(value, int | float) and not hyper.contains(float(value)):
                raise ValueError(f"Invalid {hyper.name} value: {value}")
        flags = tuple(_flag(flag, given[flag.option], layout) for flag in layout.flags)
        if any(not isinstance(flag, bool) for flag in flags):
            raise TypeError(f"the switches of {layout.name} are True or False, and cannot be traced")
        self.flags = flags
        self.variant = layout.variants[flags]
        self.variants = [each for each in (self.variant, self.variant.below) if each is not None]
        self.direction = -1.0 if maximize else 1.0

    def init(self, params: Any) -> OptdslState:
        for p in jax.tree.leaves(params):
            check_dimensions(self.layout.name, self.variant, jnp.shape(p))
        start = dict(zip((hyper.name for hyper in self.layout.hypers), self._hypers_at(0), strict=True))
        states, numbers = {}, {}
        for spec in self._states():
            states[spec.key] = jax.tree.map(lambda p, spec=spec: self._initial(spec, start, p), params)
        for spec in self._numbers():
            numbers[spec.key] = jax.tree.map(lambda p, spec=spec: self._number(spec, start, p), params)
        return OptdslState(jnp.zeros([], jnp.int32), states, numbers)

    def update(
        self, updates: Any, state: OptdslState, params: Any = None, *, at: Any = None, **given: Any
    ) -> tuple[Any, OptdslState]:
        new, state = self._stepped(params, state, updates, at, given)
        return jax.tree.map(lambda x, p: (x - _wide(p)).astype(jnp.result_type(p)), new, params), state

    def step(
        self, params: Any, state: OptdslState, updates: Any, *, at: Any = None, **given: Any
    ) -> tuple[Any, OptdslState]:
        """The new parameters themselves; what is donated first comes back first."""
        new, state = self._stepped(params, state, updates, at, given)
        return _as_before(new, params), state

    def _stepped(
        self, params: Any, state: OptdslState, updates: Any, at: Any, given: dict[str, Any]
    ) -> tuple[Any, OptdslState]:
        """The new parameters before they are rounded to 16 bits, where they have as many."""
        if params is None:
            raise ValueError(f"{self.layout.name} needs the parameters: update(gradients, state, params)")
        if self.variant.query is not None and at is None:
            raise TypeError(
                f"{self.layout.name} takes its gradient at another point than the parameters: "
                "point = tx.query(state, params), the gradient there, and "
                "update(gradient, state, params, at=point)"
            )
        loss = [self._loss(given) for each in self.layout.inputs if not each.per_element]
        if self.variant.query is None:
            given = {OPTAX_INPUTS[FIRST_GRADIENT]: updates} | given
        trees = {name: self._tree(name, given) for name in self._asked()}
        leaves, structure = self._leaves(state, params, self._hypers_at(state.count) + loss, state.count + 1)
        for name, tree in {"gradient": updates, **trees}.items():
            self._place(name, tree, leaves, params)
        self._move(leaves, state)
        new = structure.unflatten([leaf.arrays[0] for leaf in leaves])
        return new, self._kept(state, leaves, structure)

    def query(self, state: OptdslState, params: Any, *, first_gradient: Any = None) -> Any:
        """Where the gradient of the next step is taken."""
        if self.variant.query is None:
            return params
        leaves, structure = self._leaves(state, params, self._hypers_at(state.count), state.count + 1)
        for name in self._asked():  # what else is asked for is not known before the gradient, nor read
            first = {OPTAX_INPUTS[FIRST_GRADIENT]: first_gradient}
            tree = self._tree(name, first) if name == FIRST_GRADIENT else params
            self._place(name, tree, leaves, params)
        self._move(leaves, state, query=True)
        return _as_before(structure.unflatten([leaf.arrays[0] for leaf in leaves]), params)

    def view(self, state: OptdslState, params: Any, name: str | None = None) -> Any:
        """The second view of that name, as the last step has left it; before the first, the parameters.

        Raises `ValueError` for a name that is none.
        """
        views = self.layout.views
        if name is None and len(views) == 1:
            (name,) = views
        if name not in views:
            there = f"it has {', '.join(views)}" if views else "it has none"
            raise ValueError(f"{self.layout.name} has no view {name!r} of its parameters; {there}")
        last = jnp.maximum(state.count - 1, 0)
        leaves, structure = self._leaves(state, params, self._hypers_at(last), last + 1)
        shown = [viewed(leaf, leaf.variant.views[views.index(name)]) for leaf in leaves]
        # A state that has not been stepped shows nothing, as in the other frameworks.
        began = state.count > 0
        kept = [bool(leaf.variant.states or leaf.variant.numbers) for leaf in leaves]
        seen = [
            jnp.where(began, x, leaf.arrays[0]) if keeps else x
            for x, leaf, keeps in zip(shown, leaves, kept, strict=True)
        ]
        return _as_before(structure.unflatten(seen), params)

    # --- what goes in ---

    def _hypers_at(self, count: Any) -> list[Any]:
        return [value(count) if callable(value) else value for value in self.hypers]

    def _states(self) -> list[State]:
        return list({spec.key: spec for each in self.variants for spec in each.states}.values())

    def _numbers(self) -> list[State]:
        return list({spec.key: spec for each in self.variants for spec in each.numbers}.values())

    def _initial(self, spec: State, hypers: Mapping[str, Any], p: Any) -> Any:
        p = _wide(p)
        if spec not in self.variant.of_rank(p.ndim).states:
            return jnp.zeros((0,), p.dtype)
        if spec.initial == THETA_0:
            return jnp.array(p)
        shape = spec.shape(p.shape, ())
        value = _start(spec, hypers)
        return jnp.full_like(p, value) if shape == p.shape else jnp.full(shape, value, p.dtype)

    def _number(self, spec: State, hypers: Mapping[str, Any], p: Any) -> Any:
        p = _wide(p)
        if spec not in self.variant.of_rank(p.ndim).numbers:
            return jnp.zeros((0,), p.dtype)
        return jnp.asarray(_start(spec, hypers), jnp.result_type(p))

    def _loss(self, given: Mapping[str, Any]) -> Any:
        value = given.get(LOSS)
        if value is None:
            how = f"update(gradients, state, params, {LOSS}=loss)"
            raise TypeError(f"{self.layout.name} reads the loss of every step: {how}")
        value = jnp.asarray(value)
        if value.size != 1 or jnp.iscomplexobj(value):
            raise TypeError(f"{LOSS} must be one real number, and is of {value.dtype}{value.shape}")
        return value.reshape(())

    def _asked(self) -> list[str]:
        """The inputs with a value per element that `update` is given."""
        every = (each for each in self.layout.inputs if each.per_element)
        return [each.name for each in every if not each.made or each.name == FIRST_GRADIENT]

    def _tree(self, name: str, given: Mapping[str, Any]) -> Any:
        word = OPTAX_INPUTS.get(name, name)
        if given.get(word) is not None:
            return given[word]
        if name == FIRST_GRADIENT:
            raise TypeError(
                f"{self.layout.name} takes two gradients in a step: g = gradient(params), "
                "point = tx.query(state, params, first_gradient=g), and "
                "update(gradient(point), state, params, at=point, first_gradient=g)"
            )
        raise TypeError(
            f"{self.layout.name} reads the {word} of every step: "
            f"update(gradients, state, params, {word}=tree), in the structure of the parameters"
        )

    def _leaves(self, state: OptdslState, params: Any, row: list[Any], now: Any) -> tuple[list[Leaf], Any]:
        """The leaves of the parameters, with their states and without gradients."""
        theta: list[Any]
        structure: Any
        theta, structure = jax.tree.flatten(params)
        now = jnp.asarray(now, jnp.result_type(float))
        states = {key: structure.flatten_up_to(tree) for key, tree in state.states.items()}
        numbers = {key: structure.flatten_up_to(tree) for key, tree in state.numbers.items()}
        leaves = []
        for i, p in enumerate(map(_wide, theta)):
            variant = self.variant.of_rank(p.ndim)
            arrays = [p, p, *(states[spec.key][i] for spec in variant.states)]
            own = [numbers[spec.key][i] for spec in variant.numbers]
            leaves.append(Leaf(variant, arrays, list(row), own, now, self.direction))
        return leaves, structure

    def _place(self, name: str, tree: Any, leaves: list[Leaf], params: Any) -> None:
        """Puts a gradient, or an input with one value per element, into every leaf.

        Under `optax.masked` the parameters have holes where gradients have them, too, and inputs may not.
        """
        paths: list[Any]
        structure: Any
        paths, structure = jax.tree_util.tree_flatten_with_path(params, is_leaf=_is_hole)
        try:
            found = structure.flatten_up_to(tree)
        except ValueError as error:
            raise ValueError(f"the {name} must have the structure of the parameters: {error}") from None
        given = ((path, p, x) for (path, p), x in zip(paths, found, strict=True) if not _is_hole(p))
        for leaf, (path, p, x) in zip(leaves, given, strict=True):
            if jnp.shape(x) != jnp.shape(p):
                where = f"params{jax.tree_util.keystr(path)}"
                raise ValueError(f"the {name} of {where} has shape {jnp.shape(x)}, and it {jnp.shape(p)}")
            if name == "gradient":
                leaf.arrays[1] = _wide(x)
            else:
                leaf.arrays.append(_wide(x))

    def _move(self, leaves: list[Leaf], state: OptdslState, *, query: bool = False) -> None:
        """The step itself; `query`: of the parameters alone, to where the gradient is taken."""
        if self.kernels is not None:
            self.kernels.stepped(leaves, state.count, query=query)
            return
        for place, leaf in enumerate(leaves):
            if query:
                assert leaf.variant.query is not None
                leaf.variant = leaf.variant.query
            leaf.arrays += drawn(leaf, state.count + 1, place)  # behind all inputs
        stepped(leaves)

    # --- what comes out ---

    def _kept(self, state: OptdslState, leaves: list[Leaf], structure: Any) -> OptdslState:
        states = {key: structure.flatten_up_to(tree) for key, tree in state.states.items()}
        numbers = {key: structure.flatten_up_to(tree) for key, tree in state.numbers.items()}
        for i, leaf in enumerate(leaves):
            for place, spec in enumerate(leaf.variant.states, start=2):
                states[spec.key][i] = leaf.arrays[place]
            for spec, value in zip(leaf.variant.numbers, leaf.numbers, strict=True):
                numbers[spec.key][i] = value
        return OptdslState(
            optax.safe_increment(state.count),
            {key: structure.unflatten(each) for key, each in states.items()},
            {key: structure.unflatten(each) for key, each in numbers.items()},
        )


def _flag(flag: Flag, option: Any, layout: JaxLayout) -> Any:
    words = choices(layout.flags).get(flag.option)
    return option if words is None else chosen(option, flag, words, layout.name)


def _wide(x: Any) -> Any:
    """As an array, in which 16 bits are float32; so are the states of such parameters."""
    x = jnp.asarray(x)
    return x.astype(jnp.float32) if x.dtype in (jnp.float16, jnp.bfloat16) else x


def _as_before(new: Any, params: Any) -> Any:
    return jax.tree.map(lambda x, p: x.astype(jnp.result_type(p)), new, params)


def _is_hole(x: Any) -> bool:
    return isinstance(x, optax.MaskedNode)


def _value(hyper: Hyper, option: Any) -> Any:
    return option if hyper.index is None else option[hyper.index]


def _start(spec: State, hypers: Mapping[str, Any]) -> Any:
    return hypers[spec.initial] if isinstance(spec.initial, str) else spec.initial
