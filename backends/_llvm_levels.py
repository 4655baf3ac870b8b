"""Levels of a processor: what it can do beyond what all of its kind can, and the function that asks it."""

from dataclasses import dataclass

from optdsl.portable.llvm_text import Function, Module

from ._llvm_cpu import Target


@dataclass(frozen=True)
class Level:
    """What some processors of a kind can do beyond what all can: `needs` are bits of what they say of
    themselves.
    """

    name: str
    target: Target
    features: str = ""
    needs: tuple[tuple[str, int], ...] = ()


_AVX2 = (("c1", 1 << 12 | 1 << 27 | 1 << 28), ("b7", 1 << 5), ("x0", 0x06))
_AVX512 = (*_AVX2, ("b7", 1 << 16 | 1 << 17 | 1 << 30 | 1 << 31), ("x0", 0xE6))
X86 = (
    Level("sse2", Target(has_fma=False)),
    Level("avx2", Target(attributes="#1"), "+avx2,+fma", _AVX2),
    Level("avx512", Target(attributes="#2"), "+avx2,+fma,+avx512f,+avx512dq,+avx512bw,+avx512vl", _AVX512),
)
OTHER = (Level("all", Target()),)


def levels(triple: str) -> tuple[Level, ...]:
    return X86 if triple.startswith("x86_64") else OTHER


def attribute_groups(triple: str) -> str:
    return "\n".join(
        f'attributes #{number} = {{ nounwind "no-builtins" "target-features"="{level.features}" }}'
        for number, level in enumerate(levels(triple))
        if level.features
    )


def write_level(module: Module, triple: str) -> None:
    """Which level this processor has: asked once, and the same for every thread."""
    found = levels(triple)
    function = Function(module, "define internal i64 @level()")
    if len(found) == 1:
        function.finish("ret i64 0")
        return
    module.globals.append("@known = internal global i64 0")
    write = function.value
    known = write("load atomic i64, ptr @known monotonic, align 8", "known")
    function.add(f"br i1 {write(f'icmp ne i64 {known}, 0')}, label %told, label %ask")
    function.block("told")
    function.add(f"ret i64 {write(f'sub i64 {known}, 1')}")
    function.block("ask")
    four = "{ i32, i32, i32, i32 }"

    def cpuid(leaf: int) -> dict[str, str]:
        outputs = '"={ax},={bx},={cx},={dx},{ax},{cx},~{dirflag},~{fpsr},~{flags}"'
        answer = write(f'call {four} asm sideeffect "cpuid", {outputs}(i32 {leaf}, i32 0)')
        return {f"{name}{leaf}": write(f"extractvalue {four} {answer}, {i}") for i, name in enumerate("abcd")}

    bits = cpuid(0) | cpuid(1)
    # Nothing is asked that an old processor does not know: it has neither a leaf 7 nor the instruction below.
    modern = write(f"icmp uge i32 {bits['a0']}, 7")
    told = write(f"and i32 {bits['c1']}, {1 << 27}")
    saved = write(f"icmp ne i32 {told}, 0")
    asks = write(f"and i1 {modern}, {saved}")
    function.add(f"br i1 {asks}, label %more, label %least")
    function.block("least")
    function.add("store atomic i64 1, ptr @known monotonic, align 8")
    function.add("ret i64 0")
    function.block("more")
    bits |= cpuid(7)
    two = "{ i32, i32 }"
    answer = write(f'call {two} asm sideeffect "xgetbv", "={{ax}},={{dx}},{{cx}}"(i32 0)')
    bits["x0"] = write(f"extractvalue {two} {answer}, 0")
    best = "1"
    for number, level in enumerate(found):
        has = "true"
        for register, mask in level.needs:
            same = write(f"icmp eq i32 {write(f'and i32 {bits[register]}, {mask}')}, {mask}")
            has = write(f"and i1 {has}, {same}")
        best = write(f"select i1 {has}, i64 {number + 1}, i64 {best}")
    function.add(f"store atomic i64 {best}, ptr @known monotonic, align 8")
    function.finish(f"ret i64 {write(f'sub i64 {best}, 1')}")
