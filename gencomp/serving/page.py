"""Pages of one file that need no other, and the header by which a browser runs only what is in them."""

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
    """Content-Security-Policy: the page's own script and style, this server, and pictures of the sources allowed."""


@cache
def page(file: Path = FILE, pictures: str = "blob: data:") -> Page:
    """Read once. `pictures`: the sources of pictures, by default those alone that the page makes itself."""
    html = file.read_text(encoding="utf-8")
    return Page(
        html,
        f"default-src 'none'; script-src {_hashes(html, 'script')}; style-src {_hashes(html, 'style')}; "
        f"img-src {pictures}; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    )


def _hashes(html: str, tag: str) -> str:
    blocks = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(block.encode()).digest()).decode() for block in blocks)
    return " ".join(f"'sha256-{digest}'" for digest in digests)
