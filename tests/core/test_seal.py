from __future__ import annotations

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.errors import ConfigurationError, Unreadable, Unstorable
from holdfast.core.values import Seal


class Zip:
    def encode(self, data: bytes) -> bytes:
        return zlib.compress(data)

    def decode(self, data: bytes) -> bytes:
        return zlib.decompress(data)


class Broken:
    def encode(self, data: bytes) -> bytes:
        raise RuntimeError("no key")

    def decode(self, data: bytes) -> bytes:
        raise RuntimeError("no key")


texts = st.text().map(lambda text: json.dumps(text, ensure_ascii=False))


@given(texts)
def test_without_a_codec_text_stays_as_it_is(text: str) -> None:
    seal = Seal()
    assert seal.close(text, what="input") == text
    assert seal.open(text) == text


@given(texts)
def test_with_a_codec_text_comes_back(text: str) -> None:
    seal = Seal(Zip())
    closed = seal.close(text, what="input")
    assert json.loads(closed).keys() == {"holdfast:codec", "data"}
    assert seal.open(closed) == text


def test_text_from_before_the_codec_is_read() -> None:
    assert Seal(Zip()).open('{"a": 1}') == '{"a": 1}'


def test_sealed_text_is_read_however_the_database_wrote_it() -> None:
    closed = json.dumps(json.loads(Seal(Zip()).close("[1]", what="input")), indent=2)
    assert Seal(Zip()).open(closed) == "[1]"


@pytest.mark.parametrize(("text", "size"), [('"' + "a" * 100 + '"', 102), ('"' + "é" * 50 + '"', 102)])
def test_the_limit_counts_bytes(text: str, size: int) -> None:
    assert Seal(limit=size).close(text, what="the input") == text
    with pytest.raises(Unstorable, match=rf"the input is {size} bytes as it is stored, and at most {size - 1} are"):
        Seal(limit=size - 1).close(text, what="the input")


def test_the_limit_holds_for_what_is_stored() -> None:
    assert Seal(Zip(), limit=1000).close('"' + "a" * 10_000 + '"', what="the input")


def test_a_payload_without_its_codec_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="give the app its codec="):
        Seal().open(Seal(Zip()).close("[1]", what="input"))


def test_a_payload_with_another_codec_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="the codec Broken cannot read a payload: RuntimeError: no key"):
        Seal(Broken()).open(Seal(Zip()).close("[1]", what="input"))


def test_a_codec_that_fails_makes_the_payload_unstorable() -> None:
    with pytest.raises(Unstorable, match="the codec Broken failed on the input: RuntimeError: no key"):
        Seal(Broken()).close("[1]", what="the input")


def test_the_mark_of_a_codec_cannot_be_forged() -> None:
    with pytest.raises(Unstorable, match="use another key"):
        Seal().close('{"holdfast:codec": 1, "data": "WzFd"}', what="the input")


def test_a_limit_below_one_byte_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="payload_limit is 0"):
        Seal(limit=0)
