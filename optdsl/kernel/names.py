"""Names inside a kernel: those of the spec, kept apart from those that generated code needs itself."""

import builtins
import keyword
from collections.abc import Iterable

# What generated modules say besides the spec's names.
GENERATED = frozenset(
    "math kernel prologue f32 f64 f32_bytes f64_bytes read_f32 read_f64 write_f32 write_f64 "
    "maximum minimum sign cbrt sigmoid where power modulo floor "
    "addresses chunks chunk first last scalars tensor start size row offset i hypers states t direction "
    "now arrays numbers both either neither one_less_power total total_of_rows total_of_columns "
    "largest_of_rows largest_of_columns sqrt exp log tanh cos sin "
    "vector_cbrt vector_exp vector_log vector_power vector_short_cbrt vector_short_power vector_sigmoid "
    "vector_tanh "
    "reduction scratch partials block count j BLOCK block_sum0 block_sum1 block_sum2 block_sum3 "
    "block_sum4 block_sum5 block_sum6 block_sum7 "
    "block_max0 block_max1 block_max2 block_max3 block_max4 block_max5 block_max6 block_max7 "
    "matrix_reduction line height width first_column column columns skipped Column Vector "
    "sum0 sum1 sum2 sum3 sum4 sum5 sum6 sum7 "
    "columns0 columns1 columns2 columns3 columns4 columns5 columns6 columns7 "
    "Reduction Total Matrices Whole Kept rounds turn transpose identity norm dot mean inverse_root "
    "eigenvectors "
    "orthonormal polar spectral_norm np_abs np_both np_cbrt np_cos np_either np_exp np_floor np_log "
    "np_maximum np_minimum np_modulo np_neither np_power np_sigmoid np_sign np_sin np_sqrt np_tanh np_where "
    "past past_dot past_dot_all past_given past_norm past_norm_all past_rounds past_state "
    "Length Recursion Ring "
    "CODED bf16_value block_memory block_scale f16_value high_of inverse_of joined low_of nearest_bf16 "
    "random_bits rounding_key s8_value stochastic_bf16 stochastic_f16 stochastic_s8 stochastic_u8 u8_value "
    "p16_value stochastic_p16 other_half key0 key1 key2 key3 key4 key5 "
    "noise0 noise1 noise2 noise3 noise4 noise5 "
    "read_u8 read_u16 u8_bytes u16_bytes write_u8 write_u16 "
    "fast_kernel aligned aligns halving in_vectors barrier clip fma short_power this_block "
    "this_thread thread HALVINGS THREADS read2_f64 read4_f32 read4_i64 read_address read_i64 read_summand "
    "write2_f64 write4_f32 write_summand "
    "Flag Hyper Input Layout State Variant FusedOptimizer ArrayOptimizer LAYOUT View THETA_0".split()
)
_ENDINGS = ("_at", "_block", "_float", "_from", "_scale", "_word")
_TAKEN = GENERATED | frozenset(keyword.kwlist) | frozenset(dir(builtins))


class Namer:
    """Gives every quantity of one kernel a name of its own, as near to the wanted one as possible."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._used = set(taken)

    def fresh(self, wanted: str) -> str:
        name = wanted
        while name in self._used or name in _TAKEN or name.endswith(_ENDINGS):
            name += "_"
        self._used.add(name)
        return name

    def numbered(self, prefix: str) -> str:
        """prefix0, prefix1, ..."""
        number = 0
        while f"{prefix}{number}" in self._used:
            number += 1
        return self.fresh(f"{prefix}{number}")
