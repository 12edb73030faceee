import gzip
import hashlib
import io
import json
import struct
import tarfile
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from neurarium.data import DataError, load, mnist, preprocessing_from_json
from neurarium.data.download import cache_directory, fetch
from neurarium.data.idx import read_idx


def idx(array: np.ndarray) -> bytes:
    code = {"u1": 8, "i4": 12, "f8": 14}[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("kind", ["u1", "i4", "f8"])
def test_an_idx_file_reads_back(kind: str, tmp_path: Path):
    array = np.arange(24).reshape(2, 3, 4).astype(kind)
    (tmp_path / "a").write_bytes(idx(array))
    (tmp_path / "b.gz").write_bytes(gzip.compress(idx(array)))
    for path in (tmp_path / "a", tmp_path / "b.gz"):
        found = read_idx(path)
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not an idx file"),
        (b"PNG?\0\0", "not an idx file: it starts with the bytes 50 4e 47 3f"),
        (b"\0\0\x08\x03\0\0", "truncated"),
        (idx(np.zeros((3, 4), "u1"))[:-1], "promises 24 bytes, it has 23"),
        (idx(np.zeros((3, 4), "u1")) + b"\0", "promises 24 bytes, it has 25"),
        (b"\0\0\x0e\x03" + b"\xff" * 12 + bytes(8), "truncated"),
        (gzip.compress(idx(np.zeros((3, 4), "u1")), mtime=0)[:-5], "damaged gzip"),
    ],
)
def test_a_damaged_idx_file_is_one_error(raw: bytes, message: str, tmp_path: Path):
    (tmp_path / "t.gz").write_bytes(raw)
    with pytest.raises(DataError, match=message):
        read_idx(tmp_path / "t.gz")


def mnist_like(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (50, 6, 5), dtype=np.uint8), np.arange(50, dtype=np.uint8) % 3
    for name, part in (("train", slice(0, 40)), ("t10k", slice(40, 50))):
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(x[part])))
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx(y[part]))
    return x, y


def test_a_folder_of_idx_files_keeps_its_own_test_rows(tmp_path: Path):
    x, y = mnist_like(tmp_path / "set")
    data = load(tmp_path / "set")
    assert (len(data.train), len(data.val), len(data.test)) == (32, 8, 10)
    np.testing.assert_array_equal(data.test.tensors["input"][:, 0], x[40:])
    np.testing.assert_array_equal(data.test.tensors["target"], y[40:])
    train, val = train_test_split(np.arange(40), test_size=0.2, random_state=0, stratify=y[:40])
    np.testing.assert_array_equal(data.train.tensors["input"][:, 0], x[train])
    assert data.indices["val"] == val.tolist()
    assert data.train.tensors["input"].dtype == torch.uint8
    (tmp_path / "set" / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="must hold train images and train labels"):
        load(tmp_path / "set")


def test_mnist_is_what_it_is(data_path, monkeypatch):
    monkeypatch.setenv("NEURARIUM_DATA", str(data_path("mnist").parent))
    data = load("mnist")
    assert (len(data.train), len(data.val), len(data.test)) == (48_000, 12_000, 10_000)
    counts = data.test.tensors["target"].bincount().tolist()
    assert counts == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert data.input_shape == (1, 28, 28)
    x = data.transform(data.train.tensors["input"][:20_000])
    assert abs(float(x.mean())) < 0.01
    assert abs(float(x.std()) - 1) < 0.01
    # the whole training set's mean and deviation of pixel / 255 are 0.1307 and 0.3081
    assert float(data.transform.center) / 255 == pytest.approx(0.1307, abs=3e-4)
    assert float(data.transform.spread) / 255 == pytest.approx(0.3081, abs=3e-4)


def test_digits_are_images_whose_split_is_scikit_learns():
    x, y = load_digits(return_X_y=True)
    data = load("digits")
    rest, test = train_test_split(np.arange(1797), test_size=0.2, random_state=0, stratify=y)
    np.testing.assert_array_equal(data.test.tensors["input"].flatten(1), x[test])
    np.testing.assert_array_equal(data.test.tensors["target"], y[test])
    assert len(data.train) + len(data.val) == len(rest)
    p = preprocessing_from_json(json.loads(json.dumps(data.preprocessing.to_json())))
    assert torch.equal(p.transform(x[test])["input"], data.test.tensors["input"])  # flat rows fold
    both = p.transform((x[test], y[test]), with_target=True)
    assert torch.equal(both["target"], data.test.tensors["target"])
    assert p.decode(torch.eye(10)).tolist() == list(range(10))
    with pytest.raises(DataError, match=r"one row must have shape \(1, 8, 8\), got \(63,\)"):
        p.transform(x[:, :63])
    with pytest.raises(DataError, match=r"whole numbers from 0 to 255 .* got 0.0 to 0.0627"):
        p.transform(x / 255)


@pytest.mark.parametrize("names", [("x", "y"), ("X", "y"), ("x_train", "y_train")])
def test_an_npz_loads(names: tuple[str, str], tmp_path: Path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(3, 2, (50, 4)), np.array(["u", "v"])[np.arange(50) % 2]
    np.savez(
        tmp_path / "t.npz", **dict(zip(names, (x, y), strict=True)), x_test=x[:9], y_test=y[:9]
    )
    data = load(tmp_path / "t.npz")
    assert data.classes == ["u", "v"]
    assert data.preprocessing.decode(torch.eye(2)).tolist() == ["u", "v"]
    np.testing.assert_allclose(data.test.tensors["input"], x[:9], rtol=1e-6)
    standard = data.transform(data.train.tensors["input"])
    torch.testing.assert_close(standard.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    assert load(**json.loads(json.dumps(data.source))).fingerprint() == data.fingerprint()


def test_an_npz_regression_comes_back_in_its_units(tmp_path: Path):
    x, y = np.random.default_rng(0).normal(3, 2, (2, 50, 2))
    np.savez(tmp_path / "t.npz", x=x, y=y)
    data = load(tmp_path / "t.npz")
    assert (data.task, data.outputs) == ("regression", 2)
    units = data.preprocessing.decode(data.test.tensors["target"])
    np.testing.assert_allclose(units, y[data.indices["test"]], rtol=1e-5)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros(3)}, r"must hold x and y .*, got a; save it as np.savez"),
        ({"x": np.zeros((20, 2)), "y": np.zeros(19)}, "x has 20 rows and y 19"),
        ({"x": np.zeros((20, 2)), "y": np.zeros(20)}, "holds one value only"),
        ({"x": np.full((20, 2), np.nan), "y": np.arange(20) % 2}, "NaN or infinity in row 1"),
        ({"x": np.array([["u"]] * 20), "y": np.arange(20) % 2}, "must hold numbers"),
        ({"x": np.array([None] * 20), "y": np.arange(20) % 2}, "not a readable .npz"),
        ({"x": np.zeros((0, 2)), "y": np.zeros(0)}, "holds no rows"),
        (
            {"x": np.zeros((20, 2)), "y": np.ones(20), "x_test": np.zeros((2, 2))},
            "only one of x_te",
        ),
    ],
)
def test_a_bad_npz_is_one_error(arrays: dict, message: str, tmp_path: Path):
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "t.npz")


def test_junk_called_npz_is_one_error(tmp_path: Path):
    (tmp_path / "t.npz").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"not a readable .npz"):
        load(tmp_path / "t.npz")


def paint(folder: Path, per_class: int = 12, size=(6, 5), mode="RGB", classes=("cat", "dog")):
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(per_class):
            shape = (*size, 3) if mode == "RGB" else size
            image = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
            image.save(folder / name / f"{i:03}.png")


def test_a_folder_of_pictures_by_class(tmp_path: Path):
    paint(tmp_path / "pets")
    (tmp_path / "pets" / "cat" / ".hidden.png").write_bytes(b"no picture")
    (tmp_path / "pets" / "readme.txt").write_text("about")
    data = load(tmp_path / "pets")
    assert (data.name, data.classes, data.input_shape) == ("pets", ["cat", "dog"], (3, 6, 5))
    assert (len(data.train), len(data.val), len(data.test)) == (15, 4, 5)
    files = sorted((tmp_path / "pets").glob("*/0*.png"))
    for split in ("train", "val", "test"):
        tensors = getattr(data, split).tensors
        for row, i in enumerate(data.indices[split]):
            pixels = np.asarray(Image.open(files[i])).transpose(2, 0, 1)
            np.testing.assert_array_equal(tensors["input"][row], pixels)
            assert data.classes[tensors["target"][row]] == files[i].parent.name
    x = data.transform(data.train.tensors["input"])
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    assert load(**json.loads(json.dumps(data.source))).fingerprint() == data.fingerprint()


def test_folders_of_splits_are_kept(tmp_path: Path):
    for split, rows in (("train", 10), ("valid", 3), ("test", 4)):
        paint(tmp_path / split, rows, mode="L")
    data = load(tmp_path)
    assert (len(data.train), len(data.val), len(data.test)) == (20, 6, 8)
    assert data.input_shape == (1, 6, 5)
    assert any("grey, 6 x 5 (--image-size overrides)" in note for note in data.notes)


def test_pictures_of_several_sizes_take_the_commonest_or_the_one_told(tmp_path: Path):
    paint(tmp_path, 12, size=(6, 5))
    paint(tmp_path, 3, size=(9, 9))
    data = load(tmp_path)
    assert data.input_shape == (3, 6, 5)
    assert any("6 x 5, others resized" in note for note in data.notes)
    assert load(tmp_path, image_size="4x8").input_shape == (3, 4, 8)
    assert load(tmp_path, image_size=7).input_shape == (3, 7, 7)
    with pytest.raises(DataError, match="such as 64 or 48x64, got 'big'"):
        load(tmp_path, image_size="big")


def test_photographs_are_shrunk_unless_told(tmp_path: Path):
    paint(tmp_path, 6, size=(500, 250), mode="L")
    assert load(tmp_path).input_shape == (1, 224, 112)


def test_a_camera_held_sideways_is_turned_upright(tmp_path: Path):
    paint(tmp_path, 6, size=(6, 5))
    tag = Image.Exif()
    tag[0x0112] = 6  # turn by 90 degrees to view
    pixels = np.zeros((5, 6, 3), np.uint8)
    pixels[0] = 255  # the top row, which is the right column once upright
    p = load(tmp_path).preprocessing
    Image.fromarray(pixels).save(tmp_path / "x.png", exif=tag)
    upright = p.transform(tmp_path / "x.png")["input"][0, 0]
    assert (upright[:, -1] == 255).all()
    assert (upright[:, :-1] == 0).all()


def test_pictures_to_predict_may_be_paths_a_folder_images_arrays_or_tensors(tmp_path: Path):
    paint(tmp_path / "pets")
    data = load(tmp_path / "pets")
    p = preprocessing_from_json(json.loads(json.dumps(data.preprocessing.to_json())))
    paths = sorted((tmp_path / "pets" / "cat").glob("*.png"))
    expected = p.transform(paths)["input"]
    images = [Image.open(path) for path in paths]
    for same in (tmp_path / "pets" / "cat", images, [np.asarray(i) for i in images], expected):
        assert torch.equal(p.transform(same)["input"], expected)
    assert torch.equal(p.transform(str(paths[0]))["input"], expected[:1])
    both = p.transform((paths, ["cat"] * 12), with_target=True)
    assert both["target"].tolist() == [0] * 12
    with pytest.raises(DataError, match=r"must be a uint8 array .*got float64"):
        p.transform([np.zeros((6, 5))])
    with pytest.raises(DataError, match="no pictures to transform"):
        p.transform([])


@pytest.mark.parametrize("spoil", ["junk", "cut"])
def test_a_broken_picture_is_named(spoil: str, tmp_path: Path):
    paint(tmp_path, 12)
    path = tmp_path / "dog" / "003.png"
    path.write_bytes(b"junk" if spoil == "junk" else path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"picture 'dog/003.png' cannot be read \(.*; replace or"):
        load(tmp_path)


def test_a_folder_without_classes_is_one_error(tmp_path: Path):
    with pytest.raises(DataError, match=r"holds no pictures; put them"):
        load(tmp_path)
    paint(tmp_path, 3, classes=("cat",))
    with pytest.raises(
        DataError, match="one folder of pictures per class, at least two, found cat"
    ):
        load(tmp_path)
    for picture in (tmp_path / "cat").iterdir():
        picture.rename(tmp_path / picture.name)
    with pytest.raises(DataError, match="at least two, found nothing"):
        load(tmp_path)


def test_a_class_without_training_pictures_is_one_error(tmp_path: Path):
    paint(tmp_path / "train")
    paint(tmp_path / "test", 3, classes=("cat", "cow"))
    with pytest.raises(DataError, match="test folder has the classes cow, which have no training"):
        load(tmp_path)


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_an_archive_of_pictures_is_read_without_writing_anything(suffix: str, tmp_path: Path):
    paint(tmp_path / "in" / "pets" / "train")
    files = sorted((tmp_path / "in").rglob("*.png"))
    archive = tmp_path / f"pets{suffix}"
    escape = "../../escaped.png"
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            for path in files:
                zipped.write(path, path.relative_to(tmp_path / "in"))
            zipped.writestr("__MACOSX/pets/train/cat/000.png", b"no picture")
    else:
        with tarfile.open(archive, "w:gz") as tarred:
            tarred.add(tmp_path / "in" / "pets", "pets")
    before = sorted(tmp_path.rglob("*"))
    data = load(archive)
    assert data.fingerprint() == load(tmp_path / "in" / "pets").fingerprint()
    if suffix == ".tar.gz":
        with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as tarred:
            tarred.add(tmp_path / "in" / "pets", "pets")
            info = tarfile.TarInfo(escape)
            info.size = 4
            tarred.addfile(info, io.BytesIO(b"evil"))
        assert load(tmp_path / "evil.tar.gz").fingerprint() == data.fingerprint()
        (tmp_path / "evil.tar.gz").unlink()
        assert not (tmp_path.parent.parent / "escaped.png").exists()
    assert sorted(tmp_path.rglob("*")) == before
    archive.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(DataError, match="damaged archive"):
        load(archive)


@pytest.fixture
def server(tmp_path: Path):
    (tmp_path / "served").mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None: ...

    handler = partial(Quiet, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}/"
        httpd.shutdown()


def test_a_download_takes_the_first_mirror_with_the_right_bytes(server: str, tmp_path: Path):
    (tmp_path / "served" / "good").write_bytes(b"right")
    (tmp_path / "served" / "bad").write_bytes(b"wrong")
    digest = f"sha256:{hashlib.sha256(b'right').hexdigest()}"
    path = tmp_path / "cache" / "file"
    urls = ["ftp://127.0.0.1/x", server + "absent", server + "bad"]
    with pytest.raises(DataError) as caught:
        fetch(urls, path, digest)
    for reason in ("only http, https and file", "404", "not " + digest[7:], "NEURARIUM_DATA"):
        assert reason in str(caught.value)
    assert list(path.parent.iterdir()) == []
    assert fetch([*urls, server + "good"], path, digest).read_bytes() == b"right"
    assert list(path.parent.iterdir()) == [path]
    assert fetch([], path, digest) == path  # kept: no mirror is asked again


def test_a_named_set_is_downloaded_once_into_the_cache(tmp_path: Path, monkeypatch):
    mnist_like(tmp_path / "mirror")
    digests = {
        path.name: f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}"
        for path in (tmp_path / "mirror").iterdir()
    }
    monkeypatch.setitem(mnist._DIGESTS, "fashion_mnist", digests)
    mirrors = ((tmp_path / "none").as_uri() + "/", (tmp_path / "mirror").as_uri() + "/")
    monkeypatch.setitem(mnist._MIRRORS, "fashion_mnist", mirrors)
    monkeypatch.setenv("NEURARIUM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NEURARIUM_DATA", raising=False)
    assert cache_directory() == tmp_path / "cache"
    data = load("fashion_mnist")
    assert data.classes[0] == "T-shirt/top"
    assert data.preprocessing.decode(torch.eye(10))[9] == "Ankle boot"
    monkeypatch.setitem(mnist._MIRRORS, "fashion_mnist", ())
    assert load("fashion_mnist").fingerprint() == data.fingerprint()
