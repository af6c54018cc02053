"""A reader for ``.env`` files: the part of the format that all its readers agree on."""

from __future__ import annotations

import re
from collections.abc import Mapping

_LINE = re.compile(
    r"""^[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*
        (?: '(?P<single>[^']*)'
          | "(?P<double>(?:[^"\\]|\\.)*)"
          | (?P<bare>[^'"\n][^\n]*)? )""",
    re.MULTILINE | re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(r"(?:^|[ \t]+)#.*$")
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def read_dotenv(text: str, environ: Mapping[str, str]) -> dict[str, str]:
    r"""The variables that ``text`` sets: ``NAME=value``, ``export NAME=value``, quoted values, comments.

    ``${NAME}`` stands for a variable of the environment or of an earlier line, except in single quotes. What is
    not an assignment is passed over: such files are written for other programs too.
    """
    found: dict[str, str] = {}

    def referred(match: re.Match[str]) -> str:
        name = match.group(1)
        return environ.get(name, found.get(name, ""))

    for match in _LINE.finditer(text):
        single, double, bare = match["single"], match["double"], match["bare"]
        if single is not None:
            value = single
        elif double is not None:
            value = re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), double, flags=re.DOTALL)
            value = _REFERENCE.sub(referred, value)
        else:
            value = _REFERENCE.sub(referred, _COMMENT.sub("", bare or "").strip())
        found[match["name"]] = value
    return found
