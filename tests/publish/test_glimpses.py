"""Images of registries, looked into as their layers stream by: good ones, and hostile ones."""

from __future__ import annotations

import http.client
import json
import platform
import re
import struct
import sys
import tarfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layered import (
    ABSENT,
    CONFIG,
    FILES,
    INDEX,
    LAYER,
    MANIFEST,
    STACK,
    Table,
    config_of,
    digest,
    file,
    folder,
    hard,
    link,
    packed,
    tar,
)

import coopery_publish.client as client_module
from coopery.errors import MachineError
from coopery.glimpses import LARGEST_FILE, Glimpse
from coopery.logins import RegistryLogin
from coopery.model import Secret
from coopery.secrets import Secrets, no_secrets
from coopery_publish import glimpses, layers, manifests, stacks

from .conftest import Asked, Speaker

SPEC = b'{"version": 1}'
CONFIGURED = {
    "Labels": {"a": "b"},
    "Entrypoint": ["/run"],
    "Cmd": ["x", "y"],
    "Env": ["PATH=/bin", "WORD=a=b"],
    "User": "ada",
    "WorkingDir": "/w",
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_DELAYS", (0.0, 0.0, 0.0, 0.0))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


def manifest_of(config: bytes, blobs: Sequence[bytes]) -> Table:
    listed = [{"mediaType": LAYER, "digest": digest(b), "size": len(b)} for b in blobs]
    described = {"mediaType": CONFIG, "digest": digest(config), "size": len(config)}
    return {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": listed}


def serve(
    speaker: Speaker,
    *blobs: bytes,
    config: bytes | None = None,
    change: Callable[[Table], object] = lambda manifest: None,
    lies: Mapping[bytes, bytes] = {},
    raw: bytes | None = None,
    more: Sequence[bytes] = (),
    pinned: bool = False,
) -> str:
    """Have the registry serve an image of layers as they are given; its reference."""
    config = config_of((), CONFIGURED) if config is None else config
    manifest = manifest_of(config, blobs)
    change(manifest)
    raw = json.dumps(manifest).encode() if raw is None else raw
    known = {digest(each): lies.get(each, each) for each in (*blobs, config, raw, *more)}
    known["1.0"] = raw

    def answer(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        found = known.get(asked.path.rpartition("/")[2])
        return (404, {}, b"") if found is None else (200, {"Content-Type": MANIFEST}, found)

    speaker.handler = answer
    return f"{speaker.host}/team/x" + (f"@{digest(raw)}" if pinned else ":1.0")


def look(reference: str, *paths: str, told: list[str] | None = None) -> Glimpse:
    lines: list[str] = [] if told is None else told
    return glimpses.look(reference, paths, lines.append, no_secrets(), None)


def refused(reference: str, *paths: str) -> str:
    """What is said of an image that is refused, after its slug."""
    with pytest.raises(MachineError) as error:
        look(reference, *(paths or ("/spec.json",)))
    [problem] = error.value.problems
    assert problem.hint and reference.partition("/")[0] in problem.message
    return f"{problem.slug}: {problem.message}"


def asked_for(speaker: Speaker, blob: bytes) -> int:
    return sum(asked.path.endswith(digest(blob)) for asked in speaker.asked)


def test_the_configuration_is_told_without_a_layer(speaker: Speaker) -> None:
    layer = packed(tar(file("spec.json", SPEC)))
    config = config_of((), CONFIGURED)
    found = look(serve(speaker, layer))
    assert found == Glimpse(
        id=digest(config),
        source=speaker.host,
        labels={"a": "b"},
        entrypoint=("/run",),
        command=("x", "y"),
        env={"PATH": "/bin", "WORD": "a=b"},
        user="ada",
        workdir="/w",
    )
    assert not asked_for(speaker, layer)
    assert look(serve(speaker, config=config_of((), None))).labels == {}


@pytest.mark.parametrize("pack", [packed, lambda layer: layer])
@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_stack_is_seen_from_its_top(
    speaker: Speaker, pack: Callable[[bytes], bytes], format: int
) -> None:
    reference = serve(speaker, *(pack(tar(*layer, format=format)) for layer in STACK))
    for path in (*FILES, *ABSENT):  # alone, and all at once
        expected = {path: FILES[path]} if path in FILES else {}
        assert dict(look(reference, path).files) == expected, path
    assert dict(look(reference, *FILES, *ABSENT).files) == FILES


def test_no_more_layers_are_read_than_it_takes(speaker: Speaker) -> None:
    low, middle, high = (packed(tar(file(f"{n}.json", n.encode()))) for n in ("a", "b", "c"))
    reference = serve(speaker, low, middle, high)
    assert look(reference, "/c.json", "/b.json").files == {"/c.json": b"c", "/b.json": b"b"}
    assert [asked_for(speaker, blob) for blob in (low, middle, high)] == [0, 1, 1]
    gone = packed(tar(file(".wh.a.json")))
    assert look(serve(speaker, low, gone), "/a.json").files == {}
    assert asked_for(speaker, low) == 0


def test_links_do_not_make_it_read_again_what_it_knows(speaker: Speaker) -> None:
    links = link("lib", "usr/lib"), link("l", "lib/a")
    low = packed(tar(*links, file("usr/lib/a", b"a"), file("usr/lib/b", b"b")))
    found = look(serve(speaker, low), "/lib/a", "/l", "/lib/b").files
    assert found == {"/lib/a": b"a", "/l": b"a", "/lib/b": b"b"}
    assert asked_for(speaker, low) == 2


def test_the_rest_of_a_layer_is_read_for_its_digest(
    speaker: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = tar(file("spec.json", SPEC), file("more", b"x" * 3_000_000))
    lies = {layer: layer[:-5000] + b"y" * 5000}
    assert "other bytes" in refused(serve(speaker, layer, lies=lies))
    monkeypatch.setattr(glimpses, "_REST", 1_000_000)
    # A long one is not, unless the reference says that all is to be as its digest says.
    assert look(serve(speaker, layer, lies=lies), "/spec.json").files == {"/spec.json": SPEC}
    assert "other bytes" in refused(serve(speaker, layer, lies=lies, pinned=True))


def test_no_layer_is_in_memory(speaker: Speaker) -> None:
    import tracemalloc

    layer = packed(tar(file("large", bytes(60_000_000)), file("spec.json", SPEC)))
    reference = serve(speaker, layer)
    tracemalloc.start()
    assert look(reference, "/spec.json").files
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 12_000_000


def test_what_breaks_is_read_again(speaker: Speaker) -> None:
    layer = packed(tar(file("spec.json", SPEC)))
    reference = serve(speaker, layer)
    good = speaker.handler
    times = 0

    def answer(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        nonlocal times
        if asked.path.endswith(digest(layer)):
            times += 1
            if times < 3:
                return 200, {}, layer[:40]
        return good(asked)

    speaker.handler = answer
    assert look(reference, "/spec.json").files == {"/spec.json": SPEC} and times == 3


def platforms(*named: str) -> list[Table]:
    """Entries of an index, each of an image of its own, whose label tells the platform."""
    found: list[Table] = []
    for name in named:
        config = config_of((), {"Labels": {"for": name}})
        raw = json.dumps(manifest_of(config, ())).encode()
        system, _, kind = name.partition("/")
        entry: Table = {"mediaType": MANIFEST, "digest": digest(raw), "size": len(raw)}
        if name:
            entry["platform"] = {"os": system, "architecture": kind}
        found.append({"entry": entry, "blobs": (config, raw)})
    return found


def index(speaker: Speaker, *named: str) -> str:
    found = platforms(*named)
    raw = json.dumps({"mediaType": INDEX, "manifests": [f["entry"] for f in found]}).encode()
    return serve(speaker, raw=raw, more=[blob for f in found for blob in f["blobs"]])


def test_an_index_gives_this_machines_image(speaker: Speaker) -> None:
    reference = index(speaker, "unknown/unknown", "linux/arm64", "linux/amd64", "windows/amd64")
    told: list[str] = []
    assert look(reference, told=told).labels == {"for": "linux/amd64"} and told == []
    reference = index(speaker, "windows/amd64", "linux/s390x", "linux/arm64")
    assert look(reference, told=told).labels == {"for": "linux/s390x"}
    assert "not there for linux/amd64" in told[0] and "linux/s390x" in told[0]
    assert look(index(speaker, "")).labels == {"for": ""}
    assert "not-an-image" in refused(index(speaker, "windows/amd64", "unknown/unknown"))
    assert "not-an-image" in refused(index(speaker))


def nested(depth: int) -> list[bytes]:
    config = config_of((), CONFIGURED)
    made = [config, json.dumps(manifest_of(config, ())).encode()]
    for _ in range(depth):
        entry: Table = {"mediaType": INDEX, "digest": digest(made[-1]), "size": 1}
        entry["platform"] = {"os": "linux", "architecture": "amd64"}
        made.append(json.dumps({"manifests": [entry]}).encode())
    return made


def test_indexes_of_indexes_end(speaker: Speaker) -> None:
    good = nested(2)
    assert look(serve(speaker, raw=good[-1], more=good)).labels == {"a": "b"}
    bad = nested(9)
    assert "without end" in refused(serve(speaker, raw=bad[-1], more=bad))


BOTH: Table = {"manifests": [], "layers": [], "config": {}}
LISTED = {"manifests": [{"digest": "sha256:" + "0" * 64, "platform": {"os": "linux"}}]}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"{", "image-damaged: .* no JSON"),
        (b"[" * 100_000, "image-damaged: .* no JSON"),
        (b"[]", "no table"),
        (b"{}", "names no configuration"),
        (json.dumps(BOTH).encode(), "an index, and none"),
        (b'{"manifests": {}}', "lists no manifests"),
        (b'{"manifests": [1]}', "lists no manifests"),
        (json.dumps(LISTED).encode(), "image-damaged: .* lacks the manifest"),
        (b'{"schemaVersion": 1, "fsLayers": []}', "not-an-image: .* first format"),
        (b" " * (5 << 20), "registry-refused"),
    ],
)
def test_manifests_that_are_none(speaker: Speaker, raw: bytes, said: str) -> None:
    assert re.search(said, refused(serve(speaker, raw=raw)))


def put(*keys: str | int, value: object) -> Callable[[Table], object]:
    def change(manifest: Any) -> None:
        for key in keys[:-1]:
            manifest = manifest[key]
        manifest[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "slug"),
    [
        (put("config", "mediaType", value="application/vnd.helm.config"), "not-an-image"),
        (put("config", "mediaType", value=["x"]), "not-an-image"),
        (put("config", "size", value=-1), "image-damaged"),
        (put("config", "size", value=True), "image-damaged"),
        (put("config", "size", value=1 << 40), "image-damaged"),
        (put("config", "size", value=3), "registry-refused"),
        (put("config", "digest", value="sha256:../../etc/passwd"), "image-damaged"),
        (put("config", "digest", value="sha256:" + "0" * 64), "registry-missing"),
        (put("layers", 0, "mediaType", value=LAYER + "+encrypted"), "image-damaged"),
        (put("layers", 0, "digest", value="md5:0"), "image-damaged"),
        (put("layers", 0, "size", value="3"), "image-damaged"),
        (put("layers", 0, "size", value=1 << 50), "registry-refused"),
        (put("layers", value=[{}]), "image-damaged"),
        (put("layers", value=[None] * 2000), "image-damaged"),
        (put("layers", value={}), "image-damaged"),
    ],
)
def test_manifests_that_lie(speaker: Speaker, change: Callable[[Table], object], slug: str) -> None:
    told = refused(serve(speaker, tar(file("a", b"x")), change=change))
    assert told.startswith(f"{slug}:")


@pytest.mark.parametrize(
    "config",
    [
        b"{",
        b"3",
        b'{"config": []}',
        b'{"config": {"Labels": ["a"]}}',
        b'{"config": {"Labels": {"a": 1}}}',
        b'{"config": {"Labels": {"a": "\\ud800"}}}',
        b'{"config": {"Env": {"a": "b"}}}',
        b'{"config": {"Env": [["a"]]}}',
        b'{"config": {"Cmd": 7}}',
        b'{"config": {"User": ["root"]}}',
        b"[" * 100_000,
    ],
)
def test_configurations_that_are_none(speaker: Speaker, config: bytes) -> None:
    assert refused(serve(speaker, config=config)).startswith("image-damaged:")


def sized(block: bytes, size: bytes) -> bytes:
    """A header of another size, with the sum that belongs to it."""
    changed = block[:124] + size.ljust(12, b"\0") + block[136:148] + b" " * 8 + block[156:512]
    total = b"%06o\0 " % sum(changed)
    return changed[:148] + total + changed[156:] + block[512:]


NUMBERED = tar(file("spec.json", SPEC))
CIRCLE = (link("a", "b"), link("b", "a"))


@pytest.mark.parametrize(
    ("layer", "path", "said"),
    [
        (tar(file("../spec.json", SPEC)), "/spec.json", "leads out"),
        (tar(file("a/../../spec.json", SPEC)), "/spec.json", "leads out"),
        (tar(file("a/..", SPEC)), "/spec.json", "leads out"),
        (tar(hard("spec.json", "../etc/passwd")), "/spec.json", "leads out"),
        (tar(file(".wh..", b"")), "/spec.json", "hides what is no file"),
        (tar(file("a/.wh...", b"")), "/spec.json", "hides what is no file"),
        (tar(file(".wh.", b"")), "/spec.json", "hides what is no file"),
        (tar(*CIRCLE), "/a", "in circles"),
        (tar(*CIRCLE), "/a/spec.json", "in circles"),
        (tar(link("spec.json", "spec.json")), "/spec.json", "in circles"),
        (tar(link("grow", "grow/x")), "/grow", "in circles"),
        (tar(link("grow", "grow/" + "x" * 2000)), "/grow", "too long"),
        (tar(hard("a", "b"), hard("b", "a")), "/a", "in circles"),
        (tar(*(link(f"l{n}", f"l{n + 1}") for n in range(60))), "/l0", "in circles"),
        (tar(link("a", "b/../c")), "/a", "down and up again"),
        (tar(link("a", "x" * 5000)), "/a", "too long"),
        (tar(file("a", b"x", pax_headers={"comment": "c" * 2_000_000})), "/a", "too large"),
        (tar(file("a", b"x", pax_headers={"GNU.sparse.major": "1"})), "/a", "sparse"),
        (tar(file("spec.json", type=tarfile.GNUTYPE_SPARSE)), "/spec.json", "sparse"),
        (sized(NUMBERED, b"\xff" * 12), "/other", "less than no bytes"),
        (sized(NUMBERED, b"77777777777"), "/other", "before it should"),
        (NUMBERED[:700], "/other", "before it should"),
        (NUMBERED[:520], "/spec.json", "before it should"),
        (NUMBERED[:300], "/spec.json", "before it should"),
        (packed(NUMBERED)[:-9], "/other", "before it should"),
        (packed(NUMBERED)[:12], "/other", "before it should"),
        (packed(NUMBERED)[:10] + b"\xff" * 40, "/other", "cannot be unpacked"),
        (packed(NUMBERED) + b"more", "/other", "cannot be unpacked"),
        (b"no tar at all, but long enough to be taken for one" * 20, "/x", "no tar"),
    ],
)
def test_layers_that_are_hostile(speaker: Speaker, layer: bytes, path: str, said: str) -> None:
    # A pinned one is read to its end, whatever is found in it.
    told = refused(serve(speaker, layer, pinned=True), path)
    assert told.startswith("image-damaged:") and said in told, told


def test_headers_that_say_nothing(speaker: Speaker) -> None:
    for found in (
        b"0 a=b\n",
        b"2 a=b\n",
        b"5 a=b\n",
        b"999 a=b\n",
        b"x a=b\n",
        b"-3 a=b\n",
        b"6 abcd\n",
        b"1 ",
        b"\xff",
    ):
        info, _ = file("x", found, type=tarfile.XHDTYPE)
        assert "image-damaged" in refused(serve(speaker, tar((info, found))), "/a")


def test_links_stay_within(speaker: Speaker) -> None:
    layer = tar(
        link("up", "../../../../../../spec.json"), link("etc", "/"), file("spec.json", SPEC)
    )
    reference = serve(speaker, layer)
    assert look(reference, "/up", "/etc/spec.json", "/etc").files == {
        "/up": SPEC,
        "/etc/spec.json": SPEC,
    }
    assert look(serve(speaker, tar(link("a", "/etc/passwd"))), "/a").files == {}


def test_files_that_are_too_large(speaker: Speaker) -> None:
    good = tar(file("spec.json", b"x" * LARGEST_FILE))
    assert len(look(serve(speaker, good), "/spec.json").files["/spec.json"]) == LARGEST_FILE
    bad = tar(file("spec.json", b"x" * (LARGEST_FILE + 1)), link("l", "spec.json"))
    for path in ("/spec.json", "/l"):
        told = refused(serve(speaker, bad), path)
        assert told.startswith("image-file-size:") and path in told and "1 MiB" in told
    assert look(serve(speaker, bad), "/other").files == {}
    info, _ = file("spec.json", b"", pax_headers={"size": str(1 << 40)})
    claimed = tar((info, b""))
    assert refused(serve(speaker, claimed)).startswith("image-file-size:")


def test_bombs(speaker: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "LARGEST", 5_000_000)
    bomb = packed(tar(file("large", bytes(20_000_000))))
    assert "bytes unpacked" in refused(serve(speaker, bomb))
    endless = packed(tar() + bytes(20_000_000))  # after its end
    assert "bytes unpacked" in refused(serve(speaker, endless))
    monkeypatch.setattr(layers, "MOST_ENTRIES", 100)
    many = tar(*(file(f"{n}") for n in range(200)))
    assert "more than 100 entries" in refused(serve(speaker, many))


def test_several_members_and_zeros_at_the_end(speaker: Speaker) -> None:
    layer = tar(file("a", b"a"), file("spec.json", SPEC), file("b", bytes(1_000_000)))
    parts = [packed(layer[at : at + 700]) for at in range(0, len(layer), 700)]
    reference = serve(speaker, b"".join(parts) + bytes(1000), pinned=True)
    assert look(reference, "/spec.json", "/none").files == {"/spec.json": SPEC}


def zstd_frame(content: bytes) -> bytes:
    """Not packed, in a frame (RFC 8878): a header with its size, and blocks as they are."""
    found = b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", len(content))
    for at in range(0, len(content), 100_000):
        part = content[at : at + 100_000]
        last = at + 100_000 >= len(content)
        found += (len(part) << 3 | last).to_bytes(3, "little") + part
    return found


def test_zstd(speaker: Speaker) -> None:
    layer = tar(file("a", bytes(300_000)), file("spec.json", SPEC))
    skipped = b"\x50\x2a\x4d\x18\x04\x00\x00\x00more"
    reference = serve(
        speaker, zstd_frame(layer[:5000]) + skipped + zstd_frame(layer[5000:]), pinned=True
    )
    if sys.version_info >= (3, 14):
        assert look(reference, "/spec.json", "/none").files == {"/spec.json": SPEC}
        assert "image-damaged" in refused(serve(speaker, zstd_frame(layer)[:-9]), "/none")
    else:
        assert "image-damaged" in refused(reference) and "zstd" in refused(reference)


def test_old_tars_and_names(speaker: Speaker) -> None:
    layer = tar(
        file("./", type=tarfile.DIRTYPE),
        file("./d/", type=tarfile.AREGTYPE),
        file("./d//e", b"1"),
        file("/f", b"2"),
        file("g", b"3", type=tarfile.CONTTYPE),
        file("h", b"4", type=tarfile.AREGTYPE),
        file("unknown", b"5", type=b"Z"),
        format=tarfile.USTAR_FORMAT,
    )
    found = look(serve(speaker, layer), "/d/e", "/f", "/g", "/h", "/d", "/unknown").files
    assert found == {"/d/e": b"1", "/f": b"2", "/g": b"3", "/h": b"4"}
    without_end = layer.rstrip(b"\0")
    without_end += bytes(-len(without_end) % 512)
    assert look(serve(speaker, without_end), "/f", "/none").files == {"/f": b"2"}


def test_what_has_no_content_has_none(speaker: Speaker) -> None:
    """Whatever size it says: so all readers of tars have it."""
    odd = (link("l", "spec.json"), hard("h", "spec.json"), folder("d"), file("p", type=b"6"))
    headers = b"".join(sized(tar(each)[:512], b"00000007777") for each in odd)
    reference = serve(speaker, headers + tar(file("spec.json", SPEC)))
    assert look(reference, "/spec.json", "/l").files == {"/spec.json": SPEC, "/l": SPEC}


def test_what_folders_and_links_hide(speaker: Speaker) -> None:
    """A folder above a link, with what is below the link, and other replacements."""
    bottom = tar(folder("a"), file("a/x", b"bottom"), folder("t"), file("t/x", b"target"))
    middle = tar(link("a", "t"))
    assert look(serve(speaker, bottom, middle), "/a/x").files == {"/a/x": b"target"}
    top = tar(folder("a"))
    assert look(serve(speaker, bottom, middle, top), "/a/x").files == {}
    assert look(serve(speaker, bottom, tar(file("a")), top), "/a/x").files == {}
    assert look(serve(speaker, bottom, top), "/a/x").files == {"/a/x": b"bottom"}
    assert look(serve(speaker, bottom, tar(file(".wh..wh..opq"))), "/a/x").files == {}
    assert look(serve(speaker, bottom, tar(file("a/.wh..wh.aufs"))), "/a/x").files == {
        "/a/x": b"bottom"
    }


def test_hard_links_mean_their_own_layer(speaker: Speaker) -> None:
    bottom = tar(file("a", b"1"))
    middle = tar(file("a", b"2"), hard("h", "a"), hard("low", "b"))
    top = tar(file("a", b"3"), hard("d", "a"))
    files = look(serve(speaker, tar(file("b", b"0")), bottom, middle, top), "/h", "/d", "/low")
    assert files.files == {"/h": b"2", "/d": b"3", "/low": b"0"}


def test_what_is_not_there_names_both_ways(speaker: Speaker) -> None:
    told = refused(f"{speaker.host}/team/none:1")
    assert told.startswith("image-not-found:")
    assert "no container engine here has it" in told and f"registry {speaker.host} has none" in told
    for text in ("team/UPPER", "x@sha256:1", "/x", ""):
        with pytest.raises(MachineError, match="image-not-found"):
            look(text)


@pytest.mark.parametrize(
    ("status", "slug"),
    [
        (401, "registry-credentials"),
        (403, "registry-forbidden"),
        (500, "registry-refused"),
        (418, "registry-refused"),
    ],
)
def test_who_may_not(
    speaker: Speaker,
    logged_out: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    slug: str,
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", logged_out["DOCKER_CONFIG"])
    speaker.handler = lambda asked: (status, {"WWW-Authenticate": 'Basic realm="x"'}, b"")
    told = refused(f"{speaker.host}/team/x:1")
    assert told.startswith(f"{slug}:") and "no container engine here has it" in told


def test_a_registry_that_is_not_there() -> None:
    told = refused("localhost:1/team/x:1")
    assert told.startswith("registry-unreachable:") and "no container engine here" in told


def test_a_login_is_for_its_host_alone(
    speaker: Speaker, logged_out: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", logged_out["DOCKER_CONFIG"])
    reference = serve(speaker)
    good = speaker.handler

    def answer(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        if "Authorization" not in asked.headers:
            return 401, {"WWW-Authenticate": 'Basic realm="x"'}, b""
        return good(asked)

    speaker.handler = answer
    secrets = Secrets(lambda secret: "stave-55kd")
    told: list[str] = []
    login = RegistryLogin(host=speaker.host, username="ada", password=Secret(name="PW"))
    assert glimpses.look(reference, (), told.append, secrets, login).labels and told == []
    speaker.asked.clear()
    login = RegistryLogin(host="other.example", username="ada", password=Secret(name="PW"))
    with pytest.raises(MachineError, match="registry-credentials"):
        glimpses.look(reference, (), told.append, secrets, login)
    assert "login for other.example is not used" in told[0]
    assert not any("Authorization" in asked.headers for asked in speaker.asked)


# -- whatever comes -------------------------------------------------------------------------------

WHOLE = [tar(*layer, format=form) for layer in STACK for form in (tarfile.GNU_FORMAT, 2)]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_mutated_layers_are_only_refused(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(WHOLE)))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["set", "cut", "insert", "sum"])):
            case "set":
                content[at] = data.draw(st.integers(0, 255))
            case "cut":
                del content[at : at + data.draw(st.integers(1, 600))]
            case "insert":
                content[at:at] = data.draw(st.binary(min_size=1, max_size=40))
            case "sum":  # of a header that was changed, so that it is taken
                start = at // 512 * 512
                block = bytes(content[start : start + 512])
                if len(block) == 512:
                    content[start : start + 512] = sized(block, block[124:136])
        content = content or bytearray(b"\0")
    raw = bytes(content)
    if data.draw(st.booleans()):
        raw = zlib.compress(raw, wbits=31)[: data.draw(st.integers(1, len(raw)))]

    def see(wants: Sequence[Any], number: int) -> stacks.Sight:
        sight = stacks.Sight(wants, number, lambda path, size: layers.Damaged("too large"))
        layer = layers.Layer(iter([raw[:900], raw[900:]]))
        sight.see(layer)
        layer.finish()
        return sight

    with suppress(layers.Damaged):
        stacks.Stack(2, see).find([*FILES, *ABSENT])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
PLACES = ["config", "layers", "mediaType", "schemaVersion", "manifests", "digest", "size"]


@settings(max_examples=60, deadline=None)
@given(
    changes=st.lists(st.tuples(st.sampled_from(PLACES), JSON), min_size=1, max_size=3),
    deep=st.booleans(),
)
def test_mutated_manifests_are_only_refused(changes: list[tuple[str, Any]], deep: bool) -> None:
    manifest = manifest_of(b"{}", [b"x"])
    for key, value in changes:
        place = manifest["layers"][0] if deep and manifest.get("layers") else manifest
        if isinstance(place, dict):
            place[key] = value

    class Silent:
        def manifest(self, digest: str) -> None:
            return None

    repository: Any = Silent()
    raw = json.dumps(manifest).encode()
    with suppress(layers.Damaged, manifests.NoImage):
        manifests.read(repository, raw, "x", lambda line: None)


def test_a_broken_way_is_told(speaker: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = packed(tar(file("spec.json", SPEC)))
    reference = serve(speaker, layer)
    from coopery_publish.transfer import Repository

    def broken(self: Repository, digest: str, size: int) -> Any:
        if size == len(layer):
            raise http.client.IncompleteRead(b"")
        return real(self, digest, size)

    real = Repository.get_blob
    monkeypatch.setattr(Repository, "get_blob", broken)
    assert refused(reference).startswith("registry-unreachable:")
