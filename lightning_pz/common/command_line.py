"""The parser of the commands: help on 80 columns with the most used options first, and a sentence for each mistake.

Imports nothing heavier than jsonargparse, so that a command answers `--help` and refuses a mistake without torch.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import textwrap
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from jsonargparse import ArgumentParser

from lightning_pz.common.checks import one_of
from lightning_pz.common.errors import UserError, nearest

_WIDTH, _INDENT = 79, 24
_METAVARS = {int: "INT", float: "NUMBER", bool: "true|false", str: "TEXT"}
_WANTED = {
    "INT": "a whole number", "NUMBER": "a number", "true|false": "true or false", "LIST": "a list",
    "MAPPING": "a mapping, such as {name: value}",
}  # fmt: skip
_Settings = TypeVar("_Settings")


def pick(kind: type[_Settings], config: Any) -> _Settings:
    """Return the dataclass `kind` filled from the parsed options of the same names."""
    return kind(**{field.name: config[field.name] for field in dataclasses.fields(kind)})  # type: ignore[arg-type]


class CommandParser(ArgumentParser):
    """A jsonargparse parser with a short help and errors that are sentences.

    `--help` shows the options in `often` and names the other sections, `--help SECTION` shows one of them and `--help all`
    everything; without `often`, `--help` shows everything. What comes before `--help` stands there as the defaults: the settings
    that the package ships, which a command puts before its arguments, those of `--env`, the user's own.
    """

    def __init__(self, *, command: str = "", often: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(prog=f"python -m lightning_pz.{command}", add_help=False, allow_abbrev=False, **kwargs)
        self._command, self._often = command, often
        self.add_argument(
            "-h", "--help", action=_Help, help="Show this summary, the options of one section, or `all` of them."
        )

    def explain(self, sentences: Mapping[str, str], metavar: str | None = None) -> None:
        """Replace the sentences of some options, given by dotted name; the metavar `NAME` stands for names of presets."""
        for action in self._actions:
            if action.dest in sentences:
                action.metavar, action.help = metavar or action.metavar, sentences[action.dest]

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise `UserError` with the option, what it expects and what came."""
        if not self.exit_on_error:  # a parser that jsonargparse makes of this class, to try a type
            super().error(message, ex)
        raise UserError(_sentence(self, " ".join(message.split()))) from ex

    def format_help(self, formatter: argparse.HelpFormatter | None = None) -> str:
        """Return the text of `--help`."""
        return self.help_of("")

    def help_of(self, section: str, given: Mapping[str, Any] | None = None) -> str:
        """Return help: the summary for "", everything for "all", or the options of a section such as `data.grown`.

        Settings that are `given`, nested, stand there as the defaults.
        """
        section = section or ("" if self._often else "all")
        defaults = flat_settings(self.get_defaults().as_dict()) | flat_settings(given or {})
        # Links from one option to another, and places within groups, are no options.
        named = [a for a in self._actions if all(flag.startswith("-") for flag in a.option_strings)]
        actions = [a for a in named if a.help != argparse.SUPPRESS and (a.option_strings or "." not in a.dest)]
        parents = set(_with_parents(_section(action) for action in actions))
        sections: dict[str, list[argparse.Action]] = {}
        for action in actions:
            if action.dest not in parents or action.metavar == "NAME":
                sections.setdefault(_section(action), []).append(action)
        titles = {_prefix(group._group_actions, parents): group.title or "" for group in self._action_groups}
        titles["other"] = "Options outside the sections" if len(sections) > 1 else "Options"
        known = _with_parents(sections)
        if section not in ("", "all"):
            one_of("help", section, ("all", *known))
            sections = {name: actions for name, actions in sections.items() if f"{name}.".startswith(f"{section}.")}
        places = [action.dest.upper() for action in actions if not action.option_strings]
        lines = [" ".join(["usage:", self.prog, *places, "[--OPTION VALUE ...]"]), ""] if self._command else []
        lines += _description(self.description or "") if section in ("", "all") else []
        if section:
            for name, actions in sections.items():
                lines += [*textwrap.wrap(f"{titles.get(name) or name}:", _WIDTH), *_entries(actions, defaults), ""]
            return "\n".join(lines)
        flags = {action.dest: action for actions in sections.values() for action in actions}
        lines += ["Options that are set most:", *_entries([flags[name] for name in self._often], defaults), ""]
        lines += [
            "Sections, with their numbers of options; `--help SECTION` explains one, `--help",
            "all` all of them:",
        ]
        for name in (name for name in known if name.count(".") < 2):
            inside = [a for key, found in sections.items() for a in found if f"{key}.".startswith(f"{name}.")]
            title = re.split(r"\. |; ", titles.get(name) or "")[0].rstrip(".:")
            head = f"  {name}".ljust(_INDENT) + f"{title} ({len(inside)})"
            lines += textwrap.wrap(head, _WIDTH, subsequent_indent=" " * _INDENT)
        return "\n".join([*lines, ""])


class _Help(argparse._HelpAction):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.nargs, self.metavar = "?", "[SECTION]"

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        print(parser.help_of(values or "", namespace.as_dict()), end="")
        parser.exit()


def _prefix(actions: Sequence[argparse.Action], parents: set[str]) -> str:
    """Return the section that a group of options makes up."""
    return next((a.dest for a in actions if a.dest in parents), _section(actions[0]) if actions else "")


def _section(action: argparse.Action) -> str:
    return action.dest.removesuffix(".help").rpartition(".")[0] or "other"


def _with_parents(names: Iterable[str]) -> list[str]:
    parts = [name.split(".") for name in names]
    return list(dict.fromkeys(".".join(p[:i]) for p in parts for i in range(1, len(p) + 1)))


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted name."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        inner = isinstance(value, Mapping) and bool(value)
        found |= flat_settings(value, f"{prefix}{key}.") if inner else {prefix + key: value}
    return found


def _description(text: str) -> Iterator[str]:
    """Yield a description, paragraphs filled and lists of files with their line breaks."""
    for paragraph in text.strip().split("\n\n"):
        block = paragraph.splitlines()
        if not block[0].startswith(" "):
            yield from textwrap.wrap(" ".join(block), _WIDTH, break_on_hyphens=False)
        for line in textwrap.dedent(paragraph).splitlines() if block[0].startswith(" ") else ():
            gap = re.match(r"\S+(?: \S+)* {2,}", line)
            hanging = " " * (2 + (gap.end() if gap else 0))
            yield from textwrap.wrap(f"  {line}", _WIDTH, subsequent_indent=hanging, break_on_hyphens=False)
        yield ""


def _entries(actions: Sequence[argparse.Action], defaults: Mapping[str, Any]) -> Iterator[str]:
    for action in actions:
        words, choices = _type_words(getattr(action, "_typehint", None))
        metavar = "FILE" if action.dest == "config" else action.metavar
        value = metavar if isinstance(metavar, str) and "{" not in metavar else words
        flags = action.option_strings
        head = f"  {flags[0 if flags[-1].endswith('+') else -1]} {value}" if flags else f"  {action.dest}"
        notes = [f"one of {', '.join(choices)}"] if choices else []
        default = defaults.get(action.dest, None if action.default == argparse.SUPPRESS else action.default)
        if isinstance(default, list | str | int | float) and default not in ("", [], argparse.SUPPRESS):
            notes.append(f"default: {str(default).lower() if isinstance(default, bool) else default}")
        text = re.sub(r"\s*Defaults?(:| to) `+[^`]*`+\.?", "", " ".join((action.help or "").split())).replace("``", "`")
        text += f" ({'; '.join(notes)})" if notes else ""
        body = textwrap.wrap(text, _WIDTH - _INDENT, break_on_hyphens=False)
        if len(head) + 2 <= _INDENT and body:
            head, body = head.ljust(_INDENT) + body[0], body[1:]
        yield from [head, *(" " * _INDENT + line for line in body)]


def _type_words(hint: Any) -> tuple[str, list[str]]:
    """Return the word that stands for a value of a type, and the values it is chosen from, if any."""
    options = [hint] if typing.get_origin(hint) is typing.Literal else list(typing.get_args(hint)) or [hint]
    options = [one for one in options if one is not type(None)]
    if options and all(typing.get_origin(one) is typing.Literal for one in options):
        return "NAME", list(dict.fromkeys(str(word) for one in options for word in typing.get_args(one)))
    if typing.get_origin(hint) in (list, tuple) or any(typing.get_origin(one) is list for one in options):
        return "LIST", []
    if typing.get_origin(hint) is dict or any(typing.get_origin(one) is dict for one in options):
        return "MAPPING", []
    return (_METAVARS.get(options[0], "VALUE") if len(options) == 1 else "VALUE"), []


def _sentence(parser: ArgumentParser, text: str) -> str:
    """Return an error of jsonargparse as a sentence with the option and what it expects."""
    flags = [flag for action in parser._actions for flag in action.option_strings if not flag.endswith("+")]
    if found := re.search(r'.*Parser key "([^"]+)":.*?(?:Given value|Got value): (.*)$', text):
        key, value = found.groups()
        hint = next((getattr(action, "_typehint", None) for action in parser._actions if action.dest == key), None)
        words, choices = _type_words(hint)
        expected = f"one of {', '.join(choices)}" if choices else _WANTED.get(words)
        if expected:
            return f"--{key} expects {expected}, but got {value!r}." + nearest(value, choices)
    if found := re.match(r"unrecognized arguments: (.+)", text):
        word = found.group(1).split(" ")[0]
        return f"there is no option {word}." + nearest(word.split("=")[0], flags)
    if found := re.search(r"(?:Option|Group) '([^']+)' (?:is not accepted|does not accept option '([^']+)')", text):
        name = "--" + ".".join(part for part in found.groups() if part)
        return f"there is no option {name}." + nearest(name, flags)
    if found := re.match(r"argument (?:-\w/)?(--[\w.]+\+?).*: expected", text):
        return f"{found.group(1)} expects a value, but nothing came after it"
    if found := re.match(r"the following arguments are required: (.+)", text):
        return f"{parser.prog} needs {found.group(1)}; --help explains it"
    return text
