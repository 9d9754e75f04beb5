"""A picture that changes while a cell runs: the same place in the output, drawn again and again.

    draw = lab.live()
    while …:
        draw(lab.charts.climb(points, wall=64))     the first call shows the picture, the next ones replace it

In a notebook this is IPython's display with a display_id, about a millisecond each, and the last picture stays in the
saved file. Where there is no notebook nothing is shown meanwhile: `draw.last` is the last picture.
"""

from __future__ import annotations

from typing import Any

from labrt.lab.show import Picture


class Live:
    """One place in the output. Call it with what is to be seen there now."""

    def __init__(self) -> None:
        self.last: Picture | None = None
        self._handle: Any = None

    def __call__(self, picture: Picture) -> None:
        """Show this picture in place of the one before."""
        first, self.last = self.last is None, picture
        if first and in_a_notebook():
            from IPython.display import display

            self._handle = display(picture, display_id=True)  # type: ignore[no-untyped-call]
        elif self._handle is not None:
            self._handle.update(picture)

    def __repr__(self) -> str:
        return f"<Live: {self.last!r}>"


def live() -> Live:
    """Begin a picture that changes."""
    return Live()


def in_a_notebook() -> bool:
    """Say whether this is a notebook's Python."""
    import sys

    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None
