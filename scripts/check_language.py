"""Check the language of code and documents against docs/glossary.md.

Reports banned words and phrases, old names, and lines of documents that are too long. Prints each
finding with its file, its line and a suggestion. The exit code is 1 if there is a finding, else 0.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SUFFIXES = {".css", ".html", ".lua", ".md", ".py", ".toml", ".ts", ".tsx", ".yml"}
# These files must contain banned words, because they ban them or list old names beside new ones.
EXEMPT = {"CHANGELOG.md", "docs/glossary.md", "scripts/check_language.py"}
GENERATED = ("requirements.lock", "web/package-lock.json", "tests/compatibility/")
MAX_PROSE_CHARS = 100
MAX_TABLE_CHARS = 160


class Rule(NamedTuple):
    """A banned pattern, and what to write in its place."""

    pattern: re.Pattern[str]
    instead: str
    except_in: tuple[str, ...] = ()
    """Beginnings of the paths of files in which the word has its ordinary meaning."""


def _rule(pattern: str, instead: str, *, except_in: tuple[str, ...] = ()) -> Rule:
    return Rule(re.compile(pattern, re.IGNORECASE), instead, except_in)


RULES = (
    # Old names and metaphors.
    _rule(r"\bears?\b", "coverage, subscription"),
    _rule(r"\bdeaf(ness)?\b", "coverage gap"),
    _rule(r"\badopt(s|ed|er|ers|ing|ion|ions)?\b", "ingest, ingestor"),
    _rule(r"\bplain(ly)? (publish|command|PUBLISH)\w*", "external message, external command"),
    _rule(
        r"\b(courier|freight|logbook|janitor)s?\b", "the standard term: sender, buffer, eviction"
    ),
    _rule(r"\bgoodbyes?\b", "graceful stop"),
    _rule(r"\b(rhythm|crowd)s?\b", "heartbeat interval; clients"),
    _rule(r"(?<![.\w-])beats?\b(?! schedul)", "heartbeat"),
    _rule(
        r"\bseeds?\b",
        "status stream, original specification",
        except_in=(
            "src/pulseboard/cli/",
            "src/pulseboard/demo/",
            "tests/",
            "chaos/",
            "docs/demo.md",
            "benchmarks/",
        ),
    ),
    # Riddles: name the actor, and say what it does.
    _rule(
        r"\b(nobody|somebody|whoever|whomever|whatever|whichever)\b", "name the actor or the thing"
    ),
    _rule(
        r"\bwho (may|has|does|is|was|asks|reads|listens|hears|publishes) (not|no|so|never)\b",
        "name the actor",
    ),
    _rule(
        r"\bwhat (was|is|were|has|had) (lost|missed|said|told|heard|the case|asked|left|kept)\b",
        "use the noun",
    ),
    _rule(
        r"\b(told apart|let go of|lets go of|is told of|are told of)\b",
        "distinguish; close; report",
    ),
    _rule(r"\b(for|after|within|every) so (long|many|much)\b", "give the number and its unit"),
    _rule(r"^\W*so (many|long|much)\b", "give the number and its unit"),
    _rule(
        r"\bthis and now that\b|\bonce is once\b|\btwice is \w+ing once\b", "say it in plain words"
    ),
    _rule(r"\b(hears|heard|hearing)\b", "receives, received, observed"),
    _rule(r"\bin vain\b|\bhangs? up on\b|\bbe there none\b", "say what happens"),
)


class Finding(NamedTuple):
    """One line of a file that breaks a rule."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


def main() -> int:
    findings = list(find_all(sys.argv[1:]))
    for finding in findings:
        print(finding)
    if findings:
        print(
            f"{len(findings)} findings: rewrite these lines; "
            "docs/glossary.md has the words and the rules of writing"
        )
    return 1 if findings else 0


def find_all(paths: list[str]) -> Iterator[Finding]:
    """Yield the findings in these files, or in every file that git tracks if `paths` is empty."""
    for path in paths or tracked_files():
        if path in EXEMPT or path.startswith(GENERATED) or Path(path).suffix not in SUFFIXES:
            continue
        yield from check_file(path, (ROOT / path).read_text(encoding="utf-8"))


def tracked_files() -> list[str]:
    """Return the path of every file that git tracks, relative to the root of the repository."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return [path for path in listing.split("\0") if path and (ROOT / path).is_file()]


def check_file(path: str, content: str) -> Iterator[Finding]:
    """Yield the findings in one file."""
    is_document = path.endswith(".md")
    in_code = False
    for number, line in enumerate(content.splitlines(), start=1):
        for rule in RULES:
            if path.startswith(rule.except_in):
                continue
            if (match := rule.pattern.search(line)) is not None:
                yield Finding(path, number, f"{match[0].strip()!r}: write {rule.instead}")
        if not is_document:
            continue
        if line.lstrip().startswith("```"):
            in_code = not in_code
        limit = MAX_TABLE_CHARS if line.lstrip().startswith("|") else MAX_PROSE_CHARS
        if len(line) > limit and not in_code and "](http" not in line:
            yield Finding(path, number, f"{len(line)} characters: at most {limit}")


if __name__ == "__main__":
    sys.exit(main())
