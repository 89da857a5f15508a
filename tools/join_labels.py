"""Join labels with their texts: python -m tools.join_labels TEXTS ... --out OUT

The repository has labels, not texts (tools/labels/*.tsv). TEXTS are JSON lines, gzipped or not,
with `p` (a prompt) or `m` (chat messages), and the `id` of its row where it is known. Each is
looked for by its id, then by the digest of its last user turn. OUT gets the rows that were found,
in the format of bench/labelled.py, for tools/train_lexicon.py.
"""

import argparse
import csv
import gzip
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

LABELS: Final = Path(__file__).with_name("labels")
DIGEST_CHARS: Final = 80
"""Characters of a turn that its digest covers."""
DIGEST_DIGITS: Final = 16


def digest(text: str) -> str:
    """Return the digest of a turn: of its first 80 characters, without case and punctuation."""
    plain = re.sub(r"\W+", " ", text.lower()).strip()[:DIGEST_CHARS]
    return hashlib.sha256(plain.encode("utf-8")).hexdigest()[:DIGEST_DIGITS]


def read_labels(folder: Path = LABELS) -> list[dict[str, str]]:
    """Read all label files of a folder."""
    labels = []
    for path in sorted(folder.glob("*.tsv")):
        with path.open(encoding="utf-8", newline="") as file:
            labels += list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return labels


def read_texts(path: Path) -> Iterator[dict[str, Any]]:
    """Read JSON lines; raises ValueError with the line that is none."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
                last_turn(row)
            except (ValueError, LookupError, TypeError) as error:
                raise ValueError(f"{path.name}, line {number}: no prompt in it ({error})") from None
            yield row


def last_turn(row: Mapping[str, Any]) -> str:
    """Return the last user turn of a row."""
    if "m" not in row:
        return str(row["p"])
    return str([one["content"] for one in row["m"] if one["role"] == "user"][-1])


def joined(
    rows: Iterator[dict[str, Any]], labels: Sequence[dict[str, str]]
) -> Iterator[dict[str, Any]]:
    """Return the rows that have a label, with it."""
    by_id = {label["id"]: label for label in labels}
    times = Counter(label["digest"] for label in labels)
    by_digest = {label["digest"]: label for label in labels if times[label["digest"]] == 1}
    for row in rows:
        label = by_id.get(str(row.get("id"))) or by_digest.get(digest(last_turn(row)))
        if label is not None:
            yield {
                "m": row.get("m") or [{"role": "user", "content": row["p"]}],
                "need": int(label["need"]),
                "sure": int(label["sure"]),
                "source": label["source"],
                "kind": label["kind"],
            }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--labels", type=Path, default=LABELS)
    parser.add_argument("--out", type=Path, required=True, help="a .jsonl.gz file")
    args = parser.parse_args(arguments)
    labels = read_labels(args.labels)
    try:
        rows = [row for path in args.texts for row in read_texts(path)]
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    found = list(joined(iter(rows), labels))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found)
    args.out.write_bytes(gzip.compress(lines.encode("utf-8"), mtime=0))
    print(f"{args.out.name}: {len(found)} of {len(rows)} texts have a label")
    return 0


if __name__ == "__main__":
    sys.exit(main())
