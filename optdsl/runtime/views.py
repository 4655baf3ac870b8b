"""The words for views of the parameters, for both frameworks: which there are, and what has to wait."""

from optdsl.runtime.layout import Layout


def known_view(layout: Layout, name: str) -> str:
    """Raises `ValueError` for a name that is none."""
    if name not in layout.views:
        there = f"it has {', '.join(layout.views)}" if layout.views else "it has none"
        raise ValueError(f"{layout.name} has no view {name!r} of its parameters; {there}")
    return name


def refuse_while_shown(layout: Layout, shown: bool, what: str) -> None:
    """Raises `RuntimeError` while the parameters are a view of themselves."""
    if shown:
        raise RuntimeError(
            f"{what} while the parameters of {layout.name} are in another view of them; "
            "call opt.train() first, which puts them back"
        )
