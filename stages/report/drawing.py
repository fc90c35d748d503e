"""Colours, marks, panels and files of the figures.

They are readable on a projector and with every kind of colour vision: wherever colours differ, shapes or line styles
differ too.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping

from stages.base.paths import main_root

# Matplotlib reads this on import. It keeps files out of the home folder.
os.environ.setdefault("MPLCONFIGDIR", str(main_root() / ".yolo" / "matplotlib"))

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from stages.decision.confirmation import Role

__all__ = [
    "BLACK", "BLUE", "GREEN", "GREY", "MARKS", "ORANGE", "RED", "SKY", "TEST", "VALIDATION", "Axes", "Figure",
    "FuncFormatter", "LogLocator", "NullFormatter", "label_axes", "legend", "png",
]  # fmt: skip

# Okabe and Ito's palette.
BLACK, ORANGE, SKY, GREEN, BLUE, RED, GREY = "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#767676"

MARKS: Mapping[Role, tuple[str, str]] = {
    "as is": ("D", GREEN),
    "baseline": ("s", BLACK),
    "best": ("o", BLUE),
    "cheapest": ("^", ORANGE),
}
VALIDATION, TEST = "mAP50, validation split", "mAP50, test split"


def label_axes(axis: Axes, x: str, y: str) -> None:
    """Label the axes of a panel, and give it a grid."""
    axis.set_xlabel(x, fontsize=13)
    axis.set_ylabel(y, fontsize=13)
    axis.tick_params(labelsize=12)
    axis.grid(color="#dddddd")
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def legend(figure: Figure, *axes: Axes) -> None:
    """Draw the legend of these panels below them, where it hides nothing."""
    entries = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    handles, labels = list(entries.values()), list(entries)
    figure.legend(handles, labels, fontsize=12, loc="outside lower center", ncols=min(5, len(labels)), frameon=False)


def png(figure: Figure) -> bytes:
    """Return a figure as the content of a PNG file."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=90, metadata={"Software": None})  # the same results give the same bytes
    return stream.getvalue()
