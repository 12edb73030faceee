"""Good files and run folders of every kind, small, for `fuzz.py` to damage."""

import contextlib
import io
import pickle
import random
from pathlib import Path
from typing import Any


def make_good_files(folder: Path) -> None:
    """One good file or folder of each kind, small."""
    import numpy as np

    folder.mkdir()
    draw = random.Random(0)
    lines = ["size,colour,when,sunny,y"]
    for i in range(60):
        cells = (
            f"{draw.gauss(0, 1):.3f}", draw.choice("rgb"), f"2020-0{1 + i % 9}-1{i % 10}",
            "yes" if i % 3 else "no", "ab"[i % 2],
        )  # fmt: skip
        lines.append(",".join(cells))
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (60, 6, 6), dtype=np.uint8)
    labels = np.arange(60, dtype=np.uint8) % 3
    np.savez(folder / "a.npz", x=images[:, None], y=labels)
    (folder / "idx").mkdir()
    for split, rows in (("train", slice(0, 40)), ("t10k", slice(40, 60))):
        for what, values in (("images-idx3", images[rows]), ("labels-idx1", labels[rows])):
            header = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes()
            (folder / "idx" / f"{split}-{what}-ubyte").write_bytes(header + values.tobytes())
    with contextlib.suppress(ImportError):
        import pandas as pd

        pd.read_csv(folder / "t.csv").to_parquet(folder / "t.parquet")
    (folder / "arrays").mkdir()
    np.save(folder / "arrays" / "x.npy", images[:, None])
    np.save(folder / "arrays" / "y.npy", labels)
    _pictures(folder / "pictures", images)
    _planetoid(folder / "planetoid")
    _words(folder, draw)
    nodes = ["id,size,y", *(f"{i},{draw.gauss(0, 1):.3f},{'ab'[i % 2]}" for i in range(40))]
    edges = ["from,to", *(f"{i},{(i * 7 + k) % 40}" for i in range(40) for k in (1, 2))]
    (folder / "nodes.csv").write_text("\n".join(nodes) + "\n")
    (folder / "edges.csv").write_text("\n".join(edges) + "\n")
    for name, words in _RUNS.items():
        _train(folder, name, [str(folder / words[0]), *(w.format(folder) for w in words[1:])])


_RUNS = {
    "table": ("t.csv", "--target=y", "--network=MLP:hidden=8"),
    "images": ("idx", "--network=MLP:hidden=8"),
    "photos": ("pictures", "--network=MLP:hidden=8"),
    "text": ("book.txt", "--network=GPT:dim=8,heads=2,layers=1"),
    "reviews": ("reviews.csv", "--target=y", "--types=said=text"),
    "series": ("hours.csv", "--target=load", "--time=when", "--horizon=3",
               "--network=Forecaster:hidden=4,cell=gru"),
    "graph": ("nodes.csv", "--target=y", "--edges={}/edges.csv"),
}  # fmt: skip


def _pictures(folder: Path, images: Any) -> None:
    from PIL import Image

    for i, image in enumerate(images[:16]):
        place = folder / "ab"[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{i}{('.png', '.jpg')[i // 2 % 2]}")


def _planetoid(folder: Path) -> None:
    import numpy as np
    from scipy.sparse import csr_matrix

    folder.mkdir()
    words = (np.random.default_rng(0).random((10, 5)) > 0.4).astype(np.float32)
    labels = np.eye(2, dtype=np.int32)[np.arange(10) % 2]
    parts = {
        "x": csr_matrix(words[:2]), "y": labels[:2], "allx": csr_matrix(words[:6]),
        "ally": labels[:6], "tx": csr_matrix(words[6:]), "ty": labels[6:],
        "graph": {i: [(i + 1) % 10, (i + 3) % 10] for i in range(10)},
    }  # fmt: skip
    for part, value in parts.items():
        (folder / f"ind.toy.{part}").write_bytes(pickle.dumps(value, protocol=2))
    (folder / "ind.toy.test.index").write_text("6\n7\n8\n9\n")


def _words(folder: Path, draw: random.Random) -> None:
    """A text, sentences with an opinion, and a load by the hour."""
    line = "to be, or not to be, that is the question\nwhether 'tis nobler in the mind\n"
    (folder / "book.txt").write_text(line * 40)
    good, bad = ["fine", "lovely", "great", "warm"], ["dull", "awful", "weak", "cold"]
    said = [
        " ".join(draw.choices((good, bad)[i % 2] + ["the", "film", "was"], k=9)) for i in range(60)
    ]
    reviews = ["said,y", *(f"{words} {i},{('yes', 'no')[i % 2]}" for i, words in enumerate(said))]
    (folder / "reviews.csv").write_text("\n".join(reviews) + "\n")
    hours = [
        f"2024-01-{1 + i // 24:02d} {i % 24:02d}:00,{i % 24 + draw.random():.3f}"
        for i in range(240)
    ]
    (folder / "hours.csv").write_text("\n".join(["when,load", *hours]) + "\n")


def _train(folder: Path, name: str, words: list[str]) -> None:
    """A run folder, as if interrupted just before its end: it can predict, and be resumed."""
    from neurarium.cli import main as neurarium

    options = ["--epochs=2", "--lr=0.01", "--val-size=0.2", "-q"]
    places = [f"--directory={folder / 'runs'}", f"--name={name}", "--no-report"]
    with contextlib.redirect_stdout(io.StringIO()):
        code = neurarium(["fit", *words, *options, *places])
    assert code == 0, "the good files of the fuzzer do not train"
    (run,) = (folder / "runs" / name).iterdir()
    (run / "result.json").unlink()
    run.rename(folder / name)
