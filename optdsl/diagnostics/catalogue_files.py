"""What can be wrong with a file before its text is looked at, and with a file that is to be written.

Codes OD001 to OD019 are about reading, OD020 to OD039 about writing. Raised by `optdsl.files` only.
"""

from dataclasses import dataclass

from optdsl.diagnostics.model import Problem

# --- reading -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FileMissing(Problem):
    """No file has this name.

    A spec is named by its path (`adam.opt`, `specs/mine.opt`), by its name in the library (`adam`; see
    `optdsl list`), or is read from standard input when it is called `-`.
    """

    code = "OD001"
    title = "there is no file `{path}`"
    path: str


@dataclass(frozen=True, kw_only=True)
class FileUnreadable(Problem):
    """The operating system does not let this file be read; its own words say why."""

    code = "OD002"
    title = "`{path}` cannot be read: {reason}"
    path: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class NotARegularFile(Problem):
    """A spec is an ordinary file.

    Directories, pipes, sockets and devices are refused, because reading one may wait or go on for ever.
    Text that another program writes is taken from standard input: `program | optdsl check -`.
    """

    code = "OD003"
    title = "`{path}` is {kind}, not a file"
    advice = "name one `.opt` file, or `-` for standard input"
    path: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class FileTooLarge(Problem):
    """A spec may have 64 KiB, more than a hundred times what any optimizer has needed so far."""

    code = "OD004"
    title = "`{path}` is larger than {limit} KiB"
    advice = "is it a spec at all?"
    path: str
    limit: int


@dataclass(frozen=True, kw_only=True)
class NotUtf8(Problem):
    """Specs are UTF-8 text. Nothing is guessed: in another encoding a Greek letter is another letter.

    Most editors can save a file as UTF-8; `iconv -f ENCODING -t UTF-8 old.opt > new.opt` converts one.
    """

    code = "OD005"
    title = "`{path}` is not UTF-8 text: byte {byte} on line {line}{guess}"
    advice = "save the file as UTF-8"
    path: str
    byte: str
    line: int
    guess: str = ""


@dataclass(frozen=True, kw_only=True)
class ControlCharacter(Problem):
    """Only line ends and tabs may steer the text: other control characters can make a terminal or an
    editor show something else than what is compiled. This holds for comments too."""

    code = "OD006"
    title = "the file holds the control character {character}"
    label = "{character} stands here"
    advice = "delete it"
    character: str


@dataclass(frozen=True, kw_only=True)
class DirectionCharacter(Problem):
    """Characters that turn the direction of text make a line read differently from what it says to the
    compiler (the attack called Trojan Source), so they are refused, in comments too."""

    code = "OD007"
    title = "the file holds the text-direction character {character}"
    label = "{character} stands here, unseen"
    advice = "delete it"
    character: str


@dataclass(frozen=True, kw_only=True)
class UnknownSpec(Problem):
    """A name without a slash and without `.opt` is looked up in the library; `optdsl list` shows what it
    holds."""

    code = "OD008"
    title = "there is no `{name}` in the library, and no file of that name"
    advice = "`optdsl list` shows the library; a file is named with its ending: `{name}.opt`"
    name: str


# --- writing -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class NotOurs(Problem):
    """A compiled file replaces an older one only if that was compiled too.

    The first line of every generated file says `compiled by optdsl`; a file without it may be somebody's
    work, and is overwritten only with `--force`.
    """

    code = "OD020"
    title = "`{path}` exists and was not compiled by optdsl"
    advice = "choose another name, or overwrite it with `--force`"
    path: str


@dataclass(frozen=True, kw_only=True)
class FileExists(Problem):
    """A new spec never replaces a file."""

    code = "OD021"
    title = "`{path}` exists already"
    advice = "choose another name"
    path: str


@dataclass(frozen=True, kw_only=True)
class NotReplaceable(Problem):
    """The output is an ordinary file.

    A symbolic link is not followed, since it may lead out of the project (with `--force` the link itself
    is replaced); directories, pipes and devices are never replaced. Without `-o` the text goes to
    standard output.
    """

    code = "OD022"
    title = "`{path}` is {kind}, and is left alone"
    advice = "choose another name"
    path: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class FileUnwritable(Problem):
    """The operating system does not let this file be written; its own words say why.

    Output is first written beside its place and then renamed, so the old file is still whole.
    """

    code = "OD023"
    title = "`{path}` cannot be written: {reason}"
    path: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class NotForTarget(Problem):
    """Backends differ in what they have kernels for.

    `optdsl compile` without `--target` makes a module that can do all that a spec can say.
    """

    code = "OD024"
    title = "`{name}` cannot be compiled for {target}: {reason}"
    advice = (
        "without `--target` and `--ptx`, in the modes accurate and fast, it becomes a module for torch, "
        "NumPy or optax"
    )
    name: str
    target: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class KeptOtherwise(Problem):
    """States and parameters can be kept in fewer bits than they are computed in: `--state v=bf16`,
    `--param-store sr`, or `state=` and `param_store=` of `optdsl.torch.load`. It is no part of the spec, and
    no spec has to know of it. docs/precision.md says what each costs in accuracy.
    """

    code = "OD026"
    title = "`{name}` cannot have {what} kept so: {reason}"
    name: str
    what: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class NoLinker(Problem):
    """An object file becomes a shared library by the system's C compiler, which is looked for as `$CC` or
    `cc`. Nothing else of it is used.
    """

    code = "OD025"
    title = "there is no C compiler to link a library with: {reason}"
    advice = "install one, or name it in $CC; `--emit o` makes an object file without it"
    reason: str
