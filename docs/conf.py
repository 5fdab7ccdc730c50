"""Settings of Sphinx, which builds the site: ``make docs``."""

import tomllib
import zlib
from pathlib import Path

DOCS = Path(__file__).parent
BUILD = DOCS.parent / "build"

project = "Flask-Buffalo-Session"
author = copyright = "The flask_buffalo_session authors"
_PACKAGE = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]
release = _PACKAGE["version"]
html_title = f"{project} {release}"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
]

# Markdown
myst_heading_anchors = 4

# The reference of the interface, from the docstrings
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
add_module_names = False
default_role = "code"  # a parameter's name in a docstring: `max_age`

# Every reference has to lead somewhere, except for type variables.
nitpicky = True
nitpick_ignore_regex = [("py:class", r".*\.T")]

# How the site looks
html_theme = "furo"
html_theme_options = {  # each page links to its source
    "source_repository": "https://github.com/flask-buffalo-session/flask-buffalo-session",
    "source_branch": "main",
    "source_directory": "docs/",
}
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["site.css"]
html_copy_source = False

# A copied command has neither its prompt nor its output.
copybutton_exclude = ".linenos, .gp, .go"

# `make docs-links` does not try the servers of the examples. The tests look up links to
# files of the repository in the repository itself.
linkcheck_ignore = [
    r"http://(127\.0\.0\.1|localhost)",
    r"https://github\.com/flask-buffalo-session/",
]


def _inventory(name: str, objects: dict[str, str]) -> str:
    """Write an inventory as intersphinx reads it, and return its path."""
    lines = (f"{known} 1 {place} -\n" for known, place in objects.items())
    file = BUILD / "inventories" / f"{name}.inv"
    file.parent.mkdir(parents=True, exist_ok=True)
    head = f"# Sphinx inventory version 2\n# Project: {name}\n# Version:\n# zlib\n"
    file.write_bytes(head.encode() + zlib.compress("".join(lines).encode()))
    return str(file)


# The names of other projects that this site links to. They are in a file here, so that
# the build needs no network and reports a name that is missing.
intersphinx_mapping = {
    name: (other["url"], _inventory(name, other["objects"]))
    for name, other in tomllib.loads((DOCS / "others.toml").read_text()).items()
}
