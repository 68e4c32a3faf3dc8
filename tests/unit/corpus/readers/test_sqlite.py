import sqlite3
from pathlib import Path

import pytest

from lm_pipeline.corpus.readers.records import Record
from lm_pipeline.errors import InputError
from lm_pipeline.specs.corpus import SqliteFormat


@pytest.fixture
def database(tmp_path: Path) -> bytes:
    path = tmp_path / "source.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE articles (id INTEGER, body TEXT, law TEXT)")
    rows = [(1, "第一条 为了保护", "专利法"), (2, "Article 2", "Patent Law"), (3, None, None)]
    connection.executemany("INSERT INTO articles VALUES (?, ?, ?)", rows)
    connection.execute("INSERT INTO articles VALUES (4, CAST(x'E4B8' AS TEXT), 'x')")
    connection.commit()
    connection.close()
    return path.read_bytes()


def query(text: str) -> SqliteFormat:
    return SqliteFormat(query=text)


def test_rows_of_the_query_become_records_in_its_order(reading, database):
    select = "SELECT body AS text, law, id FROM articles WHERE id < 3 ORDER BY id DESC"
    records = reading("laws.db", database, query(select), group="law", label="id")
    assert records == [
        Record(0, "Article 2", group="Patent Law", label="2"),
        Record(1, "第一条 为了保护", group="专利法", label="1"),
    ]


def test_a_row_without_text_or_with_wrong_bytes_costs_itself(reading, database):
    records = reading("laws.db", database, query("SELECT body AS text FROM articles ORDER BY id"))
    assert [getattr(record, "reason", "read") for record in records] == ["read", "read", "wrong_type", "invalid_utf8"]
    assert [record.record for record in records] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "text",
    [
        "DELETE FROM articles",
        "UPDATE articles SET body = 'x' RETURNING body AS text",
        "ATTACH 'other.db' AS other",
        "PRAGMA writable_schema = 1",
        "SELECT load_extension('x') AS text",
        "SELECT body AS text FROM articles; DELETE FROM articles",
        "SELECT nothing AS text FROM articles",
        "SELEKT",
        "",
    ],
)
def test_anything_but_one_sound_select_is_refused_naming_the_query(reading, database, text):
    with pytest.raises(InputError) as caught:
        reading("laws.db", database, query(text))
    assert repr(text) in str(caught.value)
    assert (reading.folder / "laws.db").read_bytes() == database


def test_a_query_without_the_named_column_says_which_it_has(reading, database):
    with pytest.raises(InputError, match=r"no column text.*Its columns are: body, law"):
        reading("laws.db", database, query("SELECT body, law FROM articles"))


def test_a_damaged_database_is_one_quarantined_record(reading):
    for data in (b"SQLite format 3\0" + bytes(2000), b"no database at all" * 100):
        (bad,) = reading("laws.db", data, query("SELECT body AS text FROM articles"))
        assert (bad.reason, bad.record) == ("unreadable", None)


def test_a_database_cut_in_two_yields_what_it_has(reading, tmp_path: Path):
    path = tmp_path / "big.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (text TEXT)")
    connection.executemany("INSERT INTO t VALUES (?)", [(f"行 {n} " * 50,) for n in range(1000)])
    connection.commit()
    connection.close()
    data = path.read_bytes()
    records = reading("cut.db", data[: len(data) // 2 // 4096 * 4096], query("SELECT text FROM t"))
    assert records[-1].reason == "unreadable"


def test_nothing_is_written_beside_the_database(reading, database):
    before = set(reading.folder.iterdir())
    reading("laws.db", database, query("SELECT body AS text FROM articles"))
    assert set(reading.folder.iterdir()) - before == {reading.folder / "laws.db"}


def test_a_value_that_is_not_even_loaded_costs_its_row(reading, tmp_path: Path):
    path = tmp_path / "blobs.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (text, n)")
    texts = ["x" * 9000, "一", "x" * 9000, "x" * 9000, "two", "三", "x" * 9000]
    connection.executemany("INSERT INTO t VALUES (?, ?)", [(text, n) for n, text in enumerate(texts)])
    connection.commit()
    connection.close()
    items = reading("blobs.db", path.read_bytes(), query("SELECT text FROM t; "), max_line_bytes=1024)
    found = [getattr(item, "reason", None) or item.text for item in items]
    assert found == ["too_long", "一", "too_long", "too_long", "two", "三", "too_long"]
    assert [item.record for item in items] == list(range(7))
    in_order = query("SELECT text FROM t ORDER BY n -- which loads all of them for each")
    (bad,) = reading("blobs.db", path.read_bytes(), in_order, max_line_bytes=1024)
    assert (bad.reason, bad.record) == ("too_long", None)
