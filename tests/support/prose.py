"""Made-up text and times that look like what people keep in an agent's memory: the awkward parts included."""

from __future__ import annotations

import json
import random
import uuid
from datetime import date
from functools import cache

NODE_TYPES = ("fact", "concept", "event", "person", "place", "note", "pattern", "decision")
TAGS = ("rust", "async", "ops", "postgres", "日本語", "réunion", "to-do", "c++", 'quo"te', "a,b", "release 2.1", "🦀")
CODEBASES = ("vestige", "my app/2", "payments-api", "прил-ожение", "C:\\work\\legacy")
DOMAIN_NAMES = ("rust", "infrastructure", "cuisine", "日々の生活", "people & teams", "health", "finance", "music")
HANDLES = ("ana", "bjørn", "chloé", "dmitri", "ewa.k", "李雷", "o'neil", "zoë-2")
EDGE_TYPES = ("semantic", "temporal", "causal", "part_of", "user_defined", "shared_concepts")
EVENT_KINDS = ("review", "access", "promote", "demote", "suppress")

_PLAIN = (
    "The staging database is rebuilt every night at two, so nothing on it survives a day.",
    "Prefer explicit error types over strings in the public interface.",
    "Retries need jitter, otherwise every worker comes back in the same second.",
    "The review moved to Thursday because the auditors are in the office on Wednesday.",
    "Tokio's blocking pool starves when one handler holds a lock over an await.",
    "Use half-open ranges everywhere and test the neighbours.",
    "Grandmother's recipe wants the onions glassy, not brown, and no garlic at all.",
    "Deploys stop at 16:00 on Fridays; the exception is a fix for money that moves twice.",
    "An index on created_at makes the nightly export twelve times faster.",
    "He asked to be called by his second name, and he is allergic to hazelnuts.",
    "The 95th percentile went from 180 ms to 41 ms after the connection pool was halved.",
    "Keep the old endpoint until March: two partners still call it by its first name.",
)
_AWKWARD = (
    "Café Zürich, Größe 42, naïve señor, Łódź, Ørsted, Ἑλλάς, Київ.",
    "会議は木曜日の午後三時からです。資料は共有フォルダにあります。",
    "الاجتماع يوم الخميس في الثالثة بعد الظهر.",
    "Shipped it 🎉🚀 with the whole team 👩‍👩‍👧‍👦, thumbs up from 👍🏽.",
    'She said: "It\'s done", and he wrote `rm -rf "$DIR"` on the board.',
    "First line\nsecond line\r\n\tthird, indented\n\n- a list\n- of two",
    "A path C:\\temp\\new and a regex \\d+\\s*$ with \\N and \\. alone on a line:\n\\.\n",
    "100 % of %s and {braces}, $1, :name, ?, -- no comment; /* nor this */",
    "e\u0301 is not é, the dash — is long, “quotes” curl, and this\u00a0does not break…",
    'fn main() {\n    println!("{:?}", vec![1, 2]);\n}\n',
    "<b>bold</b> &amp; [link](https://example.org/?q=a&b=c#d), mailto:ana@example.org",
    "Line separator:\u2028 paragraph separator:\u2029 zero width:\u200b end, BOM \ufeff inside.",
)
_RFC_3339 = tuple((digits, zone) for digits in (0, 3, 6, 9) for zone in ("+00:00", "Z"))
_TIME_FORMS: tuple[tuple[int | None, str], ...] = (*_RFC_3339, *[(9, "+00:00")] * 5, (None, ""))
FIRST_SECOND, LAST_SECOND = 1_730_000_000, 1_779_000_000  # October 2024 to May 2026
DAY_SECONDS = 86_400
_EPOCH = date(1970, 1, 1).toordinal()


def content(rng: random.Random, number: int) -> str:
    """A few sentences, no two memories the same; every third has something awkward in it."""
    sentences = rng.choices(_PLAIN, k=rng.randint(1, 5))
    if number % 3 == 0:
        sentences.insert(rng.randrange(len(sentences) + 1), _AWKWARD[number // 3 % len(_AWKWARD)])
    return f"{' '.join(sentences)} (note {number})"


def tags(rng: random.Random) -> str:
    """A JSON array of up to four tags; half of them written with escapes, as different writers did."""
    return json.dumps(rng.sample(TAGS, k=rng.randint(0, 4)), ensure_ascii=rng.random() < 0.5)


def metadata(rng: random.Random, number: int) -> str:
    """A JSON object, empty for every fifth row."""
    if number % 5 == 0:
        return "{}"
    value = {
        "channel": rng.choice(("cli", "mcp", "import", "会話")),
        "confidence": rng.random(),
        "turn": rng.randint(0, 400),
        "pinned": rng.random() < 0.1,
        "parent": None,
        "path": {"file": "src/main.rs", "lines": [rng.randint(1, 90), rng.randint(91, 400)]},
    }
    return json.dumps(value, ensure_ascii=rng.random() < 0.5)


def new_id(rng: random.Random) -> str:
    """A random UUID as Vestige writes it: lowercase, hyphenated."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def moment(rng: random.Random) -> int:
    """A second of the time that the file covers."""
    return FIRST_SECOND + int(rng.random() * (LAST_SECOND - FIRST_SECOND))


def written(rng: random.Random, second: int) -> str:
    """The second with some fraction, in one of the forms that docs/versions.md names.

    RFC 3339 with 0, 3, 6 or 9 digits and `+00:00` or `Z`, or SQLite's own `datetime('now')`, which has neither.
    Nine digits with `+00:00` are what chrono writes on Linux, so that form is the commonest.
    """
    digits, zone = rng.choice(_TIME_FORMS)
    day, rest = divmod(second, DAY_SECONDS)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    if digits is None:
        return f"{_date(day)} {clock}"
    fraction = f".{int(rng.random() * 10**digits):0{digits}}" if digits else ""
    return f"{_date(day)}T{clock}{fraction}{zone}"


@cache
def _date(day: int) -> str:
    return date.fromordinal(_EPOCH + day).isoformat()


def some_time(rng: random.Random) -> str:
    """Any time, in any of the forms."""
    return written(rng, moment(rng))
