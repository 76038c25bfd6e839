"""Sources become the same shards in every run, whatever they are."""

import io
import itertools
import json
import os
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mftn.errors import ConfigError, OutputError
from mftn.files import without_secrets
from mftn.output import Provenance, open_writer
from mftn.recognize import Recognizer, load
from mftn.scale.listing import find_items
from mftn.scale.plan import read_plan, read_shard, write_plan
from mftn.scale.reading import fetch, members, predictions_of, rows
from mftn.scale.settings import Settings
from mftn.scale.shards import Item, ItemKind, Shard, into_shards
from mftn.scale.storage import Store, locate, name_at, read_stored
from mftn.scale.worker import ShardWorker, State, Work
from mftn.types import Prediction

WITHOUT_HADOOP = pytest.mark.skipif("HADOOP_HOME" in os.environ, reason="there is Hadoop's client")
MADE_BY = {"model": "m", "settings": {"detector": "yunet"}}


def images(count: int) -> list[Item]:
    return [Item(ItemKind.IMAGE, f"{number}.jpg") for number in range(count)]


def test_images_are_cut_evenly_and_what_is_large_is_alone() -> None:
    video, tar = Item(ItemKind.VIDEO, "a.mp4"), Item(ItemKind.TAR, "b.tar")
    shards = list(into_shards([*images(5), video, *images(1), tar], 2))
    assert [len(shard.items) for shard in shards] == [2, 2, 1, 1, 1, 1]
    assert [shard.name[:8] for shard in shards] == [f"{number:08}" for number in range(6)]
    assert shards == list(into_shards([*images(5), video, *images(1), tar], 2))
    other = list(into_shards([*images(4), Item(ItemKind.IMAGE, "other.jpg"), video, *images(1), tar], 2))
    assert [a.name == b.name for a, b in itertools.zip_longest(shards, other)] == [True, True, False, True, True, True]


def test_a_plan_is_kept_with_names_that_are_no_text(tmp_path: Path) -> None:
    names = [os.fsdecode(b"caf\xe9.jpg"), "ünïcode.jpg", "plain.jpg"]
    for name in names:
        (tmp_path / name).touch()
    store = Store(str(tmp_path / "out"))
    sources = [str(tmp_path / name) for name in names] + ["missing.jpg"]
    plan = write_plan(store, sources, MADE_BY, shard_images=2)
    assert [entry.size for entry in plan.entries] == [2, 2] and read_plan(store, sources, MADE_BY) == plan
    found = [read_shard(store, number) for number in range(2)]
    assert [item.path for shard in found for item in shard.items] == sources
    assert [shard.name for shard in found] == [entry.name for entry in plan.entries]
    assert "no such file" in (found[1].items[1].error or "")
    with pytest.raises(ConfigError, match="sources was"):
        read_plan(store, sources[:1], MADE_BY)
    with pytest.raises(ConfigError, match="model was m and is n"):
        read_plan(store, sources, MADE_BY | {"model": "n"})


def test_the_same_words_for_other_sources_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/photos/1.jpg", "b/photos/2.jpg"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    store, absolute = Store(str(tmp_path / "out")), Store(str(tmp_path / "out2"))
    monkeypatch.chdir(tmp_path / "a")
    plan = write_plan(store, ["photos"], MADE_BY)
    write_plan(absolute, [tmp_path / "a" / "photos", "memory://b/c.jpg"], MADE_BY)
    assert read_plan(store, ["photos"], MADE_BY) == plan
    monkeypatch.chdir(tmp_path / "b")
    with pytest.raises(ConfigError, match=r"working folder was .*a and is .*b"):
        read_plan(store, ["photos"], MADE_BY)
    assert read_plan(absolute, [tmp_path / "a" / "photos", "memory://b/c.jpg"], MADE_BY)  # the same from anywhere


def test_another_list_on_standard_input_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def give(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    monkeypatch.chdir(tmp_path)
    store = Store(str(tmp_path / "out"))
    give(b"a.jpg\0caf\xe9.jpg\0s3://b/c.jpg\0")
    plan = write_plan(store, ["-"], MADE_BY, null=True)
    assert [item.path for item in read_shard(store, 0).items] == ["a.jpg", os.fsdecode(b"caf\xe9.jpg"), "s3://b/c.jpg"]
    give(b"a.jpg\ncaf\xe9.jpg\ns3://b/c.jpg\n")
    assert read_plan(store, ["-"], MADE_BY) == plan
    for other in (b"a.jpg\n", b"", b"other.jpg\ncaf\xe9.jpg\ns3://b/c.jpg\n"):
        give(other)
        with pytest.raises(ConfigError, match="the list on standard input has changed"):
            read_plan(store, ["-"], MADE_BY)


def test_long_lists_span_files_of_a_plan(tmp_path: Path) -> None:
    table = pa.table({"path": [f"s3://bucket/{number:05}.jpg?region=x" for number in range(450)] + ["clip.mp4"]})
    pq.write_table(table, tmp_path / "paths.parquet", row_group_size=100)
    store = Store(str(tmp_path / "out"))
    plan = write_plan(store, [tmp_path / "paths.parquet"], MADE_BY, shard_images=2)
    assert len(plan.entries) == 226 and len(list((tmp_path / "out/_mftn/plan").iterdir())) == 3
    assert read_shard(store, 110) == Shard(
        plan.entries[110].name, tuple(find_items([tmp_path / "paths.parquet"]))[220:222]
    )
    assert read_shard(store, 225).items[0].kind is ItemKind.VIDEO


def test_rows_of_a_table_are_read_once_each(tmp_path: Path) -> None:
    values = [{"bytes": f"image {number}".encode(), "path": None} for number in range(23)]
    pq.write_table(pa.table({"image": values}), tmp_path / "images.parquet", row_group_size=5)
    items = list(find_items([tmp_path / "images.parquet"], 4))
    assert [(item.start, item.stop) for item in items] == [(0, 4), (4, 8), (8, 12), (12, 16), (16, 20), (20, 23)]
    found = [source for item in items for source in rows(item)]
    assert [source.content for source in found] == [value["bytes"] for value in values]
    assert found[7].name == f"{tmp_path / 'images.parquet'}#7"
    pq.write_table(pa.table({"number": [1]}), tmp_path / "numbers.parquet")
    (useless,) = find_items([tmp_path / "numbers.parquet"])
    assert useless.error and "numbers.parquet: holds neither paths" in useless.error
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "numbers.parquet").read_bytes()[:-9])
    (damaged,) = find_items([tmp_path / "cut.parquet"])
    assert damaged.error and "cut.parquet: damaged or not a Parquet file" in damaged.error


def test_a_damaged_table_is_one_item_or_row_with_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"bytes": [bytes(999)] * 9}), tmp_path / "t.parquet", compression="zstd")
    whole = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(whole[:4] + bytes(range(40)) + whole[44:])
    (item,) = find_items([tmp_path / "t.parquet"])
    (row,) = rows(item)
    assert row.error and row.error.startswith(f"{tmp_path / 't.parquet'}: damaged (Couldn't deserialize")
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    (tmp_path / "t.parquet").write_bytes(whole[:-footer] + bytes(range(1, 31)) + whole[-footer + 30 :])
    (item,) = find_items([tmp_path / "t.parquet"])
    assert item.error and item.error.startswith(f"{tmp_path / 't.parquet'}: damaged (Couldn't deserialize")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nowhere://b/x.parquet", "cannot be reached"),
        ("zip://b/x.parquet", "cannot be reached"),
        pytest.param("hdfs://host/x.parquet", "needs Java and Hadoop's client", marks=WITHOUT_HADOOP),
        ("memory://me:word@b/x.parquet", "contains a password"),
        ("memory://b/none.parquet", "no such file"),
        ("numbers.parquet", "neither paths"),
        ("rtsp://me:word@camera/stream", "has no end"),
        ("https://host/page?id=3", "has no end"),
        ("0", "has no end"),
    ],
)
def test_a_bad_line_of_a_list_is_one_item_with_its_error(
    line: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").touch()
    pq.write_table(pa.table({"number": [1]}), "numbers.parquet")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"a.jpg\n{line}\na.jpg\n".encode())))
    first, bad, last = find_items(["-"])
    assert first == last == Item(ItemKind.IMAGE, "a.jpg")
    assert said in (bad.error or "") and "word@" not in (bad.error or "")


def test_archives_hide_what_folders_hide_and_an_empty_one_is_said(tmp_path: Path) -> None:
    import tarfile

    (tmp_path / "a.jpg").touch()
    hidden = ("__MACOSX/._a.jpg", "__MACOSX/a.jpg", "@eaDir/a.jpg/THUMB.jpg", "x/.ipynb_checkpoints/a.jpg")
    for name, inside in (("some.tar", (*hidden, "./x/a.jpg")), ("none.tar", hidden)):
        with tarfile.open(tmp_path / name, "w") as archive:
            for each in inside:
                archive.add(tmp_path / "a.jpg", each)
    assert [source.path for source in members(str(tmp_path / "some.tar"))] == [f"{tmp_path}/some.tar/./x/a.jpg"]
    (nothing,) = members(str(tmp_path / "none.tar"))
    assert nothing.error == f"{tmp_path}/none.tar: the archive holds no image"


def test_a_damaged_archive_gives_its_images_and_an_error(tmp_path: Path) -> None:
    import tarfile

    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(bytes(3000))
    with tarfile.open(tmp_path / "whole.tar", "w") as archive:
        for number in range(3):
            archive.add(tmp_path / f"{number}.jpg", f"{number}.jpg")
    whole = (tmp_path / "whole.tar").read_bytes()
    assert [source.error for source in members(str(tmp_path / "whole.tar"))] == [None] * 3
    with tarfile.open(tmp_path / "whole.tar") as archive:
        ends = [member.offset_data + 3072 for member in archive]
    for length, intact in ((ends[2] - 999, 2), (ends[1] + 99, 2), (ends[1] + 1100, 2), (ends[1], 2), (ends[2], 3)):
        (tmp_path / "cut.tar").write_bytes(whole[:length])
        found = list(members(str(tmp_path / "cut.tar")))
        assert [source.error is None for source in found] == [True] * intact + [False], length
        assert "damaged or incomplete" in (found[-1].error or "")
    (missing,) = members(str(tmp_path / "missing.tar"))
    assert missing.error == f"{missing.path}: no such file; check the path"


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return load(threads=1, engine="onnxruntime", flip=False)


@pytest.mark.parametrize("kind", [ItemKind.IMAGE, ItemKind.VIDEO, ItemKind.TAR, ItemKind.ROWS])
@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nowhere://b/x", "cannot be read"),
        ("zip://b/x", "cannot be reached"),
        ("memory://me:word@b/x", "contains a password"),
        ("memory://b/none", "no such file"),
        ("memory://locked/x", "may not be read"),
    ],
)
def test_an_address_that_cannot_be_read_is_a_row_with_its_error(
    kind: ItemKind, address: str, said: str, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    MemoryFileSystem().pipe("locked/x", b"x")
    opened = MemoryFileSystem._open

    def locked(self: MemoryFileSystem, path: str, *arguments: object, **options: object) -> object:
        if "locked" in path:
            raise OSError(f"AWS Error ACCESS_DENIED during GetObject operation for {path}")
        return opened(self, path, *arguments, **options)

    monkeypatch.setattr(MemoryFileSystem, "_open", locked)
    (row,) = predictions_of(Shard("0", (Item(kind, address),)), recognizer, Settings(), [])
    shown = address.replace("me:word@", "")
    assert row.source == shown and (row.error or "").startswith(f"{shown}: ") and said in (row.error or "")
    assert "word" not in (row.error or "").replace("password", "")


@pytest.mark.parametrize("kind", [ItemKind.IMAGE, ItemKind.VIDEO, ItemKind.TAR, ItemKind.ROWS])
def test_a_store_that_is_out_of_reach_is_no_row(
    kind: ItemKind, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    def unreachable(*arguments: object, **options: object) -> None:
        raise OSError("AWS Error NETWORK_CONNECTION")

    MemoryFileSystem().pipe("b/x", b"x")
    monkeypatch.setattr(MemoryFileSystem, "_open", unreachable)
    monkeypatch.setattr("mftn.scale.storage.time.sleep", lambda seconds: None)
    monkeypatch.setattr("mftn.scale.storage.time.monotonic", iter(range(0, 10**6, 60)).__next__)
    with pytest.raises(OSError, match="NETWORK_CONNECTION"):
        list(predictions_of(Shard("0", (Item(kind, "memory://b/x"),)), recognizer, Settings(), []))


@pytest.mark.parametrize("name", ["images.parquet", "clip.mp4", "images.tar"])
def test_what_only_this_machine_lacks_is_left_to_others_until_the_last_round(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mftn.scale import worker

    monkeypatch.setattr(worker, "node_name", lambda: "here")
    monkeypatch.setattr(worker.time, "sleep", lambda seconds: None)
    settings, store, file = Settings(engine="onnxruntime").checked(), Store(str(tmp_path / "out")), tmp_path / name
    pq.write_table(pa.table({"bytes": [b"x"]}), file)
    made_by = settings.provenance()
    plan = write_plan(store, [file], json.loads(made_by.to_json()))
    file.unlink()
    actor = worker.ShardWorker(worker.Work(settings, None, made_by, store.address, "run", plan.folder))
    row = {"name": plan.entries[0].name, "number": 0}
    first = actor(row | {"last": False})
    assert first["state"] == "unfinished" and "is a share missing?" in first["note"]
    last = actor(row | {"last": True})
    assert (last["state"], last["images"], last["failures"]) == ("done", 1, 1)


def test_no_error_of_a_shard_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table whose images are gone since it was listed."""
    from mftn.scale import worker

    monkeypatch.setattr(worker, "node_name", lambda: "here")
    monkeypatch.setattr(worker.time, "sleep", lambda seconds: None)
    settings, store, file = (
        Settings(engine="onnxruntime").checked(),
        Store(str(tmp_path / "out")),
        tmp_path / "t.parquet",
    )
    pq.write_table(pa.table({"bytes": [b"x"]}), file)
    made_by = settings.provenance()
    plan = write_plan(store, [file], json.loads(made_by.to_json()))
    pq.write_table(pa.table({"number": [1]}), file)
    actor = worker.ShardWorker(worker.Work(settings, None, made_by, store.address, "run", plan.folder))
    outcome = actor({"name": plan.entries[0].name, "number": 0, "last": True})
    assert outcome["state"] == "unfinished" and outcome["note"]


def test_stores_are_listed_like_folders(bucket: object, store: str) -> None:
    for key in (
        "d/b.jpg",
        "d/a.jpg",
        "d/.hidden.jpg",
        "d/x/c.png",
        "d/notes.txt",
        "d/x/v.mp4",
        "e/s-1.tar",
        "e/s-2.tar",
    ):
        bucket.put_object(Key=key, Body=b"x")  # type: ignore[attr-defined]
    found = list(find_items([f"s3://photos/d{store}"]))
    assert [name_at(item.path) for item in found] == [
        f"s3://photos/d/{name}" for name in ("a.jpg", "b.jpg", "x/c.png", "x/v.mp4")
    ]
    assert [item.kind.value for item in found] == ["image", "image", "image", "video"]
    found = list(
        find_items([f"s3://photos/e/s-*.tar{store}", f"s3://photos/d/a.jpg{store}", f"s3://photos/none{store}"])
    )
    assert [item.kind.value for item in found] == ["tar", "tar", "image", "image"]
    assert "no such file" in (found[-1].error or "") and found[0].path == f"s3://photos/e/s-1.tar{store}"


def test_an_earlier_output_among_the_images_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "_DSC0001.jpg"):  # as cameras name some photographs
        (tmp_path / "photos" / name).touch()
    address = f"file://{tmp_path}"
    before = list(find_items([address]))
    write_plan(Store(str(tmp_path / "faces")), [address], MADE_BY)
    with open_writer(tmp_path / "faces" / "0.parquet", "parquet", Provenance("m", "0" * 64, {})) as writer:
        for item in before:
            writer.write(Prediction(item.path, 0, 0, ()))
    assert [Path(item.path).name for item in before] == ["_DSC0001.jpg", "a.jpg"]
    assert list(find_items([address])) == list(find_items([f"{address}/*"])) == before
    assert list(find_items([f"{address}/faces/0.parquet"])) == before  # where it is named
    (nothing,) = find_items([f"{address}/faces"])
    assert "a folder without images" in (nothing.error or "")


def test_a_name_that_is_there_is_no_pattern(tmp_path: Path) -> None:
    for name in ("b[1].jpg", "b1.jpg", "c.jpg"):
        (tmp_path / name).touch()
    assert list(find_items([f"file://{tmp_path}/b[1].jpg"])) == [Item(ItemKind.IMAGE, f"file://{tmp_path}/b[1].jpg")]
    (tmp_path / "b[1].jpg").unlink()
    assert list(find_items([f"file://{tmp_path}/b[1].jpg"])) == [Item(ItemKind.IMAGE, f"file://{tmp_path}/b1.jpg")]


def test_a_file_system_of_fsspec_is_a_store() -> None:
    import fsspec

    with fsspec.open("memory://photos/a/1.jpg", "wb") as file:
        file.write(b"x")
    assert [item.path for item in find_items(["memory://photos/a"])] == ["memory://photos/a/1.jpg"]
    store = Store("memory://out")
    store.put("a/b.parquet", b"content")
    assert store.get("a/b.parquet") == b"content" and store.names("a") == ["b.parquet"] and store.get("none") is None
    with pytest.raises(ConfigError, match="cannot be reached"):
        locate("nowhere://x/y")
    with pytest.raises(ConfigError, match="contains a password"):
        locate("s3://key:secret@bucket/x")


def test_containers_of_azure_are_no_passwords_and_unknown_options_are_named() -> None:
    address = "abfss://faces@account.dfs.core.windows.net/d/a.jpg"
    assert locate(address)[1] == "faces/d/a.jpg" and without_secrets(address) == address
    with pytest.raises(ConfigError, match="contains a password"):
        locate("abfss://account:secret@account.dfs.core.windows.net/d")
    with pytest.raises(ConfigError, match="Unexpected query parameter in S3 URI: 'endpoint'"):
        locate("s3://bucket/x?endpoint=minio:9000&region=us-east-1")


def test_a_bucket_that_is_not_there_is_not_waited_for(bucket: object, store: str) -> None:
    started = time.monotonic()
    with pytest.raises(OSError, match="NO_SUCH_BUCKET"):
        Store(f"s3://nowhere/out{store}").put("a", b"x")
    assert time.monotonic() - started < 60


def test_what_could_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            Store(str(tmp_path)).put("a.parquet", bytes(200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_what_has_no_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no end"):
        list(find_items(["rtsp://camera/stream"]))


SECRET_ADDRESSES = [
    "s3://KEY:se/cr+et@bucket/a.jpg",
    "https://me:secret@host/a.jpg",
    "https://me:secret@host/a.mp4",
    "simplecache::s3://KEY:secret@bucket/a.jpg",
    "abfss://c@account.dfs.core.windows.net/a.jpg?sig=secret",
    "s3://bucket/a.jpg?endpoint_override=http://me:secret@minio:9000",
    "memory://me:secret@place/a.parquet",
]


@pytest.mark.parametrize("address", SECRET_ADDRESSES)
def test_passwords_in_addresses_reach_no_file_and_no_row(
    address: str, recognizer: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stored() -> str:
        return "".join(path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file())

    store = Store(str(tmp_path / "out"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(address.encode())))
    plan = write_plan(store, ["-"], MADE_BY)
    (row,) = predictions_of(read_shard(store, 0), recognizer, Settings(), [])
    assert row.error and "cret" not in f"{row}{stored()}" and len(plan.entries) == 1
    try:
        write_plan(store, [address], MADE_BY)
    except ConfigError as error:
        assert "contains a password" in str(error) and "cret" not in str(error)
    else:
        assert read_plan(store, [address], MADE_BY) and "cret" not in stored()


def test_names_in_a_table_of_images_lose_their_passwords(tmp_path: Path) -> None:
    pq.write_table(pa.table({"bytes": [b"x", None], "url": ["https://me:secret@h/a.jpg"] * 2}), tmp_path / "t.parquet")
    (item,) = find_items([str(tmp_path / "t.parquet")])
    assert "secret" not in str(list(rows(item)))


def test_an_http_address_keeps_what_it_asks_for() -> None:
    address = "https://host/a.jpg?id=5&size=large"
    (item,) = find_items([address])
    assert item == Item(ItemKind.IMAGE, address) and fetch(item).path == address
    assert name_at("s3://bucket/a.jpg?region=x") == "s3://bucket/a.jpg"


def test_signs_in_names_are_no_options(tmp_path: Path) -> None:
    names = sorted(["a b.jpg", "a#b.jpg", "a%20b.jpg", "a?b=c.jpg", "a?", "d?e=f/a.jpg"])
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    items = list(find_items([f"file://{tmp_path}"]))
    assert sorted(fetch(item).content or b"" for item in items) == [name.encode() for name in names if name != "a?"]
    assert {fetch(item).path.removeprefix(f"file://{tmp_path}/") for item in items} == {*names} - {"a?"}
    assert read_stored(f"file://{tmp_path}/a??") == b"a?"


def test_a_plan_that_another_run_replaced_is_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mftn.scale.worker.node_name", lambda: "here")
    store = Store(str(tmp_path / "out"))
    (entry,) = write_plan(store, ["a.jpg"], MADE_BY).entries
    write_plan(store, ["b.jpg"], MADE_BY)
    work = Work(Settings(), None, Provenance("m", "0", {}), store.address, "run", str(tmp_path))
    monkeypatch.chdir(tmp_path)  # as the worker does, and back again
    worker = ShardWorker(work)
    monkeypatch.setattr("time.sleep", lambda _: None)
    outcome = worker({"name": entry.name, "number": 0, "last": True})
    assert outcome["state"] == State.UNFINISHED and "another run has replaced the plan" in outcome["note"]
    assert not store.have([f"{entry.name}.parquet"])[0]
