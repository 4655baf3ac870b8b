"""The rows of a generated module's table that are about what is remembered."""

from dataclasses import dataclass

from optdsl.kernel.stage_facts import Ring

Pairs = tuple[tuple[str, str], ...]  # (prologue, function) for each dtype of parameters


@dataclass(frozen=True)
class PastFacts:
    """A stage of loops over what is remembered: its functions, and the buffers of what it takes and makes;
    what is remembered for each dtype.
    """

    key: str
    functions: Pairs
    scalar_count: int
    rings: tuple[list[Ring], ...]
    given: list[int]
    writes: list[int]
    per_tensor: bool


def recursion_text(past: PastFacts, place: int) -> str:
    """`place`: 0 for float32, 1 for float64."""
    rings = "".join(f"{ring_text(ring)}, " for ring in past.rings[place]).rstrip()
    parts = f"({rings})", _numbers(past.given), _numbers(past.writes), str(past.per_tensor)
    head = f'"{past.key}", ({", ".join(past.functions[place])}), {past.scalar_count}'
    return f"Recursion({head}, {', '.join(parts)})"


def ring_text(ring: Ring) -> str:
    new, state, width, kept = ring
    return f"Ring({new}, {state}, {width}, Length{kept})"


def _numbers(found: list[int]) -> str:
    return f"({', '.join(map(str, found))}{',' if len(found) == 1 else ''})"
