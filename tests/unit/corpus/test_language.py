import pytest

from lm_pipeline.corpus.language import SCRIPTS, UNDETERMINED, identify_language

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


def test_line_feeds_do_not_disturb_the_classifier():
    assert identify_language([SENTENCES["en"].replace(" ", "\n")])[0][0] == "en"


def test_every_script_of_the_list_is_known_to_the_engine():
    assert [code for code, _ in identify_language(["한", "ก", "αβ", "אב", "აბ", "աբ"])] == [code for _, code in SCRIPTS]


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
