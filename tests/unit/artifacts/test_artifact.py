import os

import pytest

from lm_pipeline.artifacts import MANIFEST, Stage, Store
from lm_pipeline.errors import CorruptArtifactError
from tests.unit.artifacts.written_files import STAGE, fill, write_files


def test_address_depends_on_stage_version_inputs_and_spec():
    keys = {
        Stage("demo", 1).key({"in": "d"}, {"x": 1}),
        Stage("demo", 2).key({"in": "d"}, {"x": 1}),
        Stage("demo", 1, parts=(Stage("part", 1),)).key({"in": "d"}, {"x": 1}),
        Stage("demo", 1, parts=(Stage("part", 2),)).key({"in": "d"}, {"x": 1}),
        Stage("other", 1).key({"in": "d"}, {"x": 1}),
        Stage("demo", 1).key({"in": "e"}, {"x": 1}),
        Stage("demo", 1).key({"on": "d"}, {"x": 1}),
        Stage("demo", 1).key({"in": "d"}, {"x": 2}),
    }
    assert len(keys) == 8
    assert all(len(key) == 40 for key in keys)


def test_volatile_files_have_no_say_in_the_digest_but_are_verified(tmp_path):
    def write(seconds: bytes):
        def inner(staging):
            (staging.path / "weights").write_bytes(b"w")
            (staging.path / "timing.json").write_bytes(seconds)
            staging.volatile.add("timing.json")

        return inner

    first, _ = Store(tmp_path / "1").build(STAGE, {}, {}, write(b"1.0"))
    second, _ = Store(tmp_path / "2").build(STAGE, {}, {}, write(b"2.0"))
    assert first.digest == second.digest
    second.path("timing.json").write_bytes(b"3.0")
    with pytest.raises(CorruptArtifactError, match=r"timing\.json"):
        second.verify()


def test_the_digest_follows_files_their_names_and_parts(tmp_path):
    store = Store(tmp_path)
    parts = [store.build(Stage("part", 1), {}, {"n": n}, fill("p", str(n).encode()))[0] for n in range(2)]

    def whole(n, name, content, parts):
        def write(staging):
            (staging.path / name).write_bytes(content)
            staging.parts = parts

        return store.build(STAGE, {}, {"n": n}, write)[0]

    digests = [
        whole(0, "a", b"1", parts).digest,
        whole(1, "a", b"2", parts).digest,
        whole(2, "b", b"1", parts).digest,
        whole(3, "a", b"1", parts[::-1]).digest,
        whole(4, "a", b"1", parts[:1]).digest,
        whole(5, "a", b"1", []).digest,
    ]
    assert len(set(digests)) == 6
    assert whole(6, "a", b"1", parts).digest == digests[0]
    assert [part.key for part in store.open_parts(store.find("demo", whole(0, "a", b"1", parts).key))] == [
        part.key for part in parts
    ]


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damage_is_found_and_the_error_says_what_to_do(tmp_path, damage):
    store = Store(tmp_path)
    artifact, _ = store.build(STAGE, {}, {}, write_files)
    path = artifact.path("nested/b.bin")
    if damage == "flip":
        content = bytearray(path.read_bytes())
        content[12345] ^= 1
        path.write_bytes(content)
    elif damage == "truncate":
        os.truncate(path, 69_999)
    else:
        path.unlink()
    for read in (lambda: store.open("demo", artifact.key), artifact.verify):
        with pytest.raises(CorruptArtifactError) as caught:
            read()
        assert str(path) in str(caught.value)
        assert f"lm-pipeline gc --drop demo/{artifact.key}" in str(caught.value)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 1', b"\xff\xfe", b'{"stage": "demo"}'])
def test_a_damaged_manifest_is_named_with_what_to_do(tmp_path, content):
    store = Store(tmp_path)
    artifact, _ = store.build(STAGE, {}, {}, write_files)
    (artifact.directory / MANIFEST).write_bytes(content)
    with pytest.raises(CorruptArtifactError, match=f"is not a manifest.*gc --drop demo/{artifact.key}"):
        store.find("demo", artifact.key)


def test_a_manifest_of_another_format_is_refused(tmp_path):
    store = Store(tmp_path)
    artifact, _ = store.build(STAGE, {}, {}, write_files)
    path = artifact.directory / MANIFEST
    path.write_text(path.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(CorruptArtifactError, match="has format 99; this version reads 1"):
        store.find("demo", artifact.key)
