"""Which files a layout is for: by names alone, so the files here are empty."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from offnormal.data.layouts import layout_of, layout_of_list, path_column, plain
from offnormal.errors import DataError, FileUnreadable, UnknownName


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def told(files: object, root: Path) -> dict[str, tuple[object, object, object]]:
    return {
        file.name: (file.kind, file.anomalous, file.mask and file.mask.relative_to(root).as_posix())
        for file in files  # type: ignore[attr-defined]
    }


def test_the_layout_of_mvtec(tmp_path: Path) -> None:
    root = make(
        tmp_path,
        *("train/good/0.png", "train/good/1.png", "test/good/0.png", "test/cut/0.png", "test/cut/1.png"),
        *("test/hole/0.png", "ground_truth/cut/0_mask.png", "ground_truth/hole/0_mask.png", "extra/0.png"),
    )
    layout = layout_of(root)
    assert (layout.style, layout.training_place, layout.is_labeled) == ("benchmark", "train/good", True)
    assert told(layout.training, root) == {f"train/good/{i}.png": ("good", False, None) for i in (0, 1)}
    assert told(layout.test, root) == {
        "test/cut/0.png": ("cut", True, "ground_truth/cut/0_mask.png"),
        "test/cut/1.png": ("cut", True, None),
        "test/good/0.png": ("good", False, None),
        "test/hole/0.png": ("hole", True, "ground_truth/hole/0_mask.png"),
    }
    assert [file.name for file in layout.every] == sorted(
        [*told(layout.test, root), "extra/0.png", *("train/good/0.png", "train/good/1.png")]
    )
    assert told(layout_of(root / "test").test, root)["cut/0.png"] == ("cut", True, "ground_truth/cut/0_mask.png")
    assert len(plain(root).every) == 9


def test_good_beside_other_kinds_and_masks(tmp_path: Path) -> None:
    root = make(
        tmp_path,
        *("good/0.png", "good/1.png", "bad/0.jpg", "bad/2.jpg", "dirty/2.jpg", "dirty/deep/3.jpg", "loose.png"),
        *("masks/0.png", "masks/2.png", "masks/dirty/2_mask.png", "masks/3_mask.png"),
    )
    layout = layout_of(root)
    assert (layout.style, layout.training_place) == ("kinds", "good")
    assert [file.name for file in layout.training] == ["good/0.png", "good/1.png"]
    assert layout.test == layout.every
    assert told(layout.test, root) == {
        "bad/0.jpg": ("bad", True, "masks/0.png"),
        "bad/2.jpg": ("bad", True, None),  # masks/2.png could be of either
        "dirty/2.jpg": ("dirty", True, "masks/dirty/2_mask.png"),
        "dirty/deep/3.jpg": ("dirty", True, "masks/3_mask.png"),
        "good/0.png": ("good", False, None),
        "good/1.png": ("good", False, None),
        "loose.png": (None, None, None),
    }


def test_any_other_folder_is_taken_whole(tmp_path: Path) -> None:
    root = make(tmp_path, "a/0.png", "b/good/0.png", "train/0.png", "test/0.png", "notes.txt")
    layout = layout_of(root)
    assert (layout.style, layout.training_place, layout.is_labeled) == ("plain", "", False)
    assert [file.name for file in layout.training] == ["a/0.png", "b/good/0.png", "test/0.png", "train/0.png"]
    assert layout.training == layout.test == layout.every
    with pytest.raises(DataError, match="has no images in it"):
        layout_of(make(tmp_path / "none", "notes.txt"))


def test_a_list_of_paths(tmp_path: Path) -> None:
    file = tmp_path / "parts.csv"
    file.write_text(
        "\ufeffnumber;Image;label;mask;split\n1;a/0.png;0;;train\n2;a/1.png;1;m/1.png;train\n3;b/2.png;1;m/2.png;test\n"
        "4;b/3.png;;;test\n5;;0;;test\n;;;;\n",
        encoding="utf-8",
    )
    layout = layout_of_list(file)
    assert layout is not None
    assert [(one.name, one.path) for one in layout.training] == [("a/0.png", tmp_path / "a/0.png")]
    assert layout.training_place == "split train, labels of anomalies left out"
    lacking = "(row 4 of the list, counted from 0, has no path)"
    expected = {"b/2.png": ("1", True, "m/2.png"), "b/3.png": (None, None, None), lacking: ("0", False, None)}
    assert told(layout.test, tmp_path) == expected, "a row without a path takes its place among the others"
    assert len(layout.every) == 5, "a line of separators alone is no row"


def test_the_first_path_of_a_list_need_not_be_in_its_first_row(tmp_path: Path) -> None:
    (tmp_path / "parts.csv").write_text("weight,path\n1,\n2,a.png\n")
    layout = layout_of_list(tmp_path / "parts.csv")
    assert layout is not None
    assert [one.name for one in layout.every] == ["(row 0 of the list, counted from 0, has no path)", "a.png"]


def test_labels_in_a_list_may_be_kinds(tmp_path: Path) -> None:
    file = tmp_path / "parts.tsv"
    file.write_text("scan\tkind\na.png\tgood\nb.png\tcut\n")
    assert layout_of_list(file) is None
    layout = layout_of_list(file, "scan")
    assert layout is not None
    assert [(one.kind, one.anomalous) for one in layout.test] == [("good", False), ("cut", True)]
    assert [one.name for one in layout.training] == ["a.png"]
    file.write_text("path\tkind\na.png\tblue\nb.png\tred\n")
    layout = layout_of_list(file)
    assert layout is not None
    assert [one.anomalous for one in layout.test] == [None, None]
    assert (len(layout.training), layout.training_place) == (2, "")


def test_a_table_is_no_list_by_the_name_of_a_column_alone() -> None:
    rows = {"path": "left", "File": "x/1.PNG", "size": "3.png"}
    assert path_column(list(rows), rows.__getitem__) == "File"
    assert path_column(["size"], rows.__getitem__) is None


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (b"path\n", None, ""),
        (b"path,label\na.png,1\n", DataError, "all are labeled as anomalies"),
        (b"path\n\xff\xfe.png\n", FileUnreadable, "is not CSV text in UTF-8"),
    ],
)
def test_bad_lists(content: bytes, error: type[Exception] | None, said: str, tmp_path: Path) -> None:
    file = tmp_path / "parts.csv"
    file.write_bytes(content)
    if error is None:
        assert layout_of_list(file) is None
    else:
        with pytest.raises(error, match=said):
            layout_of_list(file)
    with pytest.raises(UnknownName if b"\xff" not in content else FileUnreadable):
        layout_of_list(file, "image")
    with pytest.raises(FileUnreadable, match="There is no file"):
        layout_of_list(tmp_path / "none.csv")


def test_no_network_library_is_loaded() -> None:
    code = "import sys, offnormal.data.layouts; sys.exit('torch' in sys.modules or 'PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
