"""What the image `letters` can do. Where its data is, its templates say."""

import json
import os
import sys
from collections import Counter
from pathlib import Path

TEXTS, COUNTS, CHART = Path("/data/texts"), Path("/data/counts"), Path("/data/chart")


def count() -> None:
    """Write for each text how often each letter is in it."""
    for path in sorted(TEXTS.rglob("*.txt")):
        text = path.read_text("utf-8")
        if os.environ["CASE"] == "fold":
            text = text.lower()
        letters = Counter(letter for letter in text if letter.isalpha())
        found = {"format": int(os.environ["FORMAT"]), "letters": dict(sorted(letters.items()))}
        (COUNTS / f"{path.stem}.json").write_text(json.dumps(found) + "\n")
        print(f"{path.name}: {letters.total()} letters")


def draw() -> None:
    """Write a chart of all counts together."""
    total: Counter[str] = Counter()
    for path in sorted(COUNTS.glob("*.json")):
        total.update(json.loads(path.read_text())["letters"])
    width, most = int(os.environ["WIDTH"]), max(total.values(), default=1)
    bars = (f"{letter} {'#' * round(width * n / most)} {n}" for letter, n in sorted(total.items()))
    (CHART / "chart.txt").write_text("".join(f"{bar}\n" for bar in bars))
    print(f"{total.total()} letters in all")


if __name__ == "__main__":
    {"count": count, "draw": draw}[sys.argv[1]]()
