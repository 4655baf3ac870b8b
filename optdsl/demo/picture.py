"""Loss curves as a PNG, without a display."""

import io
from collections.abc import Mapping, Sequence

import numpy as np


def draw(losses: Mapping[str, Sequence[float]], allowed: float) -> bytes:
    """Two runs' losses above each other, and below how far they are apart; `allowed` is drawn as a line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for (name, values), style in zip(losses.items(), ("-", "--"), strict=True):
        above.semilogy(np.arange(1, len(values) + 1), values, style, label=name, linewidth=1.2)
    above.set(title="Adam compiled by optdsl, learning handwritten digits", ylabel="loss of the batch")
    above.legend()
    first, second = (np.asarray(values) for values in losses.values())
    apart = np.maximum(np.abs(first - second), 1e-12)  # zero has no place on a logarithmic axis
    below.semilogy(np.arange(1, len(apart) + 1), apart, ".", markersize=3, color="tab:gray")
    below.axhline(allowed, color="tab:red", linewidth=1, label="allowed")
    below.set(xlabel="step", ylabel="difference of the losses")
    below.legend()
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=120)
    return png.getvalue()
