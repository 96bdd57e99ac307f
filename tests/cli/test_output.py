"""Where a page is written: a file or not at all; links keep pointing, pipes and devices stay what they are."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cli.output import write_file, write_files
from sizing.errors import BadInput


def test_a_link_keeps_pointing_at_the_file_that_is_written(tmp_path: Path) -> None:
    (tmp_path / "page").symlink_to("real.html")
    write_file(tmp_path / "page", "words", "--html")
    assert (tmp_path / "page").is_symlink()
    assert (tmp_path / "real.html").read_text() == "words"
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["page", "real.html"]


def test_a_pipe_is_written_to_and_not_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_file(pipe, "words", "--html")
    assert os.read(reader, 100) == b"words"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("name", ["", "none/page", "x" * 300, "loop"])
def test_what_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(BadInput, match="--html: cannot write"):
        write_file(tmp_path / name, "words", "--html")
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]


def test_of_several_files_none_is_replaced_where_one_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("old")
    with pytest.raises(BadInput, match="--out: cannot write"):
        write_files({tmp_path / "one": "new", tmp_path / "none" / "two": "new"}, "--out")
    assert (tmp_path / "one").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
