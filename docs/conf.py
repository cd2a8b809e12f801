"""Sphinx's settings for the documentation site: `make docs` builds it into build/site."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import ringback

HERE = Path(__file__).parent
ROOT = HERE.parent

project = "ringback"
copyright = "the ringback authors"  # noqa: A001 - Sphinx's name
release = version = ringback.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
default_role = "code"  # docstrings put names into single backticks

myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"ringback {release}"

# Pages outside this folder that the site has under another name; directories are the pages that
# list them.
ELSEWHERE = {
    "README.md": "index.md",
    "CHANGELOG.md": "about/changelog.md",
    "CONTRIBUTING.md": "about/contributing.md",
    "SECURITY.md": "about/security-policy.md",
    "examples/README.md": "about/examples.md",
    "examples/bank/README.md": "about/bank.md",
    "deploy": "about/deploy.md",
    "deploy/README.md": "about/deploy.md",
    "deploy/kubernetes": "about/deploy.md",
    "docs/decisions": "decisions/index.md",
}
_INCLUDED = re.compile(r"^```\{include\} (\S+)$", re.MULTILINE)
_OPTION = re.compile(r"`\w+`: ")  # a line of a docstring's list of options
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:)([^)#\s]+)(?=[)#])")


def relink(text: str, page: Path, source: Path) -> str:
    """Make relative links of `source` right for `page`, and lead those out of docs/ to the pages of
    `ELSEWHERE`.
    """

    def target(link: re.Match[str]) -> str:
        path = (source.parent / link[1]).resolve()
        name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""
        path = HERE / ELSEWHERE[name] if name in ELSEWHERE else path
        return os.path.relpath(path, page.parent)

    return _LINK.sub(target, text)


def read_source(app: Any, name: str, text: list[str]) -> None:
    """Take in the page that another one includes, and mend the links of both."""
    page = HERE / f"{name}.md"
    included = _INCLUDED.match(text[0])
    source = page if included is None else (page.parent / included[1]).resolve()
    text[0] = relink(text[0] if included is None else source.read_text(), page, source)


def read_docstring(app: Any, what: str, name: str, of: Any, options: Any, lines: list[str]) -> None:
    """Make reStructuredText of our docstrings: indented lines are code, and outside of backticks no
    character is markup.
    """
    made: list[str] = []
    code = option = False
    for line in lines:
        if line.startswith("    "):
            if not code and made and not made[-1]:
                code = True
                made += ["::", ""]
            made.append(line)
            continue
        code = code and not line
        parts = re.split(r"(`[^`]*`)", line)
        parts[::2] = [re.sub(r"[*|]|_(?!\w)", r"\\\g<0>", part) for part in parts[::2]]
        line = "".join(parts)
        if _OPTION.match(line):
            made += [] if option else [""]
            option = True
            line = f"- {line}"
        elif option and line:  # it goes on with the text of the option
            line = f"  {line}"
        else:
            option = False
        made.append(line)
    lines[:] = made


def read_signature(
    app: Any,
    what: str,
    name: str,
    of: Any,
    options: Any,
    signature: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    return signature and signature.replace("Ellipsis", "..."), returned


def setup(app: Any) -> None:
    app.connect("source-read", read_source)
    app.connect("autodoc-process-docstring", read_docstring)
    app.connect("autodoc-process-signature", read_signature)
