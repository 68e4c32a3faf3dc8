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


def with_body(xml: str, **parts: str) -> bytes:
    """A document with the given XML in its body, and in parts such as `footnotes`."""
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    compatibility = "http://schemas.openxmlformats.org/markup-compatibility/2006"
    types = "application/vnd.openxmlformats-officedocument.wordprocessingml."
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(word("x"))) as source, zipfile.ZipFile(out, "w") as archive:
        for name in source.namelist():
            content = source.read(name).decode("latin-1")
            if name == "word/document.xml":
                content = (
                    f"<w:document xmlns:w='{space}' xmlns:mc='{compatibility}'><w:body>{xml}</w:body></w:document>"
                )
            for part in parts:
                if name == "word/_rels/document.xml.rels":
                    relation = f'<Relationship Id="{part}" Type="{relations}{part}" Target="{part}.xml"/>'
                    content = content.replace("</Relationships>", f"{relation}</Relationships>")
                if name == "[Content_Types].xml":
                    override = f'<Override PartName="/word/{part}.xml" ContentType="{types}{part}+xml"/>'
                    content = content.replace("</Types>", f"{override}</Types>")
            archive.writestr(name, content.encode("utf-8" if name == "word/document.xml" else "latin-1"))
        for part, notes in parts.items():
            archive.writestr(f"word/{part}.xml", f"<w:{part} xmlns:w='{space}'>{notes}</w:{part}>")
    return out.getvalue()


def paragraph(content: str) -> str:
    return f"<w:p>{content}</w:p>"


def run(text: str) -> str:
    return f"<w:r><w:t xml:space='preserve'>{text}</w:t></w:r>"


def control(content: str, properties: str = "") -> str:
    return f"<w:sdt><w:sdtPr><w:id w:val='1'/>{properties}</w:sdtPr><w:sdtContent>{content}</w:sdtContent></w:sdt>"


def without_end(content: str) -> str:
    """A paragraph whose end mark was deleted."""
    return paragraph(f"<w:pPr><w:rPr><w:del/></w:rPr></w:pPr>{content}")


def table(text: str) -> str:
    return f"<w:tbl><w:tr><w:tc>{paragraph(run(text))}</w:tc></w:tr></w:tbl>"


def box(text: str) -> str:
    return f"<w:drawing><w:txbxContent>{paragraph(run(text))}</w:txbxContent></w:drawing>"


def test_paragraphs_and_tables_come_in_their_order(reading):
    (record,) = reading("a.docx", word("第一段。", "The last paragraph."))
    assert record.text == "第一段。\n左 left\tright\t\nmerged\nThe last paragraph."
    assert (record.title, record.date) == ("标题 Title", "2024-01-02")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            paragraph(
                f"{run('合同于')}<w:smartTag w:element='date'>{run('2008年5月12日')}</w:smartTag>{run('签订。')}"
            ),
            "合同于2008年5月12日签订。",
        ),
        (
            paragraph(
                f"{run('The sum')}<w:ins w:id='1'>{run(' of 500')}</w:ins><w:del>{run(' of 90')}</w:del>{run('.')}"
            ),
            "The sum of 500.",
        ),
        (
            paragraph(f"<w:moveFrom>{run('旧处')}</w:moveFrom>{run('甲')}<w:moveTo>{run('移来的')}</w:moveTo>"),
            "甲移来的",
        ),
        (control(paragraph(run("违约金条款。"))) + paragraph(run("末段。")), "违约金条款。\n末段。"),
        (paragraph(f"{run('Name: ')}{control(control(run('Li Lei')))}{run(',')}"), "Name: Li Lei,"),
        (paragraph(run("日期：") + control(run("单击此处输入"), "<w:showingPlcHdr/>")), "日期："),
        (
            paragraph(
                f"{run('see ')}<w:hyperlink w:anchor='a'>{run('the ')}<w:ins>{run('annex')}</w:ins></w:hyperlink>"
            ),
            "see the annex",
        ),
        (
            paragraph(f"{run('今天是')}<w:fldSimple w:instr='DATE'>{run('3月5日')}</w:fldSimple>{run('。')}"),
            "今天是3月5日。",
        ),
        (
            paragraph(
                "<w:r><w:fldChar w:fldCharType='begin'/><w:instrText>PAGE</w:instrText>"
                f"<w:fldChar w:fldCharType='separate'/></w:r>{run('12')}<w:r><w:fldChar w:fldCharType='end'/></w:r>"
            ),
            "12",
        ),
        (
            paragraph(
                "<w:pPr><w:tabs><w:tab w:val='left'/></w:tabs></w:pPr><w:r><w:t>甲</w:t><w:tab/><w:t>b</w:t>"
                "<w:br/><w:t>丙</w:t><w:cr/><w:t>d</w:t><w:noBreakHyphen/><w:t>e</w:t></w:r>"
            ),
            "甲\tb\n丙\nd-e",
        ),
        (
            paragraph(
                "<w:r><w:ruby><w:rt><w:r><w:t>hàn</w:t></w:r></w:rt><w:rubyBase><w:r><w:t>汉</w:t></w:r></w:rubyBase>"
                f"</w:ruby></w:r>{run('字')}"
            ),
            "汉字",
        ),
        (
            paragraph(f"{run('设 ')}<m:oMath xmlns:m='m'><m:r><m:t>x</m:t></m:r></m:oMath>{run(' 为实数')}"),
            "设 x 为实数",
        ),
        (
            paragraph(
                f"{run('One')}<w:r><mc:AlternateContent><mc:Choice Requires='wps'>{box('框 box')}</mc:Choice>"
                f"<mc:Fallback>{box('框 box')}</mc:Fallback></mc:AlternateContent></w:r>{run(' line')}"
            ),
            "One line\n框 box",
        ),
        (
            "<w:tbl><w:tr><w:tc>"
            + paragraph(run("左"))
            + "</w:tc>"
            + control("<w:tc>" + paragraph(run("right")) + "</w:tc>")
            + "</w:tr>"
            + control("<w:tr><w:tc>" + paragraph(f"<w:ins>{run('新行')}</w:ins>") + "</w:tc></w:tr>")
            + "<w:tr><w:trPr><w:del/></w:trPr><w:tc>"
            + paragraph(run("gone"))
            + "</w:tc></w:tr></w:tbl>",
            "左\tright\n新行",
        ),
        (
            without_end(run("One, ")) + "<w:bookmarkStart/>" + paragraph(run("joined.")) + "<!-- x -->",
            "One, joined.",
        ),
        (
            without_end(run("甲") + box("框")) + paragraph(run("乙") + box("box")) + paragraph(run("c")),
            "甲乙\n框\nbox\nc",
        ),
        (without_end(run("a")) + table("表") + paragraph(run("b")), "a\n表\nb"),
        (
            without_end(run("前") + box("box")) + control(paragraph(run("控件"))) + paragraph(run("b")),
            "前\nbox\n控件\nb",
        ),
        (without_end(box("框 box")), "框 box"),
    ],
)
def test_text_is_found_wherever_word_puts_it(reading, body, expected):
    (record,) = reading("a.docx", with_body(body))
    assert record.text == expected


def note(kind: str, number: int, content: str, properties: str = "") -> str:
    mark = f"<w:r><w:{kind}Ref/></w:r>{run(' ')}"
    return f"<w:{kind} w:id='{number}' {properties}>{paragraph(mark + content)}</w:{kind}>"


def reference(kind: str, number: int) -> str:
    return f"<w:r><w:{kind}Reference w:id='{number}'/></w:r>"


def test_notes_come_after_the_body_in_the_order_of_their_marks(reading):
    body = (
        paragraph(run("第一段") + reference("endnote", 2) + run("有注。"))
        + f"<w:tbl><w:tr><w:tc>{paragraph(run('格') + reference('footnote', 5))}</w:tc></w:tr></w:tbl>"
        + paragraph(run("The end.") + reference("footnote", 3) + f"<w:del>{reference('footnote', 4)}</w:del>")
    )
    footnotes = (
        note("footnote", -1, run("---"), "w:type='separator'")
        + note("footnote", 3, run("See the annex.") + f"<w:del>{run(' Old.')}</w:del>")
        + note("footnote", 4, run("Gone with its mark."))
        + note("footnote", 5, run("见附表。") + "</w:p><w:p>" + run("第二行。"))
    )
    data = with_body(body, footnotes=footnotes, endnotes=note("endnote", 2, run("来源：县志。")))
    (record,) = reading("a.docx", data)
    assert record.text == "第一段有注。\n格\nThe end.\n见附表。\n第二行。\nSee the annex.\n来源：县志。"


@pytest.mark.parametrize("part", ["header", "footer", "comments"])
def test_heads_feet_and_comments_are_no_text(reading, part):
    body = paragraph(run("正文 body") + "<w:r><w:commentReference w:id='0'/></w:r>")
    comment = f"<w:comment w:id='0'>{paragraph(run('批注 remark'))}</w:comment>"
    (record,) = reading(
        "a.docx", with_body(body, **{part: comment if part == "comments" else paragraph(run("眉 head"))})
    )
    assert record.text == "正文 body"


def test_a_mark_without_its_note_costs_nothing(reading):
    body = paragraph(run("正文 body") + reference("footnote", 1) + reference("endnote", 1))
    (record,) = reading("a.docx", with_body(body, footnotes=note("footnote", 9, run("x"))))
    assert record.text == "正文 body"


def test_damaged_notes_cost_their_document(reading):
    (bad,) = reading("a.docx", with_body(paragraph(run("正文") + reference("footnote", 1)), footnotes="<w:footnote"))
    assert bad.reason == "unreadable"
    assert "Word document" in bad.detail


def test_a_merged_cell_has_its_text_once(reading):
    document = docx.Document()
    table = document.add_table(2, 2)
    table.cell(0, 0).merge(table.cell(1, 0)).text = "合并 merged"
    table.cell(0, 1).text, table.cell(1, 1).text = "上", "below"
    sink = io.BytesIO()
    document.save(sink)
    (record,) = reading("a.docx", sink.getvalue())
    assert record.text == "合并 merged\t上\n\tbelow"


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
