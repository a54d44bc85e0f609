"""Nothing that was called confidential is to be found in text that was masked."""

from __future__ import annotations

import base64
import json
import shlex
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coopery import masking

TOKEN = 's3cr3t/+ä "tok\'en" \\ %41'
KEY = "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA7\nq83vEjRWeJASNFZ4\n-----END KEY-----\n"


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_forms", set())
    monkeypatch.setattr(masking, "_known", None)
    masking.keep_out(TOKEN)
    masking.keep_out(KEY)


@pytest.mark.parametrize(
    "written",
    [
        TOKEN,
        quote(TOKEN),
        quote(TOKEN, safe=""),
        json.dumps(TOKEN),
        json.dumps(TOKEN, ensure_ascii=False),
        repr(TOKEN),
        shlex.quote(TOKEN),
        base64.b64encode(TOKEN.encode()).decode(),
        base64.b64encode(b"user:" + TOKEN.encode()).decode(),
        base64.urlsafe_b64encode(b"name:" + TOKEN.encode() + b"?").decode(),
        TOKEN.encode().hex(),
        KEY,
        KEY.splitlines()[1],
        json.dumps(KEY),
        KEY.replace("\n", "\r\n"),
    ],
)
def test_all_that_a_value_may_be_written_as_is_hidden(written: str) -> None:
    told = masking.masked(f"before {written} after")
    assert told.startswith("before ") and told.endswith(" after") and masking.MARK in told
    for part in (TOKEN, TOKEN.encode().hex(), "MIIEpAIBAAKCAQEA7", "q83vEjRWeJASNFZ4"):
        assert part not in told
    kept = told.removeprefix("before ").removesuffix(" after")
    assert len(kept.replace(masking.MARK, "")) < 60


def test_text_without_any_stays_as_it_is() -> None:
    text = "sixteen tons \udcff, and what do you get?"
    assert masking.masked(text) == text


@given(st.lists(st.integers(1, 9), min_size=1), st.binary(max_size=20), st.binary(max_size=20))
def test_borders_of_chunks_do_not_matter(cuts: list[int], before: bytes, after: bytes) -> None:
    whole = before + TOKEN.encode() + b"\n" + KEY.encode() + after
    mask, told, rest = masking.Mask(), b"", whole
    for size in cuts * len(whole):
        told += mask.feed(rest[:size])
        rest = rest[size:]
        if not rest:
            break
    told += mask.end()
    assert TOKEN.encode() not in told and b"MIIEpAIBAAKCAQEA7" not in told
    assert told == masking.masked_bytes(whole)


def test_a_chunk_that_begins_no_value_is_passed_on_at_once() -> None:
    mask = masking.Mask()
    assert mask.feed(b"epoch 1: loss 0.5\n") == b"epoch 1: loss 0.5\n"
    assert mask.feed(b"key s3c") == b"key "
    assert mask.feed(b"retion\n") == b"s3cretion\n"


def test_an_empty_value_hides_nothing() -> None:
    masking.keep_out("")
    assert masking.masked("all of it") == "all of it"
