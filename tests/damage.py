"""Damages annotation files at random."""

import re


def break_text(rng, text):
    """Return a text, encoded, with random damage of one of seven kinds."""
    place, way = int(rng.integers(len(text))), int(rng.integers(7))
    if way == 0:
        text = text[:place] + text[place + 1 :]
    elif way == 1:
        text = text[:place] + str(rng.choice(list('{}[],:"x0\\ \t-.'))) + text[place:]
    elif way == 2:
        text = text[:place] + chr(int(rng.integers(1, 255))) + text[place + 1 :]
    elif way == 3:
        text = text[:place]
    elif way == 4:
        numbers = list(re.finditer(r'-?\d+(\.\d+)?', text))
        one = numbers[int(rng.integers(len(numbers)))]
        value = str(rng.choice(['NaN', '1e999', '-3', '0', '"5"', '1e10', '99', 'null', '']))
        text = text[: one.start()] + value + text[one.end() :]
    elif way == 5:
        lines = text.split('\n')
        lines.insert(int(rng.integers(len(lines))), lines[int(rng.integers(len(lines)))])
        text = '\n'.join(lines)
    content = text.encode()
    if way == 6:
        content = content[:place] + bytes([int(rng.integers(128, 256))]) + content[place:]
    return content
