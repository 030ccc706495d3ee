"""Folders of images and of masks, one of the two damaged."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lieref.train.cap import FREE_BYTES
from lieref.train.masks import IMAGES, MASKS, read_mask_folder
from lieref.train.task_registry import make_task
from validation.fuzzing import mutate
from validation.fuzzing.kind import Files, Kind

CLASSES = 4

SHORTEST_PNG = 20
"""Bytes of a signature and one empty chunk: what has fewer has no structure left to damage."""


class Masks(Kind):
    """Two images with their masks: grey, of 16 bits, of one bit, or with a palette."""

    name, spare_bytes = "masks", FREE_BYTES

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        colour = rng.integers(0, 256, (2, 6, 5, 3), dtype=np.uint8)
        numbers = rng.integers(0, CLASSES, (2, 6, 5), dtype=np.uint8)
        palette = [Image.fromarray(each).convert("P") for each in numbers]
        for each in palette:
            each.putpalette([9, 8, 7, 200, 0, 0, 0, 200, 0, 0, 0, 200])
        forms: tuple[list[Any], ...] = (
            [Image.fromarray(each) for each in numbers],
            [Image.fromarray(each.astype(np.uint16)) for each in numbers],
            [Image.fromarray(each > 1) for each in numbers],
            palette,
        )
        self.seeds = []
        for masks in forms:
            files: Files = {}
            for stem, image, mask in zip("ab", map(Image.fromarray, colour), masks, strict=True):
                for folder, picture in ((IMAGES, image), (MASKS, mask)):
                    buffer = io.BytesIO()
                    picture.save(buffer, "PNG")
                    files[f"set/{folder}/{stem}.png"] = buffer.getvalue()
            self.seeds.append(files)

    def make(self, rng: np.random.Generator) -> Files:
        files = dict(self.choose(rng))
        for _ in range(int(rng.integers(1, 3))):
            path = str(rng.choice([name for name in files if rng.random() < 0.8 or MASKS in name]))
            match int(rng.integers(5)):
                case 0:
                    files[path] = mutate.damage(files[path], self.choose(rng)[path], rng)
                case 1:
                    files[path] = self.choose(rng)[str(rng.choice(list(files)))]  # of another form, or an image
                case 2 if len(files) > 2:
                    files.pop(path)
                    return files
                case _ if len(files[path]) > SHORTEST_PNG:
                    files[path] = mutate.damage_png(files[path], rng)
        return files

    def read(self, folder: Path, rng: np.random.Generator) -> None:
        x, y = read_mask_folder(folder / "set", channels=int(rng.choice([1, 3])))
        task = make_task("dense", ignore_index=255 if rng.random() < 0.5 else None)
        task.targets("fuzz", x, y, (CLASSES, *y.shape[1:]))
