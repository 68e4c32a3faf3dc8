"""The statistics of `corpus/quality/filters.py`, for reading: plain Python, after the definitions and `datatrove`."""

import functools
import re
import unicodedata
from collections import Counter

TERMINAL = ".?!\"'。？！”’…」』．｡؟۔।॥።։"
CLOSERS = "\"')]}”’」』】）》〉"
ENGLISH = {"the", "be", "to", "of", "and", "that", "have", "with"}
CHINESE = set("的年在月是和日了於·為有被人中为他與後也而由")


@functools.cache
def is_ideograph(character):
    return unicodedata.name(character, "").startswith(("CJK UNIFIED", "HIRAGANA LETTER", "KATAKANA LETTER"))


def tokens_of(text):
    tokens = []
    for run in text.split():
        current = ""
        for character in run:
            if is_ideograph(character):
                tokens += [current, character]
                current = ""
            else:
                current += character
        tokens.append(current)
    return [token for token in tokens if token]


def is_word(token):
    return any(unicodedata.category(character)[0] in "LNM" for character in token)


def duplicates(items):
    """Number and characters of the items that occurred before."""
    repeated = [item for at, item in enumerate(items) if item in items[:at]]
    return len(repeated), sum(map(len, repeated))


def top_ngram(tokens, n):
    """Characters of all occurrences of the most frequent n-gram, a space between words; the first of equals."""
    ngrams = [" ".join(tokens[at : at + n]) for at in range(len(tokens) - n + 1)]
    if not ngrams:
        return 0
    ngram, count = Counter(ngrams).most_common(1)[0]
    return count * len(ngram)


def duplicate_ngrams(tokens, n):
    """Characters of n-grams that occurred before; one that did is jumped over."""
    seen, at, characters = set(), 0, 0
    while at + n <= len(tokens):
        ngram = tuple(tokens[at : at + n])
        if ngram in seen:
            characters += sum(map(len, ngram))
            at += n
        else:
            seen.add(ngram)
            at += 1
    return characters


def sentences_of(text):
    sentences = []
    for line in text.split("\n"):
        sentences += sentences_of_line(line)
    return sentences


def sentences_of_line(line):
    ends = f"[.?!。？！｡．][.?!。？！｡．{re.escape(CLOSERS)}]*"
    sentences, begin = [], 0
    for match in re.finditer(ends, line):
        run, rest = match.group(), line[match.end() :]
        following = rest.lstrip()
        wide = any(sign in run for sign in "。？！｡．")
        lower = bool(following) and unicodedata.category(following[0]) == "Ll"
        only_full_stops = not any(sign in run for sign in "?!")
        spaced = following != rest
        if following and (wide or (spaced and not (only_full_stops and lower))):
            sentences.append(line[begin : match.end()])
            begin = match.end()
    return [sentence for sentence in (*sentences, line[begin:]) if sentence.strip()]


def ratio(part, whole):
    return part / whole if whole else None


def reference_statistics(text, profile):
    """By the names of the columns. The text is normalised: no line is of white space alone."""
    tokens = tokens_of(text)
    words = [token for token in tokens if is_word(token)]
    layout = text.split("\n")
    lines = [line for line in layout if line]
    paragraphs = [paragraph for paragraph in re.split("\n{2,}", text.strip("\n")) if paragraph]
    duplicate_lines, duplicate_line_characters = duplicates(lines)
    duplicate_paragraphs, duplicate_paragraph_characters = duplicates(paragraphs)
    english = set(re.findall(r"[a-z0-9_]+", re.sub(r"[^\x00-\x7f]", "-", text).lower())) & ENGLISH
    return {
        "num_characters": len(text),
        "num_words": len(words),
        "num_lines": len(lines),
        "num_paragraphs": len(paragraphs),
        "num_sentences": len(sentences_of(text)),
        "mean_word_length": ratio(sum(map(len, words)), len(words)),
        "hash_ratio": ratio(text.count("#"), len(tokens)),
        "ellipsis_ratio": ratio(len(re.findall(r"\.{3}|…{1,2}", text)), len(tokens)),
        "bullet_lines": sum(line.lstrip().startswith(tuple("•●▪‣◦-")) for line in layout) / len(layout),
        "ellipsis_lines": sum(line.endswith(("...", "…")) for line in layout) / len(layout),
        "alpha_words": ratio(sum(any(c.isalpha() for c in token) for token in tokens), len(tokens)),
        "num_stop_words": len(CHINESE & set(text)) if profile == "chinese" else len(english),
        "duplicate_lines": ratio(duplicate_lines, len(lines)),
        "duplicate_paragraphs": ratio(duplicate_paragraphs, len(paragraphs)),
        "duplicate_line_characters": ratio(duplicate_line_characters, len(text)),
        "duplicate_paragraph_characters": ratio(duplicate_paragraph_characters, len(text)),
        **{f"top_{n}gram": ratio(top_ngram(tokens, n), len(text)) for n in (2, 3, 4)},
        **{f"duplicate_{n}grams": ratio(duplicate_ngrams(tokens, n), len(text)) for n in range(5, 11)},
        "num_lorem_ipsum": text.lower().count("lorem ipsum"),
        "num_curly_brackets": text.count("{"),
        "punctuated_lines": ratio(sum(line.endswith(tuple(TERMINAL)) for line in lines), len(lines)),
        "short_lines": ratio(sum(len(line) <= 30 for line in lines), len(lines)),
        "repeated_line_characters": ratio(duplicate_line_characters, sum(map(len, lines))),
        "newline_ratio": ratio(text.count("\n"), len(tokens)),
    }
