"""A program's command line as the ledger keeps it: one short line, without what looks like a secret.

A net with a fine mesh, and still a net: a secret that is named like none, and looks like none, passes. The search holds
the interpreter, hence the event loop too: nothing in here may take longer than in proportion to what it reads.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from interpose.secret import MASK

COMMAND_LIMIT = 512
# Of one word so much is read: a prompt, or a picture in base64, can have 128 KiB.
WORD_LIMIT = 2048

# Prefixes of keys that providers and services hand out, and what looks like a secret by the name that it goes by.
_KEY = re.compile(
    r"\b(?:sk|pk|rk|vk|xai|gsk|hf|r8|pplx|ghp|gho|ghs|github_pat|glpat|xox[abprs])[-_][\w.\-]{6,}"
    r"|\bAIza[\w\-]{10,}|\b(?:AKIA|ASIA)[A-Z0-9]{12,}|\beyJ[\w\-]+\.[\w\-]+(?:\.[\w\-]*)?"
)
# Bounded: in a long word each place may be the beginning of a name, and to look from each to the end takes minutes.
_NAME = r"[\w.\-]{0,48}(?:key|token|secret|pass|pwd|credential|auth|bearer|cookie)[\w.\-]{0,48}"
# name=value, name: value, "name": "value". What is in quotes is the value, with whatever they hold.
_NAMED = re.compile(
    rf"(?P<name>{_NAME}\\?[\"']?\s{{0,8}}[=:]\s{{0,8}})"
    r"(?:(?P<quote>\\?[\"'])(?:(?!(?P=quote))(?:\\.|.))+|[^\s\"'&]+)",
    re.IGNORECASE | re.DOTALL,
)
# A header as a word of its own, or in quotes: its value may have a scheme and parameters.
_HEADER_LINE = re.compile(rf"(?P<name>(?:\A|=){_NAME}:).+", re.IGNORECASE | re.DOTALL)
_QUOTED_HEADER = re.compile(rf"(?P<name>(?P<quote>\\?[\"']){_NAME}:)(?:(?!(?P=quote)).)+", re.IGNORECASE | re.DOTALL)
_BEARER = re.compile(r"\b(?P<scheme>bearer|basic)\s+[^\s\"']+", re.IGNORECASE)
_USERINFO = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.\-]{0,20}://)[^/\s?#]{1,256}@", re.IGNORECASE)
_OPTION = re.compile(r"-{1,2}[\w\-]*(?:key|token|secret|pass|pwd|credential|auth|cookie)[\w\-]*", re.IGNORECASE)
# Options whose next word is a secret by convention: curl's and wget's user:password, curl's cookies.
_SECRET_OPTIONS = frozenset(("-u", "--user", "--proxy-user", "-U", "-p", "-b"))
# Options whose next word is what is said, and to be kept by rules alone (`ledger.capture`): a body as such. A file's
# name stays.
_BODIES = {
    "curl": re.compile(r"(?P<name>-d|-F|--data(?:-[a-z]+)?|--json|--form(?:-string)?)(?P<said>=?.*)", re.DOTALL),
    "wget": re.compile(r"(?P<name>--post-data|--body-data)(?P<said>=?.*)", re.DOTALL),
}
_USER_AND_PASSWORD = re.compile(r"-[uU][^-=].*:.*", re.DOTALL)


def scrub_command(arguments: Sequence[str]) -> str:
    """A command line as one line of text, of at most COMMAND_LIMIT characters, with what looks like a secret masked."""
    words: list[str] = []
    secret_follows = body_follows = False
    bodies = _BODIES.get(re.split(r"[\\/]", arguments[0])[-1].removesuffix(".exe")) if arguments else None
    for whole in arguments:
        if sum(map(len, words)) > COMMAND_LIMIT:
            break
        argument = whole if len(whole) <= WORD_LIMIT else whole[:WORD_LIMIT] + "…"
        option, equals, _ = argument.partition("=")
        if secret_follows:
            words.append(MASK)
            secret_follows = False
        elif body_follows:
            words.append(scrub_text(argument) if argument.startswith("@") else MASK)
            body_follows = False
        elif bodies is not None and (found := bodies.fullmatch(argument)) is not None:
            body_follows = not found["said"]
            words.append(found["name"] + (f"={MASK}" if found["said"] else ""))
        elif option not in _SECRET_OPTIONS and _OPTION.fullmatch(option) is None:
            words.append(f"{argument[:2]}{MASK}" if _USER_AND_PASSWORD.match(argument) else scrub_text(argument))
        else:
            secret_follows = not equals
            words.append(f"{scrub_text(option)}={MASK}" if equals else scrub_text(option))
    text = " ".join(words)
    text = "".join(character if character.isprintable() else " " for character in text)
    return text if len(text) <= COMMAND_LIMIT else text[: COMMAND_LIMIT - 1] + "…"


def scrub_text(text: str) -> str:
    """One word of a command line, which may itself be a header, a URL or a script."""
    text = _USERINFO.sub(rf"\g<scheme>{MASK}@", text)
    text = _BEARER.sub(rf"\g<scheme> {MASK}", text)
    text = _HEADER_LINE.sub(rf"\g<name> {MASK}", text)
    text = _QUOTED_HEADER.sub(rf"\g<name> {MASK}", text)
    text = _NAMED.sub(lambda found: f"{found['name']}{found['quote'] or ''}{MASK}", text)
    return _KEY.sub(MASK, text)
