"""The rows of a generated module's table about what is kept in other types than it is computed in."""

from optdsl.emit.options import number
from optdsl.kernel.ir import BY_BLOCKS, Type
from optdsl.kernel.stored import Stored
from optdsl.language.optimizer import Number, Optimizer, Ref, Role, State

DTYPES = {Type.F32: "float32", Type.BF16: "bfloat16", Type.F16: "float16", Type.P16: "float16",
          Type.S8: "s8", Type.U8: "u8", Type.LOW: "bfloat16"}  # fmt: skip
"""How the table calls them: torch's dtypes, and two kinds of 8 bits. Bits that are no number are held as
bfloat16, since collectives know no integers of 16 bits.
"""


def initial_text(state: State) -> str:
    match state.initial:
        case Number(value=value):
            return number(value)
        case Ref(role=Role.HYPER, name=name):
            return f'"{name}"'
        case _:
            return "THETA_0"


def more_rows(optimizer: Optimizer, stored: Stored) -> list[str]:
    """States for what other buffers do not hold, those of the parameter only where it is a bfloat16."""
    keys = {state.name: state.alias or state.name for state in optimizer.states} | {"theta": "param"}
    initial = {state.name: initial_text(state) for state in optimizer.states}
    rows = []
    for name, more in stored.more.items():
        key = f"{keys[name]}_{more.rpartition('.')[2]}"
        dtype = DTYPES[stored.types[more]]
        blocks = stored.types[name] in BY_BLOCKS
        where = f', per="blocks", dtype="{dtype}"' if blocks else f', dtype="{dtype}", of="bfloat16"'
        rows.append(f'State("{more}", key="{key}", initial={initial.get(name, "0.0")}{where})')
    return rows
