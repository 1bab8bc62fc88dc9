"""The embedded sample: the real sets' layouts to the letter, true lists, honest masks, the same bytes every time."""

import base64
import csv
import hashlib
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from cityscapesscripts.helpers.labels import id2label
from PIL import Image

from gencomp.data import photographs, sample, streets

DIGITS = "0123456789abcdef"


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bucket")
    sample.build(root, "openimages")
    return root


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The street archives with one or two scenes a city."""
    root = tmp_path_factory.mktemp("archives")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample, "CITIES", tuple((split, city, 1 + (split == "val")) for split, city, _ in sample.CITIES))
        sample.build(root, "cityscapes")
    return root


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def mask_tables(bucket: Path) -> list[tuple[str, dict[str, str]]]:
    name = "annotations/{}-annotations-object-segmentation.csv"
    return [(subset, row) for subset in sample.SUBSETS for row in rows(bucket / name.format(subset))]


def stereo_ids() -> set[str]:
    return {sample.image_id("motorcycle_left"), sample.image_id("motorcycle_right")}


def test_the_bucket_holds_the_files_of_its_list_and_no_others(bucket: Path) -> None:
    listed = {f"{row['Subset']}/{row['ImageID']}.jpg" for row in rows(bucket / "image_ids.csv")}
    stored = {path.relative_to(bucket).as_posix() for path in bucket.rglob("*.jpg")}
    assert listed - stored == {f"train/{sample.image_id('gone')}.jpg"}
    assert stored < listed
    annotations = {path.name for path in (bucket / "annotations").iterdir()}
    tables = {f"{subset}-annotations-object-segmentation.csv" for subset in sample.SUBSETS}
    zips = {f"{subset}-masks-{digit}.zip" for subset in sample.SUBSETS for digit in DIGITS}
    assert annotations == tables | zips | {"class-descriptions-boxable.csv"}
    assert {path.name for path in bucket.iterdir()} == {"image_ids.csv", "train", "validation", "annotations"}


def test_the_list_has_the_columns_of_open_images_and_is_sorted(bucket: Path) -> None:
    header = (bucket / "image_ids.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == (
        "ImageID,Subset,OriginalURL,OriginalLandingURL,License,AuthorProfileURL,Author,Title,OriginalSize,OriginalMD5,"
        "Thumbnail300KURL,Rotation"
    )
    keys = [(row["Subset"], row["ImageID"]) for row in rows(bucket / "image_ids.csv")]
    assert keys == sorted(set(keys))
    assert all(len(id) == 16 and set(id) <= set(DIGITS) for _, id in keys)


def test_sizes_and_checksums_are_those_of_the_bucket(bucket: Path) -> None:
    for row in rows(bucket / "image_ids.csv"):
        path = bucket / row["Subset"] / f"{row['ImageID']}.jpg"
        if path.exists():
            data = path.read_bytes()
            assert int(row["OriginalSize"]) == len(data)
            assert base64.b64decode(row["OriginalMD5"]) == hashlib.md5(data).digest()
            assert row["Author"] and row["License"].startswith("http") and row["Title"]


def test_photographs_are_jpeg_of_at_most_1024_pixels_and_original_bytes_where_those_are(bucket: Path) -> None:
    for photograph in photographs.PHOTOGRAPHS:
        data = (bucket / photograph.subset / f"{sample.image_id(photograph.name)}.jpg").read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            assert image.format == "JPEG"
            assert max(image.size) <= 1024
            assert image.mode == ("L" if photograph.name == "camera" else "RGB")
        kept = photographs._installed(photograph.file).read_bytes() == data
        assert kept == (photograph.file.endswith(".jpg") and photograph.name != "retina")


def test_the_stereo_pair_is_in_one_split_and_validation_has_three_photographs_of_colour(bucket: Path) -> None:
    subsets = {row["ImageID"]: row["Subset"] for row in rows(bucket / "image_ids.csv")}
    assert len({subsets[id] for id in stereo_ids()}) == 1
    validation = [id for id, subset in subsets.items() if subset == "validation"]
    assert len(validation) == 3
    for id in validation:
        with Image.open(bucket / "validation" / f"{id}.jpg") as image:
            assert image.mode == "RGB" and max(image.size) >= 320


def test_one_train_photograph_is_grey_and_one_is_small(bucket: Path) -> None:
    kinds = set()
    for path in (bucket / "train").iterdir():
        with Image.open(path) as image:
            kinds.add("grey" if image.mode == "L" else "small" if max(image.size) < 256 else "usable")
    assert kinds == {"grey", "small", "usable"}


def test_every_mask_is_in_its_archive_and_fills_its_box(bucket: Path) -> None:
    named: dict[str, set[str]] = {}
    for subset, row in mask_tables(bucket):
        assert tuple(row) == sample.MASK_COLUMNS
        label = row["LabelName"].replace("/", "")
        assert row["MaskPath"] == f"{row['ImageID']}_{label}_{row['BoxID']}.png"
        archive = f"{subset}-masks-{row['ImageID'][0]}.zip"
        named.setdefault(archive, set()).add(row["MaskPath"])
        with zipfile.ZipFile(bucket / "annotations" / archive) as zip, zip.open(row["MaskPath"]) as file:
            mask = np.asarray(Image.open(file).convert("L")) > 0
        ys, xs = np.nonzero(mask)
        assert xs.size > 50
        box = [float(row[f"Box{name}"]) for name in ("XMin", "XMax", "YMin", "YMax")]
        height, width = mask.shape
        bounds = [xs.min() / width, (xs.max() + 1) / width, ys.min() / height, (ys.max() + 1) / height]
        assert box == pytest.approx(bounds, abs=1e-6)
    for path in (bucket / "annotations").glob("*.zip"):
        with zipfile.ZipFile(path) as zip:
            assert zip.namelist() == sorted(named.get(path.name, set()))


def test_some_masks_have_another_size_than_their_image(bucket: Path) -> None:
    ratios = set()
    for subset, row in mask_tables(bucket):
        archive = bucket / "annotations" / f"{subset}-masks-{row['ImageID'][0]}.zip"
        with zipfile.ZipFile(archive) as zip, zip.open(row["MaskPath"]) as file:
            mask = Image.open(file).size
        with Image.open(bucket / subset / f"{row['ImageID']}.jpg") as image:
            ratios.add(round(mask[0] / image.width, 2))
    assert 1.0 in ratios and min(ratios) < 1 < max(ratios)


def test_every_label_of_a_mask_is_in_the_class_list(bucket: Path) -> None:
    lines = (bucket / "annotations/class-descriptions-boxable.csv").read_text().splitlines()
    known = dict(line.split(",") for line in lines)
    assert known["/m/01yrx"] == "Cat" and known["/m/02p5f1q"] == "Coffee cup"
    assert {row["LabelName"] for _, row in mask_tables(bucket)} == set(known)


def test_masks_show_what_is_visible_and_parts_stay_on_their_object() -> None:
    coffee = next(p for p in photographs.PHOTOGRAPHS if p.name == "coffee")
    drawn = dict(zip((o.name for o in coffee.outlines), photographs.masks(coffee, (600, 400)), strict=True))
    assert drawn["Coffee cup"][112, 290] and not drawn["Saucer"][112, 290] and not drawn["Table"][112, 290]
    bike = next(p for p in photographs.PHOTOGRAPHS if p.name == "motorcycle_left")
    _, motorcycle, rear, front = photographs.masks(bike, (741, 500))
    assert (motorcycle & rear).sum() > 0.8 * rear.sum() and (motorcycle & front).sum() > 0.8 * front.sum()


def test_a_photograph_that_is_not_installed_is_named_in_one_line() -> None:
    with pytest.raises(FileNotFoundError, match="skimage lacks data/none.png") as caught:
        photographs._installed("skimage/data/none.png")
    assert "\n" not in str(caught.value)


def test_the_street_archives_are_laid_out_as_those_of_cityscapes(archives: Path) -> None:
    assert {p.name for p in archives.iterdir()} == {"leftImg8bit_trainvaltest.zip", "gtFine_trainvaltest.zip"}
    stems = [f"{split}/{city}/{city}_{n:06}_000019" for split, city, scenes in _cities() for n in range(scenes)]
    maps = ("gtFine_color", "gtFine_instanceIds", "gtFine_labelIds")
    texts = ["README", "license.txt"]
    with zipfile.ZipFile(archives / "leftImg8bit_trainvaltest.zip") as zip:
        assert zip.namelist() == sorted([*texts, *(f"leftImg8bit/{stem}_leftImg8bit.png" for stem in stems)])
        assert {info.date_time for info in zip.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    with zipfile.ZipFile(archives / "gtFine_trainvaltest.zip") as zip:
        assert zip.namelist() == sorted([*texts, *(f"gtFine/{stem}_{kind}.png" for stem in stems for kind in maps)])


def _cities() -> list[tuple[str, str, int]]:
    return [(split, city, 1 + (split == "val")) for split, city, _ in sample.CITIES]


def test_the_maps_of_an_archive_agree_with_each_other_and_those_of_test_are_empty(archives: Path) -> None:
    with zipfile.ZipFile(archives / "gtFine_trainvaltest.zip") as zip:
        for name in (name for name in zip.namelist() if name.endswith("labelIds.png")):
            labels = _read(zip, name, "L")
            instances = _read(zip, name.replace("labelIds", "instanceIds"), "I;16")
            colours = _read(zip, name.replace("labelIds", "color"), "RGBA")
            assert np.array_equal(np.where(instances < 1000, instances, instances // 1000), labels)
            for id in np.unique(labels):
                assert (colours[labels == id] == (*id2label[int(id)].color, 255)).all()
            assert (labels.max() == 0) == ("/test/" in name)


def _read(zip: zipfile.ZipFile, name: str, mode: str) -> np.ndarray:
    with Image.open(io.BytesIO(zip.read(name))) as image:
        assert image.mode == mode and image.size == (512, 256)
        return np.asarray(image)


def test_an_archive_holds_the_rendered_scene(archives: Path) -> None:
    with zipfile.ZipFile(archives / "leftImg8bit_trainvaltest.zip") as zip:
        image = _read(zip, "leftImg8bit/train/alderburg/alderburg_000000_000019_leftImg8bit.png", "RGB")
    assert np.array_equal(image, streets.render(sample.STREET_SEED, 0).image)


def test_two_builds_in_processes_with_other_hash_seeds_give_the_same_bytes(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from gencomp.data import sample\n"
        "sample.CITIES = (('train', 'alderburg', 1), ('test', 'dornheim', 1))\n"
        "for layout in ('openimages', 'cityscapes'): sample.build(Path(sys.argv[1]) / layout, layout)\n"
        "heavy = {'torch', 'gencomp.models', 'gencomp.codec'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    digests = []
    for seed in ("1", "2"):
        root = tmp_path / seed
        environment = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", script, str(root)], check=True, env=environment, timeout=120)
        files = sorted(path for path in root.rglob("*") if path.is_file())
        digests.append([(p.relative_to(root).as_posix(), hashlib.sha256(p.read_bytes()).hexdigest()) for p in files])
    assert digests[0] == digests[1]
    assert len(digests[0]) > 40
