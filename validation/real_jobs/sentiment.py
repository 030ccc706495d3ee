"""A small encoder that has learnt to tell praise from blame in film reviews meets products, films and restaurants."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from validation.real_jobs.job import Job
from validation.real_jobs.tokens import Tokenizer

SOURCES = ("amazon_cells", "imdb", "yelp")


def sentiment(data: Path, work: Path, seed: int, *, samples: int = 300) -> Job:
    """Return the job: so many of the 3,000 sentences of UCI are labelled, the others test."""
    base = work / "sentiment.onnx"
    if not base.exists():
        _make_base(data, base)
    x, y = sentences(data)
    order = np.random.default_rng(seed).permutation(len(y))
    chosen, test = np.sort(order[:samples]), np.sort(order[samples:])
    given = {"batch_size": 32, "options": ("--batch", "32")}
    return Job("sentiment", base, x[chosen], y[chosen], x[test], y[test], **given)


def sentences(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return ids (3000, 128) and labels, 1 for praise; each sentence once."""
    texts: list[str] = []
    labels: list[int] = []
    for source in SOURCES:
        lines = (data / "uci_sentiment" / f"{source}_labelled.txt").read_text(encoding="utf-8").split("\n")
        for line in lines[1:]:
            text, tab, label = line.rpartition("\t")
            if tab and text not in texts:
                texts.append(text)
                labels.append(int(label))
    return _tokenizer(data).encode_all(texts), np.array(labels, np.int64)


def _tokenizer(data: Path) -> Tokenizer:
    return Tokenizer(data / "stories260k" / "tok512_vocab.json")


def check_tokenizer(data: Path, rows: int = 500) -> int:
    """Return for how many of the first test sentences of SST-2 the ids differ from the stored ones."""
    with (data / "sst2" / "test.tsv").open(encoding="utf-8", newline="") as file:
        texts = [row["sentence"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)][:rows]
    with np.load(data / "sst2" / "tokens512.npz") as file:
        return int((_tokenizer(data).encode_all(texts) != file["x_test"][:rows]).any(axis=1).sum())


def _make_base(data: Path, path: Path, samples: int = 10_000, epochs: int = 2) -> None:
    """Train the encoder and a new last layer on sentences of SST-2 with LoRA, and merge."""
    import lieref

    with np.load(data / "sst2" / "tokens512.npz") as file:
        x, y = (file[name][:samples].astype(np.int64) for name in ("x_train", "y_train"))
    model = lieref.load(data / "stories260k" / "stories260k_encoder.onnx")
    model.attach("lora", head=lieref.NewHead(2, "features"), r=8, seed=0)
    lieref.fit(model, x, y, epochs=epochs, batch_size=32, learning_rate=5e-3, seed=0)
    model.merge_and_unload().save(path)
