"""Reading the original's ``.ini`` files: typed values, and every key that means nothing named."""

from __future__ import annotations

import ast
import configparser
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eagleray.task import SettingsError
from eagleray_seamseg.original_config.keys import NUM_LOSSES, Key, Kind, keys_of

_NO_SECTION = "\0"
"""Name that no section has: ``[DEFAULT]`` is no special section, keys in it mean nothing."""
_BOOLEANS = configparser.ConfigParser.BOOLEAN_STATES


@dataclass(frozen=True)
class OriginalConfig:
    """A configuration of the original on top of its packaged default.

    Attributes:
        name: Where it was read, for messages.
        kind: Which of the three packaged defaults it stands on.
        values: Typed value of every key of that kind, by section and key.
        stated: The sections and keys that the file itself states.
        unknown: What the file states beyond, one sentence each; the original ignores it in silence.
    """

    name: str
    kind: Kind
    values: Mapping[str, Mapping[str, Any]]
    stated: frozenset[tuple[str, str]] = field(default=frozenset())
    unknown: tuple[str, ...] = ()

    def get(self, section: str, key: str) -> Any:
        """Return a value; None where the kind does not have the key."""
        return self.values.get(section, {}).get(key)


def read_config_file(path: Path) -> OriginalConfig:
    """Read a configuration file.

    Args:
        path: The ``.ini`` file.

    Raises:
        SettingsError: The file is missing or no configuration, or a value has the wrong type.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise SettingsError(f"{path} is no configuration file (no regular file)")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SettingsError(f"there is no configuration file {str(path)!r}") from error
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise SettingsError(f"{path} is no configuration file ({error})") from error
    return parse_config(text, path.name)


def parse_config(text: str, name: str, default_kind: Kind = "panoptic") -> OriginalConfig:
    """Read the text of a configuration.

    Args:
        text: Sections, keys and values as ``configparser`` reads them; keys may be empty.
        name: Where it was read, for messages.
        default_kind: Its kind where it states no ``loss_weights``, whose number tells.

    Raises:
        SettingsError: It is no configuration, or a value has the wrong type.
    """
    parser = configparser.ConfigParser(
        allow_no_value=True, interpolation=None, default_section=_NO_SECTION
    )
    try:
        parser.read_string(text, source=name)
    except configparser.Error as error:
        raise SettingsError(f"{name} is no configuration of the original: {error}") from error
    kind = _kind(parser, name) or default_kind
    known = keys_of(kind)
    if not set(parser.sections()) & set(known):
        raise SettingsError(
            f"{name} has none of the sections {', '.join(known)}, only "
            f"{parser.sections()}; is it a configuration of the original?"
        )
    stated, unknown = _sorted_out(parser, known, kind)
    values = {
        section: {
            key: _value(parser, section, key, spec, name)
            if (section, key) in stated
            else spec.default
            for key, spec in keys.items()
        }
        for section, keys in known.items()
    }
    return OriginalConfig(name, kind, values, stated, unknown)


def _kind(parser: configparser.ConfigParser, name: str) -> Kind | None:
    text = parser.get("optimizer", "loss_weights", fallback=None)
    if not text:
        return None
    weights = _literal(text, name, "optimizer", "loss_weights")
    count = len(weights) if isinstance(weights, tuple | list) else 0
    if count not in NUM_LOSSES:
        raise SettingsError(
            f"{name}: [optimizer] loss_weights = {text}: give 6 numbers (obj, bbx, roi_cls, "
            "roi_bbx, roi_msk, sem), or the first 5 (instance_seg) or 4 (detection)"
        )
    return NUM_LOSSES[count]


def _sorted_out(
    parser: configparser.ConfigParser, known: Mapping[str, Mapping[str, Key]], kind: Kind
) -> tuple[frozenset[tuple[str, str]], tuple[str, ...]]:
    """Tell the keys that the kind has from those that mean nothing."""
    stated, unknown = set(), []
    for section in parser.sections():
        if section not in known:
            unknown.append(
                f"section [{section}] is not of a {kind} configuration and was ignored by the "
                f"original too; {_nearest(section, known)}"
            )
            continue
        for key in parser.options(section):
            if key in known[section]:
                stated.add((section, key))
            else:
                unknown.append(
                    f"key [{section}] {key} is not of a {kind} configuration and was ignored by "
                    f"the original too; {_nearest(key, known[section])}"
                )
    return frozenset(stated), tuple(unknown)


def _value(parser: configparser.ConfigParser, section: str, key: str, spec: Key, name: str) -> Any:
    text = (parser.get(section, key) or "").strip()
    if not text and (spec.default is None or spec.getter == "text"):
        return spec.default
    if spec.getter == "struct":
        return _literal(text, name, section, key)
    try:
        match spec.getter:
            case "int":
                return int(text)
            case "float":
                return float(text)
            case "boolean":
                return _BOOLEANS[text.lower()]
            case "text":
                return text
    except (ValueError, KeyError) as error:
        wanted = {
            "int": "a whole number",
            "float": "a number",
            "boolean": f"one of {', '.join(_BOOLEANS)}",
        }[spec.getter]
        raise SettingsError(f"{name}: [{section}] {key} = {text!r}: must be {wanted}") from error


def _literal(text: str, name: str, section: str, key: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise SettingsError(
            f"{name}: [{section}] {key} = {text!r}: must be a Python literal (a number, tuple, "
            f"list or dictionary), names and calls are not allowed"
        ) from error


def _nearest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(names)}"
