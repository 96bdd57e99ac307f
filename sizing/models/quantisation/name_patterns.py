"""Regular expressions over module names that match in bounded time, whatever a checkpoint's file holds.

Checkpoints name modules with Python regular expressions (``re:.*mlp\\.gate$``), and Python's own matcher can take
exponential time on a hostile one. This one walks all alternatives at once (Thompson's construction), so the time is
at most states x length of the name. Known: literals, ``.``, classes, ``\\d \\w \\s``, groups, ``|``, ``* + ? {m,n}``,
``^ $`` and negative lookaheads at the start. Anything else is refused. Matching is ``re.match``: from the start, and
not necessarily to the end.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator

LONGEST_PATTERN = 400
"""Characters of one pattern; the longest seen in a published checkpoint has fewer than 200."""
MOST_STATES = 2000
"""States of one pattern after repetitions are written out."""
DEEPEST_GROUP = 20
MOST_CACHED = 5000

DIGITS, WORD, SPACE = (
    frozenset(string.digits),
    frozenset(string.ascii_letters + string.digits + "_"),
    frozenset(" \t\n"),
)
CLASSES = {"d": DIGITS, "w": WORD, "s": SPACE}
QUANTIFIER = re.compile(r"\{(\d{1,3})(,?)(\d{0,3})\}")


class UnreadablePatternError(ValueError):
    """The pattern uses what is not understood, or is too large."""


class NamePattern:
    """A compiled pattern. ``matches(name)`` is what ``re.match(pattern, name) is not None`` says."""

    def __init__(self, pattern: str) -> None:
        """Compile; UnreadablePatternError for a construct that is not understood."""
        if len(pattern) > LONGEST_PATTERN:
            raise UnreadablePatternError(f"longer than {LONGEST_PATTERN} characters")
        refused, rest = _negative_lookaheads(pattern)
        self._refused = tuple(_Automaton(text) for text in refused)
        self._automaton = _Automaton(rest)

    def matches(self, name: str) -> bool:
        """Return True when the pattern matches at the start of ``name``."""
        return self._automaton.accepts(name) and not any(one.accepts(name) for one in self._refused)


def _negative_lookaheads(pattern: str) -> tuple[list[str], str]:
    """Take ``(?!...)`` off the start of the pattern, where it only forbids."""
    refused: list[str] = []
    rest = pattern.removeprefix("^")
    while rest.startswith("(?!"):
        depth, end = 0, 0
        for end, letter in enumerate(rest):
            escaped = end > 0 and rest[end - 1] == "\\"
            depth += 0 if escaped else (letter == "(") - (letter == ")")
            if depth == 0:
                break
        if depth:
            raise UnreadablePatternError("a group is not closed")
        refused.append(rest[3:end])
        rest = rest[end + 1 :]
    return refused, rest


class _Automaton:
    """States as lists: ``_steps`` (characters or None for any, next state), ``_free`` (moves without a character)."""

    def __init__(self, pattern: str) -> None:
        self._steps: list[tuple[frozenset[str] | None, bool, int]] = []
        self._free: list[list[int]] = []
        self._needs: list[str] = []
        self._text, self._at = pattern, 0
        start, end = self._alternatives(0)
        if self._at < len(pattern):
            raise UnreadablePatternError("a group is closed that was not opened")
        self._accept = end
        self._start = self._closure([start], first=True, last=False)
        self._start_of_empty = self._closure([start], first=True, last=True)
        self._cache: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def accepts(self, name: str) -> bool:
        states = self._start
        for letter in name:
            if self._accept in states:
                return True
            key = (states, letter)
            following = self._cache.get(key)
            if following is None:
                following = self._closure(self._moves(states, letter), first=False, last=False)
                if len(self._cache) < MOST_CACHED:
                    self._cache[key] = following
            states = following
            if not states:
                return False
        final = self._start_of_empty if not name else self._closure(states, first=False, last=True)
        return self._accept in final

    def _moves(self, states: frozenset[int], letter: str) -> Iterator[int]:
        for state in sorted(states):
            letters, negated, following = self._steps[state]
            if following >= 0 and (letters is None or (letter in letters) is not negated):
                yield following

    def _closure(self, states: Iterable[int], *, first: bool, last: bool) -> frozenset[int]:
        found: set[int] = set()
        waiting = list(states)
        while waiting:
            state = waiting.pop()
            needs = self._needs[state]
            if state in found:
                continue
            found.add(state)
            if (needs == "^" and not first) or (needs == "$" and not last):
                continue
            waiting.extend(self._free[state])
        return frozenset(found)

    def _state(self, needs: str = "") -> int:
        if len(self._free) >= MOST_STATES:
            raise UnreadablePatternError(f"needs more than {MOST_STATES} states")
        self._steps.append((None, False, -1))
        self._free.append([])
        self._needs.append(needs)
        return len(self._free) - 1

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _alternatives(self, depth: int) -> tuple[int, int]:
        if depth > DEEPEST_GROUP:
            raise UnreadablePatternError(f"groups nested deeper than {DEEPEST_GROUP}")
        start, end = self._state(), self._state()
        while True:
            first, last = self._sequence(depth)
            self._free[start].append(first)
            self._free[last].append(end)
            if self._peek() != "|":
                return start, end
            self._at += 1

    def _sequence(self, depth: int) -> tuple[int, int]:
        start = end = self._state()
        while self._peek() not in {"", "|", ")"}:
            begun = self._at
            fragment = self._atom(depth)
            least, most = self._repetition()
            after = self._at
            for copy in range(max(least, most or 0, 1)):
                if copy:
                    self._at = begun
                    fragment = self._atom(depth)
                self._free[end].append(fragment[0])
                following = self._state()
                self._free[fragment[1]].append(following)
                if copy >= least:
                    self._free[end].append(following)
                end = following
            if most is None:
                self._free[end].append(fragment[0])
            elif most == 0:
                raise UnreadablePatternError("a repetition of nothing")
            self._at = after
        return start, end

    def _repetition(self) -> tuple[int, int | None]:
        """Least and most repetitions; most is None for no end."""
        mark = self._peek()
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        stated = QUANTIFIER.match(self._text, self._at)
        if mark in simple and mark:
            self._at += 1
            found = simple[mark]
        elif stated:
            self._at = stated.end()
            least = int(stated[1])
            most = least if not stated[2] else int(stated[3]) if stated[3] else None
            if most is not None and most < least:
                raise UnreadablePatternError("a repetition from more to less")
            found = (least, most)
        else:
            return 1, 1
        if self._peek() == "?":
            self._at += 1
        if self._peek() in {"*", "+", "?"} and self._peek():
            raise UnreadablePatternError("a repetition of a repetition")
        return found

    def _atom(self, depth: int) -> tuple[int, int]:
        letter = self._peek()
        self._at += 1
        if letter == "(":
            return self._group(depth)
        if letter in {"^", "$"}:
            start, end = self._state(letter), self._state()
            self._free[start].append(end)
            return start, end
        if letter in {"*", "+", "?"}:
            raise UnreadablePatternError("a repetition of nothing")
        if letter == ".":
            return self._single(None, False)
        if letter == "[":
            return self._single(*self._class())
        if letter == "\\":
            letters, negated = self._escape()
            return self._single(letters, negated)
        return self._single(frozenset(letter), False)

    def _group(self, depth: int) -> tuple[int, int]:
        if self._text.startswith("?:", self._at):
            self._at += 2
        elif self._peek() == "?":
            raise UnreadablePatternError("a group of this kind is not understood")
        fragment = self._alternatives(depth + 1)
        if self._peek() != ")":
            raise UnreadablePatternError("a group is not closed")
        self._at += 1
        return fragment

    def _single(self, letters: frozenset[str] | None, negated: bool) -> tuple[int, int]:
        start, end = self._state(), self._state()
        self._steps[start] = (letters, negated, end)
        return start, end

    def _escape(self) -> tuple[frozenset[str], bool]:
        letter = self._peek()
        self._at += 1
        if letter.lower() in CLASSES and letter:
            return CLASSES[letter.lower()], letter.isupper()
        if not letter or letter.isalnum():
            raise UnreadablePatternError(f"\\{letter} is not understood")
        return frozenset(letter), False

    def _class(self) -> tuple[frozenset[str], bool]:
        negated = self._peek() == "^"
        self._at += negated
        letters: set[str] = set()
        first = True
        while self._peek() != "]" or first:
            first = False
            letter = self._peek()
            self._at += 1
            if not letter:
                raise UnreadablePatternError("a class is not closed")
            if letter == "\\":
                found, inverted = self._escape()
                if inverted:
                    raise UnreadablePatternError("a negated class within a class")
                letters |= found
            elif self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in {"", "]"}:
                last = self._text[self._at + 1]
                if not letter <= last or ord(last) - ord(letter) > 1000:
                    raise UnreadablePatternError("a range of a class is not in order")
                self._at += 2
                letters |= {chr(code) for code in range(ord(letter), ord(last) + 1)}
            else:
                letters.add(letter)
        self._at += 1
        return frozenset(letters), negated
