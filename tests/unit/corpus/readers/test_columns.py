"""Values of tables: a bad one costs its record, whatever its type."""

import struct
import uuid
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

TEXTS = ["第一条", "second", "third"]


def as_parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def as_arrow(table: pa.Table, new_writer=pa.ipc.new_file) -> bytes:
    sink = pa.BufferOutputStream()
    with new_writer(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


AS = {"a.parquet": as_parquet, "a.arrow": as_arrow}


@pytest.mark.parametrize("name", AS)
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([0, 10**15, 60], pa.timestamp("s")), ["1970-01-01T00:00:00", None, "1970-01-01T00:01:00"]),
        (pa.array([0, 10**9 * 86_400_000, 86_400_000], pa.date64()), ["1970-01-01", None, "1970-01-02"]),
        (
            pa.array([0, 1, 2], pa.timestamp("s", "Mars/Olympus")),
            [f"1970-01-01T00:00:0{n}+00:00" for n in range(3)],
        ),
        (
            pa.array([0, 1, 2], pa.timestamp("s", "Asia/Shanghai")),
            [f"1970-01-01T08:00:0{n}+08:00" for n in range(3)],
        ),
        (pa.array([Decimal("1.50"), Decimal("-2.00"), Decimal("0.10")]), ["1.50", "-2.00", "0.10"]),
        (
            pa.array([uuid.UUID(int=n).bytes for n in range(3)], pa.uuid()),
            [str(uuid.UUID(int=n)) for n in range(3)],
        ),
    ],
    ids=["far time", "far date", "unknown zone", "known zone", "decimal", "uuid"],
)
def test_dates_numbers_and_identifiers_are_text_and_one_beyond_all_time_costs_its_record(
    reading, name, values, expected
):
    items = reading(name, AS[name](pa.table({"text": TEXTS, "label": values})), label="label")
    assert [None if hasattr(item, "reason") else item.label for item in items] == expected
    assert [item.reason for item in items if hasattr(item, "reason")] == ["unreadable_value"] * expected.count(None)


@pytest.mark.parametrize("name", AS)
def test_of_two_columns_with_one_name_the_first_is_read(reading, name):
    table = pa.Table.from_arrays([pa.array(TEXTS), pa.array(["x"] * 3)], names=["text", "text"])
    assert [item.text for item in reading(name, AS[name](table))] == TEXTS


@pytest.mark.parametrize("new_writer", [pa.ipc.new_file, pa.ipc.new_stream])
@pytest.mark.parametrize("offset", [-1, 1 << 30, 2**31 - 1])
def test_a_text_whose_place_is_damaged_costs_itself_and_its_neighbour(reading, new_writer, offset):
    texts = [f"第{n}条 " + "a" * 40 for n in range(3000)]
    data = bytearray(as_arrow(pa.table({"text": texts}), new_writer))
    size = len(texts[0].encode())
    at = data.index(struct.pack("<iii", 0, size, 2 * size))
    data[at + 40 : at + 44] = struct.pack("<i", offset)  # where text 10 begins and text 9 ends
    items = reading("a.arrow", bytes(data))
    assert [item.record for item in items if hasattr(item, "reason")] == [9, 10]
    assert [item.text for item in items if not hasattr(item, "reason")] == texts[:9] + texts[11:]


def test_a_dictionary_that_is_damaged_costs_the_rest_of_the_file(reading):
    column = pa.array(TEXTS * 10).dictionary_encode()
    data = bytearray(as_arrow(pa.table({"text": column})))
    at = data.index(struct.pack("<iiii", 0, 1, 2, 0))
    data[at + 4 : at + 8] = struct.pack("<i", 1 << 30)
    (bad,) = reading("a.arrow", bytes(data))
    assert (bad.reason, bad.record) == ("unreadable", None)
