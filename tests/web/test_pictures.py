"""The pictures of the documentation show the pages as they are."""

from pathlib import Path

from tests.web.pictures import FOLDER, carrying, digest, pages, shown

STALE = "docs/pictures shows other pages: run `make pictures`, look at the pictures, and commit them"


def test_each_picture_shows_the_page_as_it_is() -> None:
    assert {picture.stem: shown(picture) for picture in FOLDER.iterdir()} == {
        name: digest(page) for name, page in pages().items()
    }, STALE


def test_a_picture_carries_the_digest_of_its_page(tmp_path: Path) -> None:
    without = (FOLDER / "now.png").read_bytes()[:33]
    picture = tmp_path / "now.png"
    picture.write_bytes(carrying(without, digest("a page")))
    assert shown(picture) == digest("a page") != digest("another page")

    picture.write_bytes(without)
    assert shown(picture) == ""
