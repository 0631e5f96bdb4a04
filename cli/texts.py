"""Post texts for a generated community: many scripts, lengths and odd characters, each text unique."""

import random

_PHRASES = (
    "Good morning from the harbour",
    "Anyone else awake?",
    "Long read, worth it",
    "Der Zug hat schon wieder Verspätung",
    "Où est passé l'été ?",
    "¿Quién viene al concierto?",
    "Зимой здесь тихо",
    "今日はとても暑いですね",
    "오늘도 수고했어요",
    "天气很好,出去走走",
    "كل عام وأنتم بخير",
    "שבת שלום לכולם",
    "आज मौसम अच्छा है",
    "ภูเก็ตสวยมาก",
    "Γεια σας από την Αθήνα",
    # Kept exactly: not normalized, not escaped away, not trimmed.
    "cafe\u0301 is not caf\u00e9",
    "👩‍👩‍👧‍👦 🇫🇷 🏳️‍🌈 👍🏽",
    'quotes " and \\ backslashes, <b>&amp;</b>',
    "two\nlines\tand a tab",
    "line\u2028and paragraph\u2029separators",
    "𝒎𝒂𝒕𝒉 and 𐍈 beyond the first plane",
    "zero\u200bwidth and \u202eright-to-left\u202c marks",
    "  spaces around  ",
)
_TAGS = ("#dev", "#coffee", "#photo", "#reading", "#news", "#música", "#写真")
# Most posts are short, few are very long: how many phrases, and how often.
_LENGTHS = ((1, 60), (2, 25), (4, 11), (30, 3), (120, 1))


def text(rng: random.Random, number: int) -> str:
    """Write the text of a post: 10 to about 5,500 characters, unlike that of any other number."""
    (count,) = rng.choices([length for length, _ in _LENGTHS], [weight for _, weight in _LENGTHS])
    phrases = " ".join(rng.choice(_PHRASES) for _ in range(count))
    return f"{phrases} {rng.choice(_TAGS)} ({number})"
