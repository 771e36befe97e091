"""Text without what nobody sees: odd white space, look-alike characters, characters without ink."""

import re
import unicodedata

# What NFKC leaves of quotation marks, dashes and the minus sign, which a writer may vary at will.
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    }
)
_INDENT = re.compile(r"[ \t]*")


def canonical_text(text: str) -> str:
    """Text in one form of writing.

    NFKC (Unicode Standard Annex 15); straight quotation marks; every dash a hyphen; no characters
    without ink (categories Cc, Cf, Co and Cs); in each line one space where there were several,
    and none at its end; one empty line where there were several, and none at either end. A line's
    indentation stays, for code in it may need it; a tab in it is four spaces.
    """
    text = unicodedata.normalize("NFKC", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = "".join(
        letter
        for letter in text.translate(_PLAIN)
        if letter in "\n\t" or unicodedata.category(letter) not in ("Cc", "Cf", "Co", "Cs")
    )
    lines: list[str] = []
    for line in text.split("\n"):
        words = " ".join(line.split())
        indent = _INDENT.match(line)
        before = indent[0].replace("\t", "    ") if indent and words else ""
        if words or (lines and lines[-1]):
            lines.append(before + words)
    return "\n".join(lines).strip("\n")
