"""How templates of pages are filled in."""

import jinja2


def environment(package: str) -> jinja2.Environment:
    """Of the templates beside a package's modules: everything is escaped, and what a template lacks is an error."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package, "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
