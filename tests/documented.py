"""The commands that the pages document, read from their code blocks."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ("eagleray", "make", "python", "pip", "ray", "docker", "git", "sbatch")
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHELLS = ("", "shell", "bash", "sh", "console")
_INLINE = re.compile(r"`(eagleray [^`\n]+)`")


@dataclass(frozen=True)
class Documented:
    """A command as it stands on a page.

    Args:
        page: The page, from the repository's root.
        text: The line without its comment; continued lines are one.
    """

    page: str
    text: str

    def commands(self) -> Iterator[list[str]]:
        """Yield the words of each of our commands in the line, what a script is given included."""
        for part in self.text.split(" && "):
            words = shlex.split(part)
            while words and _ASSIGNMENT.fullmatch(words[0]):
                words = words[1:]
            if words[0] == "sbatch" and "eagleray" in words:
                words = words[words.index("eagleray") :]
            if words[0] == "eagleray":
                yield words[1:]


def pages() -> list[Path]:
    """Return all pages of the repository; what the originals are quoted with are no commands."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "*.md"], capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.split() if "originals" not in name]


def fenced(page: Path) -> list[tuple[str, str]]:
    """Return kind and text of a page's fenced blocks."""
    return _FENCE.findall(page.read_text())


def documented(page: Path) -> list[Documented]:
    """Return the commands in the blocks of a page, in their order."""
    name, found = page.relative_to(ROOT).as_posix(), []
    for line in _block_lines(page.read_text()):
        command = _without_comment(line)
        words = command.split()
        while words and _ASSIGNMENT.fullmatch(words[0]):
            words = words[1:]
        if words and words[0] in PROGRAMS:
            found.append(Documented(name, command))
    return found


def mentioned(page: Path) -> list[str]:
    """Return the commands that a page's sentences mention, shortened as they may be."""
    text = _FENCE.sub("", page.read_text())
    return [found.replace("\\|", "|") for found in _INLINE.findall(text)]


def _block_lines(text: str) -> Iterator[str]:
    """Yield the lines of shell and of indented blocks, continued ones as one."""
    shells = {i for i, m in enumerate(_FENCE.finditer(text)) if m[1] in _SHELLS}
    lines: list[str] = []
    end = 0
    for i, fence in enumerate(_FENCE.finditer(text)):
        lines += _indented(text[end : fence.start()])
        lines += fence[2].splitlines() if i in shells else []
        end = fence.end()
    lines += _indented(text[end:])
    begun = ""
    for line in lines:
        begun += line.strip()
        if begun.endswith("\\"):
            begun = begun[:-1]
            continue
        yield begun
        begun = ""


def _indented(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(("    ", "\t"))]


def _without_comment(line: str) -> str:
    return re.sub(r"\s+# .*$", "", line).strip()
