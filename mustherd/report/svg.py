"""A drawing surface that gives inline SVG: colours of the page's theme, text that stays text, the same bytes each time.

Colours are drawn as placeholders and become CSS variables, so that one drawing serves light, dark and paper. Nothing
here reads a user's matplotlib settings.
"""

import contextlib
import io
import re
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from mustherd.report.labels import clean

INK, MUTED, FAINT, PAPER, KEEPS, BREAKS, GUARD, DEFAULT, BEST = (f"#0a0{index:03x}" for index in range(1, 10))
"""Placeholders: text, secondary text, grid, background, and the five roles of a mark."""

_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    FAINT: "--faint",
    PAPER: "--paper",
    KEEPS: "--keeps",
    BREAKS: "--breaks",
    GUARD: "--guard",
    DEFAULT: "--default",
    BEST: "--best",
}

_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "font.size": 9,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.labelcolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
}

INCHES_WIDE = 9.4

INCHES_HALF = 5.2
"""One of several pictures beside one another."""


def warm() -> None:
    """Import what draws, for who has half a second to spare now and none later. What is wrong with it is told then."""
    with contextlib.suppress(Exception):
        import matplotlib.backends.backend_svg  # noqa: PLC0415
        import matplotlib.figure  # noqa: PLC0415, F401


def draw(
    name: str,
    title: str,
    description: str,
    height: float,
    paint: Callable[[Any], Mapping[str, str]],
    *,
    width: float = INCHES_WIDE,
) -> str:
    """An `<svg>` element with a title and a description for those who can't see it.

    `paint` draws on a matplotlib Figure of `width` by `height` inches. It returns what a pointer over a mark
    shows: the mark's gid to its text. `name` makes the element's ids unique on the page.
    """
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context():
        mpl.rcdefaults()
        settings: Any = {**_SETTINGS, "svg.hashsalt": name}
        mpl.rcParams.update(settings)
        figure = Figure(figsize=(width, height), layout="constrained")
        canvas: Any = FigureCanvasSVG(figure)
        hints = paint(figure)
        out = io.StringIO()
        # What savefig does by drawing all of it once for nothing: lay it out, and leave it so.
        engine = figure.get_layout_engine()
        if engine is not None:
            engine.execute(figure)
        figure.set_layout_engine("none")
        canvas.print_svg(out, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inline(out.getvalue(), name, title, description, hints)


def _inline(svg: str, name: str, title: str, description: str, hints: Mapping[str, str]) -> str:
    svg = _once(svg[svg.index("<svg") :])
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    # The page sizes it; the viewBox keeps its proportions.
    head, tail = svg.split(">", 1)
    head = re.sub(r' (?:width|height|xmlns:xlink|xmlns|version)="[^"]*"', "", head)
    svg = (
        f'{head} role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(clean(title))}</title>'
        f'<desc id="{name}-desc">{escape(clean(description))}</desc>{tail}'
    )
    svg = re.sub(r'(?<=[ "(])(id="|xlink:href="#|url\(#)(?!' + name + r"-(?:title|desc))", rf"\g<1>{name}-", svg)
    svg = svg.replace("xlink:href=", "href=")
    for gid, text in hints.items():
        svg = svg.replace(f'<g id="{name}-{gid}">', f'<g id="{name}-{gid}"><title>{escape(clean(text))}</title>', 1)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg.strip()


_MARKER = re.compile(r'(<path id="([^"]+)"[^>]*? style=")([^"]*)"')
_USE = re.compile(r'(<use xlink:href="#([^"]+)"[^>]*?) style="([^"]*)"')


def _once(svg: str) -> str:
    """With the style of a marker's marks said once, at the marker, where all of them have the same."""
    styles: dict[str, set[str]] = {}
    for _, marker, style in _USE.findall(svg):
        styles.setdefault(marker, set()).add(style)
    shared = {marker: min(found) for marker, found in styles.items() if len(found) == 1}
    known = {marker for _, marker, _ in _MARKER.findall(svg)} & shared.keys()
    svg = _USE.sub(lambda use: use[1] if use[2] in known else use[0], svg)
    # A marker's own properties win over those of its marks, as they did: they come last.
    return _MARKER.sub(lambda m: f'{m[1]}{shared[m[2]]}; {m[3]}"' if m[2] in known else m[0], svg)
