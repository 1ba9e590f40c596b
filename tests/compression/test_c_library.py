"""The library of the decoder in C: where it is kept, and that nothing else is loaded."""

import os
import stat

import pytest
from bitsback.compression import c_library
from bitsback.compression.c_library import library, place

from .compiler import needs_compiler


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A user's cache that is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.cache_clear()
    yield tmp_path / "bitsback"
    library.cache_clear()


@needs_compiler
def test_it_is_built_once(cache, monkeypatch):
    assert library(False) is None and not cache.exists()
    assert library(True).bb_decode_stream
    (built,) = cache.iterdir()
    assert built == place() and stat.S_IMODE(cache.stat().st_mode) == 0o700
    library.cache_clear()
    monkeypatch.setenv("CC", "no-such-compiler")
    assert library(False).bb_decode_stream and library(True).bb_decode_stream


@needs_compiler
def test_what_others_can_write_is_not_loaded(cache):
    assert library(True)
    library.cache_clear()
    place().chmod(0o722)
    assert library(True) is None
    place().chmod(0o700)
    cache.chmod(0o777)
    library.cache_clear()
    assert library(True) is None


@needs_compiler
def test_what_does_not_compile_is_no_library(cache, tmp_path, monkeypatch):
    folder = tmp_path / "c"
    folder.mkdir()
    for name in c_library.SOURCES:
        (folder / name).write_text("this is not C")
    monkeypatch.setattr(c_library, "FOLDER", folder)
    assert library(True) is None and not list(cache.iterdir())


def test_without_a_compiler_there_is_none(cache, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    assert library(True) is None and not cache.exists()


def test_it_can_be_turned_off(monkeypatch):
    monkeypatch.setenv("BITSBACK_C", "0")
    assert place() is None and library(True) is None


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert library(True) is None


def test_another_source_is_another_library(tmp_path, monkeypatch):
    before = place()
    for name in c_library.SOURCES:
        (tmp_path / name).write_bytes((c_library.FOLDER / name).read_bytes() + b"\n")
    monkeypatch.setattr(c_library, "FOLDER", tmp_path)
    assert place() != before and place().parent == before.parent
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert place().parent == type(before)(os.path.expanduser("~/.cache/bitsback"))
