"""The colours of pages and charts, by what they are for, on light and on dark.

Categories are those of Okabe and Ito, which stay apart for the colour-blind (Wong, "Points of view:
color blindness", Nature Methods 8, 441, 2011), brighter on dark. What matters is marked by more
than colour. A page has them as CSS variables, which its charts name too: so they follow its theme.
"""

import re

# name -> (on light, on dark)
COLORS = {
    "ink": ("#1b1f24", "#e8eaed"),
    "muted": ("#5a636d", "#a2abb5"),
    "line": ("#d9dde3", "#363d46"),
    "surface": ("#fefefe", "#171b20"),
    "page": ("#f4f5f7", "#0e1114"),
    "code": ("#f0f2f4", "#20262d"),
    "own": ("#0072b2", "#4aa8e0"),
    "quiet": ("#87909a", "#7f8994"),
    "cell": ("#0072b2", "#2a7cb5"),
    "cell-below": ("#d55e00", "#c2611a"),
    "on-cell": ("#ffffff", "#ffffff"),
    "focus": ("#e69f00", "#f2bd4d"),
    "positive": ("#00704f", "#4cc79a"),
    "mixed": ("#8a5a00", "#e0ad4d"),
    "null": ("#5a636d", "#a2abb5"),
    "bad": ("#b3261e", "#f28b82"),
    "category-1": ("#0072b2", "#4aa8e0"),
    "category-2": ("#d55e00", "#f4843a"),
    "category-3": ("#009e73", "#2fc79a"),
    "category-4": ("#cc79a7", "#e39cc5"),
    "category-5": ("#e69f00", "#f2bd4d"),
    "category-6": ("#56b4e9", "#a5dbfb"),
}


def variable(name: str) -> str:
    """The colour of that name, as CSS and as a chart's specification have it.

    Raises:
      KeyError: there is none.
    """
    assert COLORS[name]
    return f"var(--{name})"


CATEGORIES = tuple(variable(f"category-{number}") for number in range(1, 7))


def on_light(text: str) -> str:
    """Replaces variables by the colours themselves, for files that no page gives a theme."""
    return re.sub(r"var\(--([\w-]+)\)", lambda found: COLORS[found[1]][0], text)
