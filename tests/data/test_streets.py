"""Street scenes: exact maps, Cityscapes' ids and palette, the same bytes for the same number."""

import numpy as np
import pytest
from cityscapesscripts.helpers.labels import id2label, name2label

from gencomp.data import streets
from gencomp.data.canvas import Camera, Canvas, noise_table, soft
from gencomp.data.sample import STREET_SEED

PROMISED = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "bicycle", "static", "ego vehicle",
)  # fmt: skip


@pytest.fixture(scope="module")
def scenes() -> list[streets.Scene]:
    return [streets.render(STREET_SEED, number) for number in (0, 1, 2, 3, 4)]


def test_a_scene_has_the_promised_shapes_and_types(scenes: list[streets.Scene]) -> None:
    for scene in scenes:
        assert scene.image.shape == (256, 512, 3)
        assert scene.labels.shape == scene.instances.shape == (256, 512)
        assert [plane.dtype for plane in (scene.image, scene.labels, scene.instances)] == [
            np.uint8,
            np.uint8,
            np.uint16,
        ]


def test_every_promised_class_is_on_some_street(scenes: list[streets.Scene]) -> None:
    seen = {int(id) for scene in scenes for id in np.unique(scene.labels)}
    assert {name2label[name].id for name in PROMISED} <= seen


def test_instances_agree_with_labels_and_count_only_what_is_counted(scenes: list[streets.Scene]) -> None:
    for scene in scenes:
        counted = scene.instances >= 1000
        assert np.array_equal(np.where(counted, scene.instances // 1000, scene.instances), scene.labels)
        for id in np.unique(scene.labels):
            assert counted[scene.labels == id].all() == id2label[int(id)].hasInstances


def test_the_objects_of_a_class_are_numbered_from_zero_without_gaps(scenes: list[streets.Scene]) -> None:
    cars = name2label["car"].id
    for scene in scenes:
        numbers = np.unique(scene.instances[scene.labels == cars]) % 1000
        assert numbers.size > 2
        assert numbers.tolist() == list(range(numbers.size))


def test_the_palette_is_that_of_cityscapes() -> None:
    colours = streets.palette(np.arange(34, dtype=np.uint8)[None])
    assert colours.shape == (1, 34, 4)
    assert [tuple(colour) for colour in colours[0]] == [(*id2label[id].color, 255) for id in range(34)]


def test_a_scene_is_a_function_of_seed_and_number(scenes: list[streets.Scene]) -> None:
    again = streets.render(STREET_SEED, 2)
    assert np.array_equal(again.image, scenes[2].image)
    assert np.array_equal(again.instances, scenes[2].instances)
    assert not np.array_equal(streets.render(STREET_SEED + 1, 2).labels, scenes[2].labels)


def test_the_picture_looks_like_its_map(scenes: list[streets.Scene]) -> None:
    """Sky is brighter than road, vegetation has less blue than either, neighbouring pixels are alike."""
    for scene in scenes:
        mean = {
            name: scene.image[scene.labels == name2label[name].id].mean(0) for name in ("sky", "road", "vegetation")
        }
        assert mean["sky"].mean() > mean["road"].mean() + 20
        over_blue = {name: colour[1] - colour[2] for name, colour in mean.items()}
        assert over_blue["vegetation"] > 10 + max(over_blue["road"], over_blue["sky"])
        steps = np.abs(np.diff(scene.image.astype(int), axis=1)).mean()
        assert 1 < steps < 20


def test_a_camera_sees_the_ground_below_its_horizon_and_far_points_near_the_vanishing_point() -> None:
    camera = Camera(focal=100, height=1.5, vanishing_x=50, horizon=40)
    assert camera.project(0, 0, 10) == (50, 55)
    assert camera.project(-2, 1.5, 4) == (0, 40)
    assert camera.project(3, 0, 3000) == pytest.approx((50.1, 40.05))


def test_painting_covers_colour_label_depth_and_number_of_the_same_pixels() -> None:
    canvas = Canvas(31, 47, noise_table(np.random.default_rng(3)))
    number = canvas.new_object(26)
    canvas.polygon([(-20, 10), (15, 10), (15, 60), (-20, 60)], (0.5, 0.4, 0.3), 26, 7.0, number)
    inside = canvas.label == 26
    assert inside[20, 3] and not inside[5, 3] and not inside[20, 30]
    for plane in (canvas.rgb.any(2), canvas.depth == 7, canvas.number == number):
        assert np.array_equal(plane, inside)
    canvas.polygon([(100, 100), (110, 100), (110, 110)], (1, 1, 1), 7, 1.0)
    assert not (canvas.label == 7).any()


def test_noise_repeats_without_a_seam() -> None:
    noise = noise_table(np.random.default_rng(5), 256)
    inner = np.abs(np.diff(noise, axis=1)).mean()
    assert np.abs(noise[:, 0] - noise[:, -1]).mean() < 2 * inner
    assert noise.std() > 0.1 and np.abs(noise).max() <= 1


def test_a_soft_interval_is_one_inside_zero_outside_and_half_at_its_edge() -> None:
    values = np.array([0.0, 1.0, 1.5, 2.0, 3.0], np.float32)
    assert soft(values, 1.0, 2.0, 0.1).tolist() == [0, 0.5, 1, 0.5, 0]
