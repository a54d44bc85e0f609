"""Nothing that was called confidential is to be found in text that was masked."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
import time
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
        quote(TOKEN, safe="").lower(),
        quote(TOKEN, safe="'"),
        quote(TOKEN, safe="'+"),
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


def test_a_key_of_many_lines_is_masked_and_does_not_take_long() -> None:
    lines = [hashlib.sha512(bytes([n])).hexdigest()[: 60 + n % 5] for n in range(40)]
    key = "-----BEGIN PRIVATE KEY-----\n" + "\n".join(lines) + "\n-----END PRIVATE KEY-----\n"
    masking.keep_out(key)
    masking.keep_out("short")
    text = f"a {lines[3]} b\n{key}c short\n{base64.b64encode(lines[7].encode()).decode()}\n"
    shown = masking.masked(text)
    assert not any(line in shown for line in lines) and "short" not in shown
    assert shown.startswith("a **** b\n****c ****\n****")
    log = (b"a line of a log of a usual kind, 12345\n" * 50 + b"deadbeef" * 40 + b"\n") * 100
    mask = masking.Mask()
    began = time.process_time()
    passed = b"".join(mask.feed(log[at : at + 8192]) for at in range(0, len(log), 8192))
    assert passed + mask.end() == log
    assert time.process_time() - began < 10


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_what_begins_like_a_value_is_passed_on_in_the_end(size: int) -> None:
    masking.keep_out("abcabcd")
    masking.keep_out("bcX" * 5)
    text = b"abcabcabcd ab abc bcXbcX abcabc" + b"bcX" * 6 + b"abcabc"
    mask = masking.Mask()
    parts = [mask.feed(text[at : at + size]) for at in range(0, len(text), size)]
    assert b"".join([*parts, mask.end()]) == masking.masked(text.decode()).encode()
