"""The keyword arguments of a generated class, from the hypers and flags of its optimizer.

In: an `Optimizer`. Out: `Option`s in the order of the spec, with defaults and annotations as in Python.
"""

from dataclasses import dataclass

from optdsl.language.matrices import loop_counts
from optdsl.language.optimizer import Alias, Flag, Hyper, Optimizer, choices


@dataclass(frozen=True)
class Option:
    """One keyword argument of the generated class: a number, a tuple of numbers, a switch, or one of some
    words.
    """

    name: str
    hypers: tuple[Hyper, ...]
    flag: Flag | None = None
    words: tuple[str, ...] = ()
    counts: bool = False  # how often a loop goes around

    @property
    def is_tuple(self) -> bool:
        return (
            bool(self.hypers) and self.hypers[0].alias is not None and self.hypers[0].alias.index is not None
        )

    @property
    def default(self) -> str:
        if self.words:
            return "None"
        if self.flag:
            return str(self.flag.default)
        values = [self._number(hyper) for hyper in self.hypers]
        return f"({', '.join(values)}{',' if len(values) == 1 else ''})" if self.is_tuple else values[0]

    @property
    def annotation(self) -> str:
        if self.words:
            return "str | None"
        if self.flag:
            return "bool"
        return f"tuple[{', '.join(['float'] * len(self.hypers))}]" if self.is_tuple else self._type

    @property
    def _type(self) -> str:
        return "int" if self.counts else "float"

    def _number(self, hyper: Hyper) -> str:
        return str(int(hyper.default)) if self.counts else number(hyper.default)


def options(optimizer: Optimizer) -> list[Option]:
    """The arguments in the order of the spec; of a composition, hypers come before flags."""
    grouped: dict[str, list[Hyper]] = {}
    for hyper in optimizer.hypers:
        grouped.setdefault(option_name(hyper.name, hyper.alias), []).append(hyper)
    counting = loop_counts(optimizer)
    found = [
        Option(
            name,
            tuple(sorted(hypers, key=lambda hyper: (hyper.alias and hyper.alias.index) or 0)),
            counts=hypers[0].name in counting,
        )
        for name, hypers in grouped.items()
    ]
    together = choices(optimizer.flags)
    declared: tuple[Hyper | Flag, ...] = (*optimizer.hypers, *optimizer.flags)
    end = 1 + max((each.span.start for each in declared), default=0)
    # what stands nowhere, as `seed`, comes last
    places = {
        option_name(each.name, each.alias): each.span.start or end for each in reversed(optimizer.hypers)
    }
    for flag in optimizer.flags:
        name = option_name(flag.name, flag.alias)
        if flag.rank is None and name not in places:
            words = tuple(each.name for each in together.get(name, ()))
            found.append(Option(name, (), flag, words))
            places[name] = flag.span.start
    return found if optimizer.parts else sorted(found, key=lambda option: places[option.name])


def option_name(name: str, alias: Alias | None) -> str:
    return alias.name if alias else name


def number(value: object) -> str:
    return repr(float(value))  # type: ignore[arg-type]
