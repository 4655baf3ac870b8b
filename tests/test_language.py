"""The front end as a whole: what is printed parses back, and no text whatever breaks it."""

import importlib.resources
import string
import time

import lark
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optdsl import driver
from optdsl.diagnostics import Diagnostic, OptdslError, Report, Source
from optdsl.files import library_names, read_library
from optdsl.language import syntax
from optdsl.language.names import GREEK, why_illegal
from optdsl.language.optimizer import Age, Apply, Ref, Role, Shape, references
from optdsl.language.parser import parse
from optdsl.language.printer import print_file

ADAM = read_library("adam").text


def parsed(text: str) -> syntax.File | None:
    report = Report(Source("test.opt", text))
    file = parse(report.source, report)
    assert not report.diagnostics, str(report.diagnostics)
    return file


def test_grammar_has_no_conflicts() -> None:
    """Lark's strict mode refuses shift/reduce conflicts and terminals that match the same text."""
    text = importlib.resources.files("optdsl.grammar").joinpath("optdsl.lark").read_text(encoding="utf-8")
    lark.Lark(text, parser="lalr", strict=True)


def test_every_rule_of_the_grammar_is_explained() -> None:
    text = importlib.resources.files("optdsl.grammar").joinpath("optdsl.lark").read_text(encoding="utf-8")
    lines = text.split("\n")
    rules = [i for i, line in enumerate(lines) if line[:1] in set("?!" + string.ascii_lowercase)]
    assert len(rules) >= 35
    for i in rules:
        assert lines[i - 1].startswith("//"), f"nothing is said above {lines[i]}"


# --- print and parse -----------------------------------------------------------------------------

NAMES = st.sampled_from(["lr", "beta1", "m", "v", "u", "mhat", "x_1", "rho"])
NUMBERS = st.sampled_from(["0", "1", "2", "0.9", "1e-3", ".5", "3.", "1.5E+2"]).map(syntax.Number)
TIMES = st.sampled_from([(0, None), (-1, None), (1, None), (-2, None), (None, 0), (None, 1)])
ATS = st.builds(lambda name, time: syntax.At(name, *time), NAMES, TIMES)
BINARY = ["or", "and", "==", "<=", ">=", "<", ">", "+", "-", "*", "/", "@", "mod", "^"]


def compound(inner: st.SearchStrategy[syntax.Expr]) -> st.SearchStrategy[syntax.Expr]:
    arguments = st.builds(syntax.Argument, st.none() | NAMES, inner)
    return (
        st.builds(syntax.Binary, st.sampled_from(BINARY), inner, inner)
        | st.builds(syntax.Unary, st.sampled_from(["-", "not"]), inner)
        | st.builds(syntax.If, inner, inner, inner)
        | st.builds(
            syntax.Call,
            st.sampled_from(["sqrt", "max", "norm", "grad"]),
            st.lists(arguments, max_size=3).map(tuple),
            st.sampled_from([None, "rows", "cols", "all"]),
        )
        | st.builds(syntax.Expectation, inner)
    )


EXPRESSIONS = st.recursive(
    NUMBERS | NAMES.map(syntax.Name) | ATS | st.booleans().map(syntax.Bool), compound, max_leaves=25
)
INTERVALS = st.builds(syntax.Interval, EXPRESSIONS, EXPRESSIONS, st.booleans(), st.booleans())
ALIASES = st.none() | st.builds(syntax.Alias, NAMES, st.none() | st.integers(0, 3))
ARGUMENTS = st.builds(syntax.Argument, st.none() | NAMES, EXPRESSIONS)
CLAIMS = st.one_of(
    st.builds(syntax.Claim, NAMES.map(syntax.Name), st.none(), iff=EXPRESSIONS, refuted=st.booleans()),
    st.builds(
        lambda left, right, when, free, substitution, refuted: syntax.Claim(
            left, right, None, when, free, substitution, refuted
        ),
        EXPRESSIONS,
        st.none() | EXPRESSIONS,
        st.none() | EXPRESSIONS,
        st.lists(NAMES, max_size=2).map(tuple),
        st.lists(ARGUMENTS, max_size=2).map(tuple),
        st.booleans(),
    ),
)
STATEMENTS = st.one_of(
    st.builds(syntax.HyperDecl, NAMES, EXPRESSIONS, st.none() | INTERVALS, ALIASES),
    st.builds(syntax.FlagDecl, NAMES, st.booleans(), ALIASES),
    st.builds(syntax.StateDecl, NAMES, st.integers(0, 2), EXPRESSIONS, ALIASES),
    st.builds(syntax.InputDecl, NAMES),
    st.builds(syntax.Assign, NAMES.map(syntax.Name) | ATS, EXPRESSIONS),
    st.builds(syntax.Start, st.lists(ARGUMENTS, min_size=1, max_size=2).map(tuple)),
    CLAIMS,
)
BODIES = st.lists(
    STATEMENTS
    | st.builds(
        syntax.When,
        EXPRESSIONS,
        st.lists(STATEMENTS, min_size=1, max_size=2).map(tuple),
        st.lists(STATEMENTS, max_size=2).map(tuple),
    ),
    min_size=1,
    max_size=4,
).map(tuple)
DEFINITIONS = st.builds(
    syntax.Definition,
    st.sampled_from(list(syntax.Kind)),
    NAMES,
    st.lists(st.builds(syntax.Name, NAMES), max_size=2).map(tuple),
    BODIES,
) | st.builds(
    syntax.Composition,
    st.sampled_from(list(syntax.Kind)),
    NAMES,
    st.lists(
        st.builds(syntax.Stage, NAMES, st.lists(ARGUMENTS, max_size=2).map(tuple)), min_size=1, max_size=3
    ).map(tuple),
)
FILES = st.builds(
    syntax.File,
    st.sampled_from(["", "A paper, 2020.", "Two\nlines."]),
    st.lists(DEFINITIONS, min_size=1, max_size=2).map(tuple),
)


@settings(max_examples=300, deadline=None)
@given(FILES)
def test_print_then_parse_gives_the_tree_back(file: syntax.File) -> None:
    assert parsed(print_file(file)) == file


@pytest.mark.parametrize("name", library_names())
def test_specs_survive_printing(name: str) -> None:
    file = parsed(read_library(name).text)
    assert file is not None
    assert parsed(print_file(file)) == file


@pytest.mark.parametrize(("greek", "ascii_name"), GREEK.items())
def test_greek_is_another_spelling(greek: str, ascii_name: str) -> None:
    text = "optimizer A\n{0}₁₂ = 1\nu = {0}₁₂\n"
    assert parsed(text.format(greek)) == parsed(text.replace("₁₂", "12").format(ascii_name))


# --- no text breaks it ---------------------------------------------------------------------------


def survives(text: str) -> None:
    """Either a meaning or diagnostics whose spans lie in the text; never another exception."""
    found: tuple[Diagnostic, ...] = ()
    try:
        driver.front(Source("fuzz.opt", text))
    except OptdslError as error:
        found = error.diagnostics
        assert str(error)  # noqa: PT017
        assert found
    for diagnostic in found:
        assert "Token(" not in diagnostic.message
        if diagnostic.primary:
            span = diagnostic.primary.span
            assert 0 <= span.start <= span.end <= len(text) + 1


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_mutated_specs(data: st.DataObject) -> None:
    text = ADAM
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        piece = data.draw(
            st.sampled_from(
                ["", "\n", "(", ")", "[t]", "[t-1]", "^", "**", "=", "end", "when ", "β₁", "·", "#", "2"]
            )
            | st.text(alphabet=string.printable, max_size=5)
        )
        text = text[:start] + piece + text[end:]
    survives(text)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    survives(text)


@settings(max_examples=100, deadline=None)
@given(FILES)
def test_any_tree(file: syntax.File) -> None:
    survives(print_file(file))


@pytest.mark.parametrize(
    "text",
    [
        "optimizer A\nx = " + "(" * 30_000,
        "optimizer A\nx = " + "-" * 60_000 + "1\n",
        "optimizer A\nx = " + "2^" * 30_000 + "1\n",
        "optimizer A\nx = 1" + " + 1" * 15_000 + "\n",
        "optimizer A\nx = " + "9" * 60_000 + "\n",
        "optimizer A\nhyper a = 9^9^9^9^9^9 in [0, inf)\n",
        "optimizer A\nhyper a = 2^-99999999999999999999 in [0, inf)\n",
        "optimizer A\nx = exp(exp(exp(exp(9))))\n",
        "optimizer A\nx = m[t-99999999999999999999999]\nstate m[99999999999999999999999] = 0\n",
        "optimizer A\n" + "x = = 1\n" * 7_000,
        "optimizer A\n" + "when x\n" * 8_000,
        "optimizer A\nx0 = g[t]\n" + "".join(f"x{i} = x{i - 1}*x{i - 1}\n" for i in range(1, 40)),
        "optimizer A\n" + "".join(f"state s{i}[0] = 0\ns{i}[t] = s{i + 1}[t-1]\n" for i in range(1_500)),
    ],
    ids=lambda text: f"{len(text)}-{text[12:30]!r}",
)
def test_hostile_texts_end_quickly(text: str) -> None:
    started = time.process_time()
    survives(text)
    assert time.process_time() - started < 5  # measured: below a second; the margin is for a busy machine


@pytest.mark.parametrize(
    "name",
    ["__import__", "lambda", "None", "__class__", "theta", "sqrt", "norm", "params", "x" * 65, "E", "if"],
)
def test_names_that_could_do_harm_are_refused(name: str) -> None:
    assert why_illegal(name)


# --- meaning -------------------------------------------------------------------------------------


def meaning(text: str) -> dict[str, Shape]:
    optimizer, _ = driver.front(Source("test.opt", text))
    return {line.target.name: line.target.shape for line in optimizer.lines} | {
        state.name: state.shape for state in optimizer.states
    }


def test_shapes_spread_from_theta_and_g() -> None:
    shapes = meaning(
        "optimizer A\n"
        "hyper beta1 = 0.9 in [0, 1)\n"
        "state k[0] = 1\nstate m[0] = 0\nstate late[0] = 0\nstate origin[0] = theta[0]\n"
        "mu = beta1^t\n"
        "k[t] = k[t-1]*mu\n"
        "late[t] = late[t-1] + k[t] + m[t-1]\n"
        "m[t] = beta1*m[t-1] + g[t]\n"
        "origin[t] = origin[t-1]*mu\n"
        "theta[t] = theta[t-1] - k[t]*late[t] - origin[t]\n"
    )
    assert shapes == {
        "mu": Shape.SCALAR,
        "k": Shape.SCALAR,
        "late": Shape.ELEMENT,
        "m": Shape.ELEMENT,
        "origin": Shape.ELEMENT,
        "theta": Shape.ELEMENT,
    }


def test_old_and_new_are_different_references() -> None:
    optimizer, _ = driver.front(Source("adam.opt", ADAM))
    (line,) = (line for line in optimizer.lines if line.target.name == "m")
    ages = {ref.age for ref in references(line.value) if ref.name == "m"}
    assert line.target.age is Age.NEW
    assert ages == {Age.OLD}


def test_first_step_case_and_gradient_point() -> None:
    optimizer, _ = driver.front(
        Source(
            "test.opt",
            "optimizer A\nhyper mu = 0.9 in [0, 1)\nstate b[0] = 0\nahead = mu*b[t-1]\n"
            "g[t] = grad(theta[t-1] + ahead)\nb[1] = g[t]\nb[t] = mu*b[t-1] + g[t]\n"
            "theta[t] = theta[t-1] - b[t]\n",
        )
    )
    assert isinstance(optimizer.query, Apply)
    assert {ref.name for ref in references(optimizer.query)} == {"theta", "ahead"}
    assert [line.target.name for line in optimizer.query_lines] == ["ahead"]
    (line,) = (line for line in optimizer.lines if line.target.name == "b")
    assert isinstance(line.first, Ref)
    assert line.first.role is Role.GRAD


def test_all_errors_of_a_file_are_told_at_once() -> None:
    text = "optimizer A\nhyper lr = 1e-3 in [0, 1\nu = lrr*g[t]\nv = 2 x\ntheta[t] = theta[t-1] - lr*w\n"
    with pytest.raises(OptdslError) as caught:
        driver.front(Source("test.opt", text))
    assert [diagnostic.code for diagnostic in caught.value.diagnostics] == [
        "OD104",
        "OD201",
        "OD105",
        "OD201",
    ]
