"""What a user may choose about how states and parameters are kept, and which kernels that means."""

from dataclasses import dataclass

from optdsl.kernel.ir import ALONE_IN_16_BITS, BY_BLOCKS, Precision, Type

EIGHT = "8bit"
_THETA = {"nearest": Type.BF16, "sr": Type.BF16, "kahan": Type.PAIR, "extra16": Type.SPLIT}
PARAMETERS = tuple(_THETA)
"""How bfloat16 parameters are rounded: to nearest, at random ("stochastic rounding"); with what rounding left
over kept as another bfloat16 (Kahan's sum), or with the 16 more bits that make a float32 of it.
"""


@dataclass(frozen=True)
class Storing:
    """kept: the types of states that do not have the parameter's; parameters: one of `PARAMETERS`, or ""."""

    kept: tuple[tuple[str, Type], ...] = ()
    parameters: str = ""

    def precisions(self, mode: str) -> dict[str, Precision]:
        """By the dtype of the parameters."""
        found = {
            "float32": Precision(mode, Type.F32, self.kept),
            "float64": Precision(mode, Type.F64, self.kept),
        }
        if self.parameters:
            theta = _THETA[self.parameters]
            found["bfloat16"] = Precision(mode, Type.F32, self.kept, theta, self.parameters == "sr")
        return found

    @property
    def options(self) -> list[str]:
        """What asks the command line for it."""
        states = [f"--state {name}={_WORDS[type_][0]}" for name, type_ in self.kept]
        return states + ([f"--param-store {self.parameters}"] if self.parameters else [])

    def words(self) -> list[str]:
        states = [f"{name} is kept in {_WORDS[type_][1]}" for name, type_ in self.kept]
        return states + ([f"bfloat16 parameters {_THETA_WORDS[self.parameters]}"] if self.parameters else [])


_WORDS = {
    Type.F32: ("f32", "float32"),
    Type.BF16: ("bf16", "bfloat16, rounded at random"),
    Type.F16: ("f16", "float16, rounded at random"),
    Type.P16: ("f16", "float16, rounded at random, but not to 0"),
    Type.S8: (EIGHT, "8 bits with a sign and a scale for 256 of them, rounded at random"),
    Type.U8: (EIGHT, "8 bits without a sign and a scale for 256 of them, rounded at random, but not to 0"),
}
_THETA_WORDS = {
    "nearest": "are rounded to nearest",
    "sr": "are rounded at random",
    "kahan": "have what rounding leaves over in another bfloat16",
    "extra16": "have the 16 bits that a float32 has more in another state",
}
PLAIN = Storing()


_BITS = {
    Type.F64: 64,
    **dict.fromkeys((*ALONE_IN_16_BITS, Type.LOW), 16),
    **dict.fromkeys(BY_BLOCKS, 8 + 32 / 256),
}


def bits(type_: Type) -> float:
    """Of memory for each element, with the scale or the other half that goes with it."""
    return _BITS.get(type_, 32)
