"""The words of a readable schedule, each with its place, so that an error can point at it."""

from __future__ import annotations

import re
from typing import NamedTuple

from holdfast.core.errors import InvalidSchedule

_WORD = re.compile(r",|[^\s,]+")


class Word(NamedTuple):
    """One word: in lower case, as it was said, and where."""

    text: str
    said: str
    place: int


class Words:
    """The words of a text, one after another."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._words = [Word(found[0].lower(), found[0], found.start()) for found in _WORD.finditer(text)]
        self._next = 0

    def peek(self) -> str:
        """The next word, which stays; empty at the end."""
        return self._words[self._next].text if self._next < len(self._words) else ""

    def next(self) -> Word | None:
        """The next word; None at the end."""
        if self._next >= len(self._words):
            return None
        self._next += 1
        return self._words[self._next - 1]

    def back(self) -> None:
        """Puts the last word back."""
        self._next -= 1

    def take(self, *texts: str) -> Word | None:
        """The next word if it is one of these."""
        return self.next() if self.peek() in texts else None

    def need(self, after: Word, what: str) -> Word:
        """The next word, which has to be there."""
        word = self.next()
        if word is None:
            raise self.wrong(None, f"after {after.said!r} there has to be {what}")
        return word

    def expect(self, texts: tuple[str, ...], *, after: Word) -> Word:
        """The next word, which has to be one of these."""
        listed = " or ".join(map(repr, texts))
        word = self.need(after, listed)
        if word.text not in texts:
            raise self.wrong(word, f"{word.said!r} stands where {listed} has to be")
        return word

    def wrong(self, word: Word | None, problem: str) -> InvalidSchedule:
        """The error that points at the word, or at the end."""
        return InvalidSchedule(self.text, len(self.text.rstrip()) if word is None else word.place, problem)
