"""The page at /, one file that needs no other, and the header by which a browser runs only what is in it."""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("page.html")


class Page(NamedTuple):
    """What is sent."""

    html: str
    policy: str
    """Content-Security-Policy: the page's own script and style, this server, and pictures that the page made itself."""


@cache
def page() -> Page:
    """Read once."""
    html = FILE.read_text(encoding="utf-8")
    return Page(
        html,
        f"default-src 'none'; script-src {_hashes(html, 'script')}; style-src {_hashes(html, 'style')}; "
        "img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    )


def _hashes(html: str, tag: str) -> str:
    blocks = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(block.encode()).digest()).decode() for block in blocks)
    return " ".join(f"'sha256-{digest}'" for digest in digests)
