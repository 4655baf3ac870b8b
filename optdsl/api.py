"""What Python users hold in their hands: `optdsl.load("adam")` gives a `Spec`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from os import PathLike, fspath

from optdsl import driver
from optdsl.checks.verdict import Verdict
from optdsl.diagnostics import Diagnostic, Source
from optdsl.files import resolve_target
from optdsl.language.objective import Objective
from optdsl.language.optimizer import Optimizer
from optdsl.language.parts import Part
from optdsl.library import lookup
from optdsl.storing import storing


@dataclass(frozen=True)
class CheckReport:
    """What `Spec.check` found: everything to be told, and every verdict with its derivation or witness.

    Errors of the text never get here: `optdsl.load` raises them.
    """

    diagnostics: tuple[Diagnostic, ...]
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Spec:
    """A spec that makes sense: its text, and what it means."""

    source: Source
    meaning: Optimizer | Objective | Part
    warnings: tuple[Diagnostic, ...]

    @property
    def optimizer(self) -> Optimizer:
        """The meaning of an optimizer; raises `OptdslError` for an objective or a part."""
        return self.meaning if isinstance(self.meaning, Optimizer) else driver.front(self.source)[0]

    @property
    def objective(self) -> Objective:
        """The meaning of an objective, with `.value(point)`, `.gradient(point)` and `.hessian(point)`."""
        if not isinstance(self.meaning, Objective):
            raise AttributeError(f"{self.name} is no objective, but of kind {driver.kind_of(self.meaning)}")
        return self.meaning

    @property
    def name(self) -> str:
        """The class name that the spec gives itself: "Adam"."""
        return self.meaning.name

    @property
    def doc(self) -> str:
        """The leading comment block: paper, equations, what libraries do differently."""
        return self.meaning.doc

    def check(self, *, rates: bool = False) -> CheckReport:
        """What can be proved or refuted from the equations: the default checks and the file's claims.

        `rates` runs what the file has estimated, too; that needs `optdsl[rates]`.
        """
        _, diagnostics, verdicts = driver.check(self.source, lookup, rates=rates)
        return CheckReport(diagnostics, verdicts)

    def compile(
        self,
        *,
        framework: str = "torch",
        mode: str = "accurate",
        state: Mapping[str, str] | None = None,
        param_store: str = "",
    ) -> str:
        """The text of a Python module that defines the optimizer for "torch" or "numpy".

        `state` and `param_store`: as `optdsl.torch.load` has them, for "torch"; `ValueError` for another.
        """
        if (state or param_store) and framework != "torch":
            raise ValueError("state and param_store are for modules for torch")
        stored = storing(self.optimizer, state or {}, param_store)
        return driver.compile_source(self.source, framework=framework, mode=mode, storing=stored)

    def stages(
        self, *, mode: str = "accurate", flags: Mapping[str, bool] | None = None
    ) -> Iterator[tuple[str, str]]:
        """Every form that the spec goes through on its way to a kernel, by name (`driver.STAGES`)."""
        return driver.stages(self.source, mode=mode, flags=flags)

    @cached_property
    def _repr(self) -> str:
        return f"<optdsl spec {self.name} from {self.source.name}>"

    def __repr__(self) -> str:
        return self._repr


def load(target: str | PathLike[str]) -> Spec:
    """Read a spec: the name of one in the library ("adam"), the path of an `.opt` file, or a composition
    ("clip_by_global_norm(1) | lion").

    Raises `optdsl.OptdslError` with every finding when the text is wrong, or when there is no such file.
    """
    source = resolve_target(fspath(target))
    meaning, warnings = driver.meaning(source)
    return Spec(source, meaning, warnings)
