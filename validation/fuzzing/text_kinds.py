"""Files of sentences and the tokenizers that make ids of them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

from lieref.model.vocabulary import Vocabulary
from lieref.train.text_file import read_texts
from lieref.train.tokenizer import TextEncoder, padding_of
from tests.train.texts import WORDS, padding, write_tokenizer
from validation.fuzzing import mutate
from validation.fuzzing.kind import Files, Kind

SENTENCES = ("a good film", "the film", "bad, bad \u2026 film", "good")
PLACES = 6


class Sentences(Kind):
    """Tables and lines of JSON that hold sentences and their targets."""

    name, spare_bytes = "sentences", 2**22

    def __init__(self) -> None:
        rows = [(text, str(number % 2)) for number, text in enumerate(SENTENCES)]
        tabs = "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows)
        commas = "label,text\n" + "".join(f'{label},"{text}"\n' for text, label in rows)
        lines = "".join(json.dumps({"text": text, "label": int(label)}) + "\n" for text, label in rows)
        self.seeds = [{"data.tsv": tabs.encode()}, {"data.csv": commas.encode()}, {"data.jsonl": lines.encode()}]
        self.seeds += [{"data.csv": ("\ufeff" + commas.replace("\n", "\r\n")).encode()}]

    def make(self, rng: np.random.Generator) -> Files:
        files = self.choose(rng)
        ((path, data),) = files.items()
        if path.endswith("jsonl") and rng.random() < 0.5:
            lines = data.splitlines()
            at = int(rng.integers(len(lines)))
            lines[at] = json.dumps(mutate.damage_json(json.loads(lines[at]), rng)).encode()
            return {path: b"\n".join(lines)}
        damaged = mutate.damage_text(data, rng)
        return {path: mutate.damage(damaged, b"", rng) if rng.random() < 0.4 else damaged}

    def read(self, folder: Path, rng: np.random.Generator) -> None:
        found = read_texts(next(folder.glob("data.*")), label="label" if rng.random() < 0.8 else None)
        with tempfile.TemporaryDirectory() as beside:
            encoder = TextEncoder(write_tokenizer(Path(beside) / "tokenizer.json"), length=PLACES)
            encoder.encode(found.texts, found.lines, "data")


class Tokenizers(Kind):
    """Files of the tokenizers library, beside a network whose embedding has a row for each of their tokens."""

    name, spare_bytes = "tokenizer", 2**24

    def __init__(self) -> None:
        self.seeds = []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tokenizer.json"
            for changes in ({}, {"padding": padding("Left")}, {"post_processor": None}):
                self.seeds.append({"tokenizer.json": write_tokenizer(path, **changes).read_bytes()})

    def make(self, rng: np.random.Generator) -> Files:
        def structured(data: bytes, rng: np.random.Generator) -> bytes:
            return json.dumps(mutate.damage_json(json.loads(data), rng)).encode()

        return self.one(rng, structured)

    def read(self, folder: Path, rng: np.random.Generator) -> None:
        path = folder / "tokenizer.json"
        padding_of(path)
        encoder = TextEncoder(path, Vocabulary(len(WORDS), None), length=PLACES)
        ids = encoder.encode(SENTENCES, range(len(SENTENCES)), "data").ids
        assert ids.shape == (len(SENTENCES), PLACES)
        assert 0 <= ids.min() <= ids.max() < len(WORDS)
