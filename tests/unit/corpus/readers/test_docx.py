import datetime as dt
import io
import zipfile

import docx
import pytest

from lm_pipeline.corpus.readers.read import read_records
from lm_pipeline.corpus.readers.records import Record
from lm_pipeline.specs.corpus import Extraction


def word(*paragraphs: str) -> bytes:
    document = docx.Document()
    document.core_properties.title = "标题 Title"
    document.core_properties.created = dt.datetime(2024, 1, 2, tzinfo=dt.UTC)
    document.add_paragraph(paragraphs[0])
    table = document.add_table(2, 3)
    table.cell(0, 0).text = "左 left"
    table.cell(0, 1).text = "right"
    table.cell(1, 0).merge(table.cell(1, 2)).text = "merged"
    for paragraph in paragraphs[1:]:
        document.add_paragraph(paragraph)
    sink = io.BytesIO()
    document.save(sink)
    return sink.getvalue()


def with_member(data: bytes, name: str, content: bytes) -> bytes:
    sink = io.BytesIO(data)
    with zipfile.ZipFile(sink, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return sink.getvalue()


def test_paragraphs_and_tables_come_in_their_order(reading):
    (record,) = reading("a.docx", word("第一段。", "The last paragraph."))
    assert record.text == "第一段。\n左 left\tright\t\nmerged\nThe last paragraph."
    assert (record.title, record.date) == ("标题 Title", "2024-01-02")


def test_a_document_in_an_archive_is_read(reading):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("文档.docx", word("正文。"))
    (record,) = reading("a.zip", sink.getvalue())
    assert record.text.startswith("正文。")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"PK\x03\x04 and nothing", "unreadable"),
        (b"", "unreadable"),
        (word("x")[:-30], "unreadable"),
        (with_member(b"", "word/document.xml", b"<x/>"), "unreadable"),
        (with_member(word("x"), "word/more.xml", bytes(3_000_000)), "bomb"),
    ],
)
def test_what_is_no_sound_document_says_why(reading, data, reason):
    (bad,) = reading("a.docx", data, max_line_bytes=1 << 20)
    assert bad.reason == reason


def test_a_bomb_in_a_picture_costs_its_file(reading):
    document = docx.Document()
    document.add_paragraph("x")
    sink = io.BytesIO()
    document.save(sink)
    relation = (
        b'<Relationship Id="rId99" Target="media/bomb.bin" '
        b'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/image"/></Relationships>'
    )
    out = io.BytesIO()
    with zipfile.ZipFile(sink) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in source.namelist():
            content = source.read(name)
            if name == "word/_rels/document.xml.rels":
                content = content.replace(b"</Relationships>", relation)
            if name == "[Content_Types].xml":
                content = content.replace(b"<Default ", b'<Default Extension="bin" ContentType="image/x"/><Default ', 1)
            archive.writestr(name, content)
        with archive.open("word/media/bomb.bin", "w") as member:
            for _ in range(400):
                member.write(bytes(1 << 20))
    spec = reading.spec().model_copy(update={"extraction": Extraction(memory_limit_bytes=256 << 20)})
    (bad,) = read_records(reading.file("bomb.docx", out.getvalue()), spec)
    assert bad.reason == "memory_limit"
    (record,) = read_records(reading.file("a.docx", word("x")), spec)
    assert isinstance(record, Record)
