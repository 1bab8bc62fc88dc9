"""What a dataset is: where its images come from, which of them are kept and how, and how shards are cut."""

from typing import Annotated, Literal

import msgspec

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

Count = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Factor = Annotated[float, msgspec.Meta(ge=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]


class PaperSelection(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="recipe", tag="paper"
):
    """The paper's set: reduced, JPEG, colour photographs only."""

    longer_side: Count
    """Longer side after reduction, pixels."""
    interpolation: Literal["bicubic", "area"] = "bicubic"
    """How images are reduced: as the paper's were, or each pixel the mean of what it covers, in half the time."""
    minimum_downscale: Factor
    """An image reduced by less than this factor is dropped as too small."""
    minimum_side: Count
    """An image whose shorter side is below this after reduction is dropped as too small, pixels."""
    jpeg_quality: Annotated[int, msgspec.Meta(ge=1, le=100)]
    """JPEG quality."""
    maximum_saturation: Share
    """An image with a mean S (HSV, after reduction) above this is dropped as saturated."""
    maximum_brightness: Share
    """An image with a mean V (HSV, after reduction) above this is dropped as bright."""


class CleanSelection(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="recipe", tag="clean"
):
    """The set without the paper's JPEG and scale signature: Lanczos, a random factor per image, PNG."""

    seed: int
    """Seed of the factors; an image's factor depends on it and the image's key alone."""
    shorter_side: Count
    """Least shorter side after reduction, pixels; the strongest reduction reaches it."""
    minimum_downscale: Factor
    """The weakest reduction; an image that cannot be reduced by it is dropped as too small."""
    maximum_saturation: Share
    """An image with a mean S (HSV, after reduction) above this is dropped as saturated."""
    maximum_brightness: Share
    """An image with a mean V (HSV, after reduction) above this is dropped as bright."""


Reduction = PaperSelection | CleanSelection
"""The recipes that make a new file of every image."""


class SampleSource(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="sample"
):
    """The embedded sample, laid out as one of the real sets and read by that set's code."""

    layout: Literal["openimages", "cityscapes"]
    """`openimages`: photographs with object masks; `cityscapes`: generated street scenes with label maps."""


class MaskSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the object masks of Open Images are; `{split}` and `{digit}` in a URL are filled in."""

    tables: str
    """URL of each split's mask table, with `{split}` (train, validation, test)."""
    archives: str
    """URL of each mask archive, with `{split}` and `{digit}` (first hexadecimal digit of the image id)."""
    classes: str
    """URL of the class list: LabelName and DisplayName per line, header optional."""
    segmented: str | None = None
    """URL of the LabelNames that have masks at all, one per line, such as `classes-segmentation.txt`: label ids are
    their places in it, from 1 on. None: those in the class list."""


class ListFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which images of the lists are wanted; every condition that is given must hold. A URL may be a local path."""

    licenses: tuple[str, ...] = ()
    """Parts of the column License, of which an image's must hold one, such as `/by/2.0`. Empty: any licence or none."""
    classes: tuple[str, ...] = ()
    """Names of the class list, or LabelNames such as `/m/01yrx`, of which an image must show one. Empty: all images."""
    labels: tuple[str, ...] = ()
    """URLs of the tables (CSV) of what images show: ImageID, LabelName and, where known, Confidence, above 0 for shown.
    Boxes and image-level labels alike."""
    names: str | None = None
    """URL of the class list: LabelName and DisplayName per line; none: `classes` holds LabelNames."""


class PackedSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where Open Images' packed archives are, `.tar` or `.tar.gz`: URLs or local paths by split. `{digit}` stands for
    the first digit of the wanted ids in turn, so that archives without any of them are left alone."""

    train: tuple[str, ...] = ()
    """Archives of the split train, such as `.../tar/train_{digit}.tar.gz`."""
    val: tuple[str, ...] = ()
    """Archives of the split validation, such as `.../tar/validation.tar.gz`."""
    test: tuple[str, ...] = ()
    """Archives of the split test."""

    def of(self, split: Split) -> tuple[str, ...]:
        """The archives of a split."""
        return {"train": self.train, "val": self.val, "test": self.test}[split]


class LicensedSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A source of images that may have come on terms by which they may not be passed on."""

    remotes_are_private: bool = False
    """Owns up to DVC remotes that look public being private. Without it they keep images that may not be passed on from
    being fetched: those whose licence says so, and Cityscapes."""


class OpenImagesSource(
    LicensedSource, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="openimages"
):
    """The Open Images bucket, or any bucket or folder laid out like it. A URL may also be a local path."""

    image_lists: tuple[str, ...]
    """URLs of the image lists (CSV): ImageID and Subset, and where known Author, License, Title, Rotation."""
    images: str | None = None
    """URL of an image, with `{split}` (train, validation, test) and `{id}`; none: they come out of `archives`."""
    archives: PackedSource | None = None
    """The packed archives, each of which is read once from end to end; none: images are fetched one by one."""
    checksums: bool
    """Whether OriginalSize and OriginalMD5 describe the fetched file; the public bucket holds reduced copies: false."""
    filter: ListFilter = ListFilter()
    """Which images of the lists are wanted."""
    masks: MaskSource | None = None
    """The object masks; none: no label maps."""
    reduced: Reduction | None = None
    """The recipe by which images are selected and reduced as they arrive; originals are not kept. None: they are."""

    def __post_init__(self) -> None:
        if (self.images is None) == (self.archives is None):
            raise ValueError("either images or archives has to be given, and not both")
        if self.reduced and self.masks:
            raise ValueError("masks belong to originals, which reduced does not keep")


class CityscapesSource(
    LicensedSource, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="cityscapes"
):
    """The Cityscapes archives, or the folders that they unpack to."""

    root: str
    """URL or local path of the folder with both `*_trainvaltest.zip`, or with `leftImg8bit/` and `gtFine/` unpacked.
    An archive that a local folder lacks is fetched into it where the environment names an account."""


class FolderSource(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="folder"
):
    """A folder of photographs, read with its subfolders; `train/`, `val/` and `test/` at its top are splits."""

    root: str
    """Local path of the folder."""
    validation_share: Share
    """Share of the images held out as split `val`, chosen by name; unused where the folder has split subfolders."""
    labels: str | None = None
    """Local path of a parallel folder of label maps, `<name>.png`; none: they lie beside, as `<name>.labels.png`."""
    classes: Annotated[tuple[str, ...], msgspec.Meta(max_length=255)] = ()
    """Names of the label ids 0, 1, ...; 255 in a label map means unlabelled. Empty: no label maps."""


class TarSource(LicensedSource, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="tars"):
    """A folder of tars of photographs, such as img2dataset or WebDataset write them, read in place."""

    root: str
    """Local path of the folder. Tars in `train/`, `val/` or `test/` at its top, or named `train-*` and so on, are of
    that split."""
    validation_share: Share
    """Share of the images held out as split `val`, chosen by name; unused where tars name their splits."""
    classes: Annotated[tuple[str, ...], msgspec.Meta(max_length=255)] = ()
    """Names of the label ids 0, 1, ... of the label maps `<key>.labels.png`; 255 means unlabelled. Empty: none."""


class ListSource(LicensedSource, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="list"):
    """A list of images, such as standard sets come with. A URL may also be a local path."""

    list: str
    """URL of the list: a CSV, or plain text with one file name or URL per line."""
    validation_share: Share
    """Share of the images held out as split `val`, chosen by name; unused with `split_column`."""
    images: str = ""
    """URL of the folder that the list's file names lie in, or a URL with `{name}`; URLs in the list need none."""
    column: str = ""
    """Column of the CSV that holds file names or URLs; empty: the list is plain text."""
    split_column: str = ""
    """Column of the CSV that holds train, validation (or val) or test; empty: `validation_share` tells."""
    license: str | None = None
    """Terms of the whole set, which travel with each of its images."""
    reduced: Reduction | None = None
    """The recipe by which images are selected and reduced as they arrive; originals are not kept. None: they are."""

    def __post_init__(self) -> None:
        if self.split_column and not self.column:
            raise ValueError("split_column needs column, since plain text has no columns")


def reduction(source: "Source") -> Reduction | None:
    """The recipe that a source applies to what arrives, None where originals are kept."""
    return source.reduced if isinstance(source, OpenImagesSource | ListSource) else None


Source = SampleSource | OpenImagesSource | CityscapesSource | FolderSource | TarSource | ListSource


class PlainSelection(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="recipe", tag="none"
):
    """Every 8-bit image is kept: original bytes where they can be; PNG where size, orientation or mode must change."""

    minimum_side: Count
    """An image whose shorter side is below this is dropped as too small, pixels; before it is cut into tiles."""
    longer_side: Count | None = None
    """An image with a longer side above this is reduced to it, pixels; none: no image is."""
    tile: Annotated[int, msgspec.Meta(ge=64)] | None = None
    """Each image is cut into the fewest equal tiles with sides up to this, pixels, and each tile is a sample: so large
    images count for more than small ones in training. None: an image is a sample."""


SelectionConfig = PaperSelection | CleanSelection | PlainSelection

Triple = tuple[float, float, float]


class SegmentationNetwork(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A segmentation network of one's own, which draws label maps where the source has none: images (1, 3, H, W),
    float32, to logits (1, K, H', W'). Its inputs are (pixels * scale - mean) / std."""

    file: str
    """Local path of the network; of `transformers`, a local folder or a model id, such as `nvidia/segformer-b0`."""
    format: Literal["onnx", "torchscript", "transformers"]
    """What the file is. TorchScript is code that runs with your rights: name only files that you trust."""
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    """SHA-256 of the file, or of `config.json` and `model.safetensors` of `transformers` one behind the other; another
    one is refused, and a new one makes the label maps again."""
    revision: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{40}$")] | None = None
    """Commit of a model id; none for files and folders."""
    classes: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=255)]
    """Names of the K channels. Where the source has annotations, each is the name of one of their classes, and label
    ids are theirs; elsewhere the label ids are 0, 1, ... in this order, a repeated name once."""
    mean: Triple
    """In the order of the network's channels, after `scale`."""
    std: tuple[Positive, Positive, Positive]
    """In the order of the network's channels, after `scale`."""
    scale: Positive = 1 / 255
    """Factor of the pixels, which are 0 to 255; 1 for networks that take them as they are."""
    order: Literal["RGB", "BGR"] = "RGB"
    """Order of the network's channels."""
    longest_side: Annotated[int, msgspec.Meta(ge=32)] = 1024
    """A larger image is reduced to it before the network sees it, pixels: what bounds the memory."""
    multiple: Annotated[int, msgspec.Meta(ge=1, le=256)] = 32
    """Sides that the network sees are multiples of this, pixels."""


class Subset(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Most images to ask for per split, chosen by the hash of their ids; none: the whole split."""

    train: Annotated[int, msgspec.Meta(ge=0)] | None = None
    val: Annotated[int, msgspec.Meta(ge=0)] | None = None
    test: Annotated[int, msgspec.Meta(ge=0)] | None = None
    seed: int = 0
    """Another number chooses another subset."""

    def most(self, split: Split) -> int | None:
        """Most images of a split."""
        return {"train": self.train, "val": self.val, "test": self.test}[split]


class DatasetConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One dataset of params.yaml."""

    source: Source
    """Where images and annotations come from."""
    selection: SelectionConfig
    """Which images become training samples, and in what form."""
    shard_samples: Count
    """Images asked for per partition, and so the most in a shard; with `tile`, they are more samples."""
    maximum_missing: Share
    """Share of the images asked for that may be missing or unusable before the download fails."""
    watch: str
    """Path whose change makes the download run again: an image list, a folder, the code of the sample."""
    subset: Subset
    """How many images to ask for, where not all."""
    maximum_megabytes: Count
    """A larger image file is rejected as too large, in 10^6 bytes."""
    maximum_megapixels: Annotated[int, msgspec.Meta(ge=1, le=178)]
    """An image with more pixels is rejected as too large, in 10^6 pixels."""
    connections: Annotated[int, msgspec.Meta(ge=1, le=64)] = 8
    """Images that are fetched at once by all workers, and so the most connections to a host, and the most workers that
    fetch; it changes no result."""
    pseudo_labels: SegmentationNetwork | None = None
    """What draws label maps for the images that the source has no annotations of; none: they have none."""
