"""Words for made-up prose that costs PostgreSQL's English parser what real prose costs it.

`to_tsvector` is most of the server's time in a copy, and what it costs depends on the words: about half of the words
of English text are stop words that it drops, the rest is stemmed, and few words make up most of the text. So the
stop words are real and come first, and the rest are real stems with real endings.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_WORDS = Path(__file__).with_name("words.txt")
_ENDINGS = ("", "s", "ed", "ing", "er", "ers", "able", "ment", "ness", "ful")
_VOWELS = "aeiou"
_SEED = 4
_RANK_SHIFT = 2.7
"""Mandelbrot's correction of Zipf's law: word number r is as frequent as 1 / (r + 2.7)."""


def words() -> list[str]:
    """Several thousand distinct words, most frequent first."""
    common, stems = _listed()
    derived = sorted({_derive(stem, ending) for stem in stems for ending in _ENDINGS} - set(common))
    random.Random(_SEED).shuffle(derived)
    return common + derived


def _listed() -> tuple[list[str], list[str]]:
    """The two lists of words.txt, each under its comment."""
    _, common, stems = re.split(r"^#.*$", _WORDS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return common.split(), stems.split()


def _derive(stem: str, ending: str) -> str:
    if ending and ending[0] in _VOWELS and stem.endswith("e"):
        return stem[:-1] + ending
    return stem + ending


def cumulative_frequencies(count: int) -> NDArray[np.float64]:
    """Zipf's law summed up, ending in 1: look a uniform number up in it to draw a word."""
    frequencies = 1.0 / (np.arange(1, count + 1) + _RANK_SHIFT)
    total: NDArray[np.float64] = np.cumsum(frequencies) / frequencies.sum()
    return total
