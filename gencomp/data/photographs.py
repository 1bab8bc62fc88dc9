"""The colour photographs inside the installed scikit-image and scikit-learn, with credits and hand-drawn outlines.

Authors and licences are those that the two packages document: the docstrings of `skimage.data` and
`sklearn/datasets/images/README.txt`.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

LONGEST_SIDE = 1024
"""Pixels; larger photographs are reduced, as those of the Open Images bucket are."""

CC0 = "https://creativecommons.org/publicdomain/zero/1.0/"
CC_BY = "https://creativecommons.org/licenses/by/2.0/"
PUBLIC_DOMAIN = "https://creativecommons.org/publicdomain/mark/1.0/"
_SKIMAGE = "https://scikit-image.org/docs/stable/api/skimage.data.html#skimage.data."

Polygon = tuple[tuple[int, int], ...]

CLASSES = {
    "Bench": "/m/0cvnqh",
    "Building": "/m/0cgh4",
    "Camera": "/m/0dv5r",
    "Cat": "/m/01yrx",
    "Coffee cup": "/m/02p5f1q",
    "Flag": "/m/03120",
    "Flower": "/m/0c9ph5",
    "Helmet": "/m/0zvk5",
    "Man": "/m/04yx4",
    "Motorcycle": "/m/04_sv",
    "Rocket": "/m/09rvcxw",
    "Saucer": "/m/03q5c7",
    "Spoon": "/m/0cmx8",
    "Table": "/m/04bcr3",
    "Tower": "/m/01fdzj",
    "Tree": "/m/07j7r",
    "Wheel": "/m/083wq",
    "Woman": "/m/03bt1vf",
}
"""Label names (machine ids) of the Open Images classes that the outlines use."""


@dataclass(frozen=True)
class Outline:
    """An object in a photograph."""

    name: str
    """A class of CLASSES."""
    corners: Polygon
    """Corners, pixels of the photograph."""
    part: bool = False
    """Whether it belongs to an object listed before it, and so hides nothing of it."""


@dataclass(frozen=True)
class Credit:
    """Whose a photograph is."""

    author: str
    profile: str
    """Page of the author; empty where none is documented."""
    license: str
    """URL of the licence, or of the page that states the terms."""
    landing: str
    """Page that the photograph comes from."""


@dataclass(frozen=True)
class Photograph:
    """A photograph inside an installed package."""

    name: str
    file: str
    """Package and path inside it."""
    subset: Literal["train", "validation"]
    title: str
    credit: Credit
    outlines: tuple[Outline, ...] = ()
    """Objects from the back to the front."""
    mask_scale: float = 1.0
    """Size of the masks over that of the photograph."""
    crop: tuple[int, int, int, int] | None = None
    """Left, top, right and bottom of the detail that is used, pixels."""


def jpeg(photograph: Photograph) -> bytes:
    """The photograph as the bucket holds it: its own bytes where it is a JPEG of at most 1024 pixels' side.

    Others are coded anew at quality 95 without chroma subsampling. Raises FileNotFoundError, in one line, where the
    package lacks the file.
    """
    original = _installed(photograph.file).read_bytes()
    with Image.open(io.BytesIO(original)) as image:
        if image.format == "JPEG" and max(image.size) <= LONGEST_SIDE and photograph.crop is None:
            return original
        pixels = image.crop(photograph.crop) if photograph.crop else image.copy()
    pixels.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    coded = io.BytesIO()
    pixels.save(coded, "JPEG", quality=95, subsampling=0, optimize=True)
    return coded.getvalue()


def masks(photograph: Photograph, size: tuple[int, int]) -> list[NDArray[np.bool_]]:
    """The visible pixels of each outline, in their order, for a photograph of `size` (width, height)."""
    width, height = (round(side * photograph.mask_scale) for side in size)
    drawn = [_filled(outline.corners, photograph.mask_scale, width, height) for outline in photograph.outlines]
    for k, outline in enumerate(photograph.outlines):
        if not outline.part:
            for behind in drawn[:k]:
                behind &= ~drawn[k]
    return drawn


def _filled(corners: Polygon, scale: float, width: int, height: int) -> NDArray[np.bool_]:
    image = Image.new("L", (width, height))
    ImageDraw.Draw(image).polygon([(x * scale, y * scale) for x, y in corners], fill=1)
    return np.array(image, bool)


def _installed(file: str) -> Path:
    """Path of a package's file, found without an import of the package."""
    package, _, path = file.partition("/")
    spec = find_spec(package)
    for root in (spec.submodule_search_locations or []) if spec else []:
        if (Path(root) / path).is_file():
            return Path(root) / path
    raise FileNotFoundError(
        f"the installed {package} lacks {path}, a photograph of the sample: install gencomp[pipeline]"
    )


def _pair(shape: Sequence[tuple[int, int]], shifts: tuple[tuple[int, int], ...]) -> Polygon:
    """An outline of the left view moved into the right one; shifts are (column, pixels to the left), ascending."""
    columns, amounts = zip(*shifts, strict=True)
    return tuple((round(x - float(np.interp(x, columns, amounts))), y) for x, y in shape)


_NASA = Credit("NASA", "", PUBLIC_DOMAIN, "https://flic.kr/p/r9qvLn")
_WALT = Credit("Stefan van der Walt", "", CC0, _SKIMAGE + "chelsea")
_MIDDLEBURY = Credit(
    "N. Nesic, P. Westling, X. Wang, Y. Kitajima, G. Krathwohl and D. Scharstein",
    "",
    "http://vision.middlebury.edu/stereo/data/scenes2014/",
    "http://vision.middlebury.edu/stereo/data/scenes2014/",
)

# fmt: off
_BENCH: Polygon = (
    (55, 112), (278, 106), (286, 150), (287, 190), (245, 190), (225, 172), (165, 160), (150, 150), (142, 160),
    (148, 205), (125, 203), (100, 198), (92, 205), (98, 220), (115, 225), (103, 240), (60, 243), (58, 308), (48, 305),
    (42, 210), (60, 190),
)
_MOTORCYCLE: Polygon = (
    (92, 205), (100, 198), (125, 203), (148, 205), (150, 190), (145, 180), (142, 160), (150, 150), (165, 160),
    (200, 168), (225, 172), (245, 190), (270, 200), (300, 200), (320, 190), (345, 185), (355, 190), (375, 180),
    (395, 165), (360, 170), (358, 162), (395, 140), (345, 138), (333, 130), (345, 118), (395, 108), (400, 130),
    (430, 120), (440, 125), (465, 140), (470, 118), (490, 105), (500, 95), (495, 75), (505, 60), (512, 35), (525, 30),
    (527, 40), (522, 70), (530, 95), (545, 97), (540, 103), (525, 100), (530, 115), (555, 120), (575, 117),
    (582, 130), (575, 143), (560, 142), (560, 160), (552, 180), (535, 190), (545, 200), (560, 225), (572, 265),
    (600, 270), (625, 285), (643, 305), (660, 325), (675, 350), (683, 385), (680, 420), (668, 440), (650, 450),
    (625, 450), (590, 440), (565, 420), (540, 390), (520, 360), (512, 335), (505, 325), (508, 305), (520, 285),
    (515, 265), (500, 230), (493, 225), (480, 230), (470, 245), (475, 270), (470, 295), (478, 310), (465, 345),
    (445, 370), (420, 380), (380, 380), (340, 372), (335, 400), (348, 405), (340, 410), (335, 425), (342, 435),
    (325, 437), (330, 415), (330, 380), (320, 370), (300, 362), (270, 360), (255, 385), (230, 397), (200, 400),
    (170, 390), (145, 372), (130, 345), (120, 315), (122, 285), (130, 265), (150, 245), (140, 232), (115, 245),
    (103, 243), (115, 225), (98, 220),
)
_REAR_WHEEL: Polygon = (
    (150, 245), (180, 240), (210, 240), (240, 252), (262, 275), (280, 300), (285, 330), (275, 360), (255, 385),
    (230, 397), (200, 400), (170, 390), (145, 372), (130, 345), (120, 315), (122, 285), (130, 265),
)
_FRONT_WHEEL: Polygon = (
    (520, 312), (560, 300), (600, 315), (643, 312), (660, 325), (675, 350), (683, 385), (680, 420), (668, 440),
    (650, 450), (625, 450), (590, 440), (565, 420), (540, 390), (520, 360), (514, 335),
)
# The nearer a part of the motorcycle, the further it moves from the left view to the right one.
_SHIFTS = ((92, 42), (200, 44), (330, 56), (560, 57), (683, 55))
_BENCH_SHIFTS = ((0, 23), (300, 25))

PHOTOGRAPHS: tuple[Photograph, ...] = (
    Photograph(
        "astronaut", "skimage/data/astronaut.png", "train", "Eileen Collins, American astronaut", _NASA,
        (
            Outline("Flag", (
                (0, 0), (42, 0), (50, 30), (56, 60), (64, 88), (78, 130), (86, 160), (92, 190), (95, 217), (70, 236),
                (54, 258), (42, 285), (33, 310), (24, 370), (19, 400), (24, 425), (23, 460), (26, 490), (36, 511),
                (0, 511),
            )),
            Outline("Rocket", (
                (398, 5), (410, 0), (428, 0), (436, 20), (438, 42), (446, 40), (453, 60), (455, 200), (456, 230),
                (450, 250), (458, 265), (470, 274), (430, 285), (390, 288), (368, 278), (367, 258), (380, 230),
                (355, 222), (358, 205), (378, 185), (380, 120), (381, 55), (388, 42), (396, 50),
            )),
            Outline("Woman", (
                (237, 16), (262, 20), (285, 38), (296, 62), (302, 88), (297, 110), (285, 126), (276, 133), (268, 137),
                (262, 155), (256, 172), (272, 184), (290, 205), (300, 228), (305, 240), (318, 242), (335, 255),
                (345, 275), (353, 300), (358, 325), (362, 345), (345, 352), (325, 366), (305, 388), (290, 415),
                (281, 445), (278, 475), (282, 511), (20, 511), (26, 490), (23, 460), (24, 425), (19, 400), (24, 370),
                (30, 330), (33, 310), (42, 285), (54, 258), (70, 236), (95, 217), (115, 206), (114, 192), (120, 180),
                (135, 160), (155, 150), (183, 148), (181, 132), (172, 122), (163, 115), (155, 98), (154, 75),
                (163, 52), (185, 38), (200, 27), (220, 18),
            )),
            Outline("Helmet", (
                (278, 475), (281, 440), (290, 412), (305, 388), (325, 364), (350, 350), (380, 344), (410, 344),
                (440, 352), (465, 372), (483, 400), (495, 430), (500, 455), (508, 460), (511, 480), (511, 511),
                (282, 511), (279, 495),
            )),
        ),
        mask_scale=0.75,
    ),
    Photograph(
        "camera", "skimage/data/camera.png", "train", "Man with a camera",
        Credit("Lav Varshney", "", CC0, _SKIMAGE + "camera"),
        (
            Outline("Man", (
                (200, 63), (220, 65), (245, 80), (262, 95), (270, 115), (265, 130), (252, 135), (253, 165),
                (245, 175), (240, 195), (243, 210), (240, 225), (250, 245), (262, 230), (265, 210), (280, 200),
                (305, 185), (315, 170), (327, 170), (332, 190), (325, 205), (310, 225), (300, 245), (304, 270),
                (285, 290), (248, 312), (205, 295), (185, 330), (160, 355), (142, 380), (148, 420), (148, 511),
                (140, 511), (120, 470), (100, 447), (90, 511), (0, 511), (0, 250), (22, 225), (45, 190), (62, 158),
                (90, 132), (128, 123), (155, 105), (162, 95), (175, 75),
            )),
            Outline("Camera", (
                (253, 140), (300, 142), (312, 138), (325, 140), (325, 150), (320, 155), (319, 180), (300, 184),
                (280, 185), (265, 178), (260, 168), (260, 150),
            )),
        ),
    ),
    Photograph(
        "chelsea", "skimage/data/chelsea.png", "validation", "Chelsea the cat", _WALT,
        (
            Outline("Cat", (
                (33, 0), (398, 0), (378, 28), (362, 62), (350, 76), (352, 100), (362, 118), (358, 140), (350, 165),
                (335, 190), (325, 210), (318, 225), (315, 245), (300, 262), (285, 280), (262, 290), (230, 299),
                (0, 299), (0, 240), (15, 200), (0, 140), (25, 120), (32, 100), (33, 50),
            )),
        ),
    ),
    Photograph(
        "china", "sklearn/datasets/images/china.jpg", "train", "Pagoda of the Summer Palace in Beijing",
        Credit(
            "danielbuechele", "https://www.flickr.com/photos/danielbuechele/", CC_BY,
            "https://www.flickr.com/photos/danielbuechele/6061409035/sizes/z/in/photostream/",
        ),
        (
            Outline("Building", (
                (197, 32), (203, 30), (214, 32), (214, 45), (217, 62), (235, 80), (262, 97), (280, 105), (295, 110),
                (319, 120), (318, 127), (300, 137), (293, 145), (293, 160), (310, 167), (330, 175), (325, 183),
                (318, 190), (321, 225), (328, 232), (326, 242), (330, 243), (351, 257), (340, 270), (340, 310),
                (349, 312), (347, 322), (370, 333), (365, 345), (345, 365), (320, 395), (310, 427), (295, 415),
                (285, 395), (265, 388), (240, 390), (215, 385), (200, 365), (160, 350), (140, 332), (110, 335),
                (78, 340), (73, 325), (78, 318), (80, 283), (63, 270), (75, 252), (93, 245), (95, 232), (103, 225),
                (103, 190), (85, 183), (85, 170), (105, 163), (118, 160), (118, 140), (97, 130), (96, 108),
                (118, 103), (145, 98), (165, 85), (180, 75), (193, 62), (195, 47),
            )),
            Outline("Tree", (
                (0, 145), (8, 170), (20, 185), (45, 195), (55, 215), (75, 230), (72, 245), (50, 250), (35, 262),
                (15, 275), (0, 275),
            )),
            Outline("Tree", (
                (0, 293), (25, 305), (35, 330), (60, 340), (78, 345), (110, 337), (140, 332), (160, 350), (200, 365),
                (215, 385), (240, 390), (265, 388), (285, 395), (295, 415), (300, 427), (0, 427),
            )),
            Outline("Tree", (
                (310, 427), (340, 400), (345, 365), (375, 335), (400, 318), (440, 302), (475, 292), (500, 298),
                (520, 282), (540, 273), (560, 285), (570, 300), (568, 427),
            )),
            Outline("Tree", (
                (568, 427), (570, 300), (556, 275), (556, 250), (548, 228), (560, 200), (575, 185), (572, 170),
                (590, 150), (600, 136), (620, 138), (625, 155), (640, 150), (640, 427),
            )),
        ),
        mask_scale=1.5,
    ),
    Photograph(
        "coffee", "skimage/data/coffee.png", "validation", "Espresso, courtesy of Pikolo Espresso Bar",
        Credit("Rachel Michetti", "", CC0, _SKIMAGE + "coffee"),
        (
            Outline("Table", ((165, 0), (599, 0), (599, 399), (0, 399), (0, 105), (60, 65), (120, 28))),
            Outline("Saucer", (
                (182, 68), (160, 77), (135, 92), (110, 117), (92, 147), (80, 180), (77, 215), (82, 250), (95, 285),
                (115, 315), (145, 345), (180, 367), (220, 381), (260, 388), (300, 388), (345, 382), (390, 365),
                (425, 340), (452, 308), (470, 270), (478, 232), (474, 195), (462, 160), (445, 130), (420, 108),
                (400, 100),
            )),
            Outline("Coffee cup", (
                (173, 105), (180, 80), (195, 58), (220, 38), (250, 24), (285, 18), (320, 22), (355, 34), (385, 55),
                (400, 75), (407, 100), (406, 125), (400, 150), (392, 180), (380, 205), (365, 225), (352, 245),
                (335, 265), (315, 280), (285, 285), (265, 280), (255, 272), (245, 285), (235, 298), (225, 306),
                (210, 303), (198, 292), (196, 275), (202, 255), (212, 240), (219, 235), (205, 222), (195, 210),
                (185, 195), (178, 170), (173, 135),
            )),
            Outline("Spoon", (
                (400, 72), (405, 67), (415, 67), (424, 74), (424, 82), (418, 100), (412, 120), (405, 145), (396, 175),
                (388, 205), (384, 230), (396, 245), (404, 262), (406, 280), (400, 300), (385, 318), (360, 326),
                (340, 316), (328, 298), (327, 280), (332, 265), (340, 254), (354, 244), (370, 232), (380, 208),
                (390, 185), (400, 155), (406, 125), (406, 100), (400, 85),
            )),
        ),
    ),
    Photograph(
        "flower", "sklearn/datasets/images/flower.jpg", "train", "Dahlia",
        # The README's attribution line names the author of the other picture; its links lead to this one.
        Credit(
            "vultilion", "https://www.flickr.com/photos/vultilion/", CC_BY,
            "https://www.flickr.com/photos/vultilion/6056698931/sizes/z/in/photostream/",
        ),
        (
            Outline("Flower", (
                (316, 85), (335, 92), (355, 94), (385, 105), (405, 118), (415, 130), (428, 148), (432, 175),
                (443, 200), (445, 225), (440, 250), (430, 265), (425, 287), (410, 310), (405, 327), (385, 335),
                (365, 345), (345, 357), (320, 359), (290, 359), (265, 351), (240, 343), (222, 328), (205, 318),
                (198, 300), (180, 285), (178, 265), (171, 248), (168, 225), (170, 203), (178, 190), (176, 172),
                (188, 168), (188, 140), (204, 133), (212, 116), (228, 112), (245, 100), (275, 95), (300, 88),
            )),
            Outline("Flower", (
                (288, 415), (290, 402), (310, 393), (330, 385), (335, 378), (350, 375), (368, 390), (385, 380),
                (400, 380), (410, 382), (425, 380), (438, 390), (441, 405), (440, 420), (455, 420), (468, 427),
                (297, 427),
            )),
        ),
    ),
    Photograph(
        "hubble_deep_field", "skimage/data/hubble_deep_field.jpg", "train", "Hubble eXtreme Deep Field",
        Credit(
            "NASA", "", "http://www.nasa.gov/audience/formedia/features/MP_Photo_Guidelines.html",
            "http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/",
        ),
    ),
    Photograph(
        "immunohistochemistry", "skimage/data/ihc.png", "train", "Colonic glands, immunohistochemical staining",
        Credit("Center for Microscopy And Molecular Imaging", "", PUBLIC_DOMAIN, _SKIMAGE + "immunohistochemistry"),
    ),
    Photograph(
        "motorcycle_left", "skimage/data/motorcycle_left.png", "train",
        "Motorcycle, left view of a stereo pair", _MIDDLEBURY,
        (
            Outline("Bench", _BENCH), Outline("Motorcycle", _MOTORCYCLE), Outline("Wheel", _REAR_WHEEL, part=True),
            Outline("Wheel", _FRONT_WHEEL, part=True),
        ),
    ),
    Photograph(
        "motorcycle_right", "skimage/data/motorcycle_right.png", "train",
        "Motorcycle, right view of a stereo pair", _MIDDLEBURY,
        (
            Outline("Bench", _pair(_BENCH, _BENCH_SHIFTS)), Outline("Motorcycle", _pair(_MOTORCYCLE, _SHIFTS)),
            Outline("Wheel", _pair(_REAR_WHEEL, _SHIFTS), part=True),
            Outline("Wheel", _pair(_FRONT_WHEEL, _SHIFTS), part=True),
        ),
    ),
    Photograph(
        "patch", "skimage/data/astronaut.png", "train",
        "Mission patch, a detail of the portrait of Eileen Collins", _NASA,
        crop=(128, 340, 224, 428),
    ),
    Photograph(
        "retina", "skimage/data/retina.jpg", "train", "Fundus photograph of a normal left eye",
        Credit(
            "Mikael Häggström", "", CC0,
            "https://commons.wikimedia.org/wiki/File:Fundus_photograph_of_normal_left_eye.jpg",
        ),
    ),
    Photograph(
        "rocket", "skimage/data/rocket.jpg", "validation", "DSCOVR on Falcon 9 before its launch",
        Credit(
            "SpaceX", "https://www.flickr.com/photos/spacexphotos/", PUBLIC_DOMAIN,
            "https://www.flickr.com/photos/spacexphotos/16511594820/in/photostream/",
        ),
        (
            Outline("Tower", (
                (52, 0), (88, 0), (84, 150), (80, 300), (74, 427), (0, 427), (0, 370), (18, 250), (40, 100),
            )),
            Outline("Tower", (
                (199, 123), (204, 123), (203, 192), (204, 250), (202, 427), (165, 427), (172, 350), (182, 250),
                (189, 192), (197, 190),
            )),
            Outline("Tower", (
                (443, 123), (448, 123), (451, 190), (457, 192), (462, 250), (470, 320), (478, 427), (440, 427),
                (440, 300), (442, 200), (446, 190),
            )),
            Outline("Tower", (
                (560, 0), (598, 0), (612, 100), (635, 200), (640, 220), (640, 427), (580, 427), (572, 300),
                (568, 200), (562, 80),
            )),
            Outline("Rocket", (
                (311, 150), (314, 138), (322, 127), (330, 135), (334, 150), (334, 178), (332, 185), (331, 407),
                (313, 407), (312, 185), (311, 175),
            )),
        ),
        mask_scale=0.5,
    ),
)
"""Every colour photograph, sorted by name, and two that a selection drops: `camera` has no colour, `patch` is small.

The stereo pair is in one subset. Validation holds the pictures that are looked at: a cat, a cup, a rocket at dusk.
"""
