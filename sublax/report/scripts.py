"""The scripts of a page, and the policy that lets them alone run.

The policy names each script by its hash, and forbids every request: a script that somehow came in
with a model's text would not run, and nothing could leave the page.
"""

import base64
import functools
import hashlib
from importlib import resources
from typing import NamedTuple

from markupsafe import Markup

_NOTICE = """/* Vega, Vega-Lite and Vega-Embed: copyright University of Washington Interactive Data
Lab, BSD-3-Clause, github.com/vega. D3: copyright Mike Bostock, ISC, github.com/d3. */
"""


class Scripts(NamedTuple):
    """What a page needs.

    Attributes:
      policy: the page's Content-Security-Policy.
      sources: of the scripts, in order.
    """

    policy: str
    sources: list[Markup]


def scripts(with_charts: bool) -> Scripts:
    """The scripts of a page with or without charts."""
    names = ["page.js", "tables.js", *(["charts.js"] if with_charts else [])]
    own = [_checked((resources.files("sublax.report") / name).read_text("utf-8")) for name in names]
    sources = [*([_library()] if with_charts else []), *own]
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
        for source in sources
    )
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {hashes}"
    return Scripts(policy, sources)


@functools.cache
def _library() -> Markup:
    """Vega-Embed with all that it needs; `vegaEmbed` afterwards. Made without a network."""
    # Not at the top: a page without charts needs none, and this takes a second.
    import vl_convert

    return _checked(_NOTICE + vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def _checked(source: str) -> Markup:
    """Markup: nothing in it ends the element that it is to stand in."""
    source = source.replace("\r\n", "\n")
    lowered = source.lower()
    if "</script" in lowered or "<!--" in lowered:
        raise ValueError("a script of the page has an end of script in it")
    return Markup(source)
