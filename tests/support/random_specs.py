"""Expressions that nobody would write, and numbers that nobody expects."""

import math

from hypothesis import strategies as st

SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    math.inf,
    -math.inf,
    math.nan,
    1e-42,
    -1e-42,
    1e-30,
    3e38,
    -3e38,
    1e20,
    5e-324,
]

LEAVES = st.sampled_from(
    ["theta[t-1]", "g[t]", "m[t-1]", "lr", "beta1", "2", "0.5", "1e-3", "t", "1/(1 - beta1^t)"]
)


def _grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, inner)
    return st.one_of(
        two.map(lambda x: f"({x[0]} + {x[1]})"),
        two.map(lambda x: f"({x[0]} - {x[1]})"),
        two.map(lambda x: f"({x[0]}*{x[1]})"),
        two.map(lambda x: f"({x[0]} / (abs({x[1]}) + 1))"),
        two.map(lambda x: f"max({x[0]}, {x[1]})"),
        two.map(lambda x: f"min({x[0]}, {x[1]})"),
        inner.map(lambda x: f"sqrt(abs({x}))"),
        inner.map(lambda x: f"sign({x})"),
        inner.map(lambda x: f"({x})^2"),
        inner.map(lambda x: f"({x})^3"),
        inner.map(lambda x: f"tanh({x})"),
        inner.map(lambda x: f"sigmoid({x})"),
        inner.map(lambda x: f"cbrt({x})"),
        inner.map(lambda x: f"floor({x})"),
        inner.map(lambda x: f"clip({x}, -1, lr)"),
        st.tuples(inner, inner, inner).map(lambda x: f"(if {x[0]} > {x[1]} then {x[2]} else -{x[0]})"),
        st.tuples(inner, inner).map(
            lambda x: f"(if t > 2 and not lr == 1 or beta1 < 0 then {x[0]} else {x[1]})"
        ),
    )


RANDOM = st.recursive(LEAVES, _grow, max_leaves=8)
