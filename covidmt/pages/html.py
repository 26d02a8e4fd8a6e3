"""The HTML pages' templates: what goes into one is escaped, and a name that it lacks is an error."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined


def page_environment() -> Environment:
    """Of the templates in ``covidmt/templates``."""
    return Environment(
        loader=PackageLoader("covidmt"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
