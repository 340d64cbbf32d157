"""Perceptual hashes: pictures that look alike are near, others are not, plain ones have none."""

from __future__ import annotations

from io import BytesIO
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.support.alike import scene
from tests.support.pictures import encoded
from visionq.images.perceptual_hash import BITS, HashIndex, PerceptualHash, perceptual_hash
from worker.images.alike import hash_of

GREY = bytes(48)


def of(image: Image.Image) -> PerceptualHash:
    found = hash_of(image)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(6))
def test_the_same_scene_is_near(seed: int) -> None:
    """Another format, size or quality moves a hash by a few bits, and no colour far."""
    image = scene(seed, (900, 700))
    again = Image.open(BytesIO(encoded(image, "JPEG", quality=50)))
    smaller = image.resize((300, 233))
    clear = image.convert("RGBA")
    for other in (again, smaller, clear):
        distance = of(image).distance(of(other))
        assert distance is not None
        assert distance <= 4


def test_other_scenes_are_far() -> None:
    """Pictures that have nothing in common differ in about half of the bits, or in colours."""
    hashes = [of(scene(seed)) for seed in range(30)]
    far = [one.distance(other) for n, one in enumerate(hashes) for other in hashes[:n]]
    assert all(distance is None or distance > 10 for distance in far)


def test_the_same_shape_in_another_colour_is_not_near() -> None:
    """A red and a blue thing of one shape are different things."""
    image = scene(1)
    red, green, blue = image.split()
    assert of(image).distance(of(Image.merge("RGB", (blue, green, red)))) is None


@pytest.mark.parametrize(
    "plain",
    [
        Image.new("RGB", (300, 200), (90, 120, 30)),
        Image.linear_gradient("L"),
        Image.linear_gradient("L").rotate(90),
        Image.new("RGBA", (300, 200), (9, 9, 9, 0)),
    ],
)
def test_plain_pictures_have_no_hash(plain: Image.Image) -> None:
    """A flat picture, or one that only fades, looks like any other of its kind: it is refused."""
    assert hash_of(plain) is None


@given(
    st.lists(st.integers(0, 2**BITS - 1), max_size=40),
    st.integers(0, 2**BITS - 1),
    st.integers(0, 10),
)
def test_the_index_finds_what_is_near(stored: list[int], wanted: int, most: int) -> None:
    """The index finds exactly those within the distance, the nearest first."""
    index = HashIndex()
    for bits in stored:
        index.add(PerceptualHash(bits, GREY))
    found = index.near(PerceptualHash(wanted, GREY), most)
    distances = [(bits ^ wanted).bit_count() for bits in stored]
    assert sorted(place for _, place in found) == [n for n, d in enumerate(distances) if d <= most]
    assert [distance for distance, _ in found] == sorted(d for d in distances if d <= most)


def test_a_hash_tells_which_neighbour_is_brighter() -> None:
    """Each bit says whether the part on the right is the brighter one, from the top left on."""
    random = Random(1)
    greys = bytes(random.randrange(256) for _ in range(72))
    found = perceptual_hash(greys, GREY)
    assert found is not None
    assert f"{found.bits:064b}"[:8] == "".join(
        str(int(right > left)) for left, right in pairwise(greys[:9])
    )
