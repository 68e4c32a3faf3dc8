import textwrap
from pathlib import Path

import pytest

from lm_pipeline.errors import SpecError
from lm_pipeline.home import definition_folders
from lm_pipeline.specs import CorpusSpec
from lm_pipeline.specs.corpus import PathSource
from lm_pipeline.specs.declarations import load_declarations
from lm_pipeline.stages.experiment import experiment_nodes

CORPUS = "type: assets.Corpus\nattributes:\n  source: {kind: path, path: text}\n"
DATASET = "type: assets.Dataset\nattributes:\n  corpora: [words]\n"
EXPERIMENT = """\
type: assets.Experiment
attributes:
  description: A comment may stand anywhere.
  dataset: mine
  model:
    family: transformer
    width: 32
    num_heads: 2
  training:
    num_steps: 10
    learning_rate: 1e-4
"""


def declare(folder: Path, name: str, text: str) -> Path:
    path = folder / name / "defs.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(textwrap.dedent(text), "utf-8")
    return path


def refusal(folder: Path) -> str:
    with pytest.raises(SpecError) as caught:
        load_declarations([folder])
    assert caught.value.exit_code == 2
    return str(caught.value)


def refused(folder: Path, text: str, name: str = "it") -> list[str]:
    """The lines of the error, without the path that each begins with."""
    path = declare(folder, name, text)
    lines = refusal(folder).splitlines()
    assert all(line.startswith(str(path)) for line in lines), lines
    return [line.removeprefix(str(path)) for line in lines]


def test_the_demo_declares_two_languages_and_every_family():
    found = load_declarations(definition_folders()[:1])
    assert {"python_docs", "chinese_law"} <= found.corpora.keys()
    families = {spec.model.family for spec in found.experiments_of("python_docs").values()}
    assert families == {"ngram", "rnn", "lstm", "gru", "cnn", "transformer"}
    assert found.files["assets.Corpus", "python_docs"].name == "defs.yaml"


def test_what_is_written_is_what_is_read(tmp_path):
    declare(tmp_path / "corpora", "words", CORPUS)
    declare(tmp_path / "datasets", "mine", DATASET)
    declare(tmp_path / "experiments", "try", EXPERIMENT)
    found = load_declarations([tmp_path])
    assert found.corpora == {"words": CorpusSpec(source=PathSource(path="text"))}
    assert found.datasets["mine"].corpora == ("words",)
    spec = found.experiments["try"]
    assert spec.training.learning_rate == 1e-4
    assert found.experiments_of("mine") == {"try": spec}
    assert found.experiments_of("other") == {}


def test_other_components_of_dagster_are_passed_over(tmp_path):
    declare(tmp_path, "words", "type: dagster.DefsFolderComponent\nattributes: {x: 1}\n---\n" + CORPUS)
    assert list(load_declarations([tmp_path]).corpora) == ["words"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "num_steps",
            "num_step",
            ":10: attributes.training.num_step: unknown key 'num_step'. Did you mean 'num_steps'?",
        ),
        ("num_heads", "heads", ":8: attributes.model.heads: unknown key 'heads'. Did you mean 'num_heads'? Available:"),
        ("dataset:", "datset:", ":4: attributes.datset: unknown key 'datset'. Did you mean 'dataset'?"),
        (
            "transformer",
            "transfomer",
            ":5: attributes.model: family: 'transfomer' is unknown. Did you mean 'transformer'?",
        ),
        ("family: transformer", "width: 8", ":5: attributes.model: expected the key 'family'. Given: {'width': 8,"),
        ("num_steps: 10", "num_steps: yes", ":10: attributes.training.num_steps: got the boolean True; YAML reads"),
        ("1e-4", "off", ":11: attributes.training.learning_rate: got the boolean False; YAML reads"),
        ("num_steps: 10", "num_steps: many", "integer, unable to parse string as an integer. Given: 'many'."),
        ("num_steps: 10", "num_steps: 1.5", ":10: attributes.training.num_steps: Input should be a valid integer"),
        ("num_steps: 10", "num_steps: -1", "Input should be greater than or equal to 0. Given: -1."),
        ("1e-4", "fast", ":11: attributes.training.learning_rate: Input should be a valid number"),
        ("1e-4", ".inf", ":11: attributes.training.learning_rate: Input should be a finite number"),
        ("1e-4", "[1]", ":11: attributes.training.learning_rate: Input should be a valid number"),
        ("num_heads: 2", "num_heads: 3", ":7: attributes.model: width 32 is not a multiple of num_heads 3"),
        ("  dataset: mine\n", "", ":2: attributes.dataset: this key is required and missing."),
        (
            "dataset: mine",
            "dataset: [mine]",
            ":4: attributes.dataset: Input should be a valid string. Given: ['mine'].",
        ),
    ],
)
def test_a_mistake_in_an_experiment_is_named_by_file_line_and_key(tmp_path, old, new, expected):
    declare(tmp_path, "mine", DATASET)
    assert old in EXPERIMENT
    text = EXPERIMENT.replace(old, new)
    if new == "width: 8":
        text = text.replace("    width: 32\n", "")
    lines = refused(tmp_path, text)
    assert any(expected in line for line in lines), lines


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{kind: path, path: text, pth: 1}", ":3: attributes.source.pth: unknown key 'pth'. Did you mean 'path'?"),
        (
            "{kind: url, url: 'http://x', headers: []}",
            ":3: attributes.source.headers: unknown key 'headers'. Available:",
        ),
        ("{kind: path, path: 7}", ":3: attributes.source.path: Input should be a valid string. Given: 7."),
        (
            "{kind: path, path: text, include: [a, 2]}",
            ":3: attributes.source.include.1: Input should be a valid string.",
        ),
        ("{kind: wheel, name: a, version: 1.0.0, member: m}", ":3: attributes.source.sha256: this key is required"),
        (
            "{kind: ftp, path: text}",
            ":3: attributes.source: kind: 'ftp' is unknown. Available: path, python, url, wheel",
        ),
        ("text", ":3: attributes.source: expected keys and values. Given: 'text'."),
    ],
)
def test_a_mistake_below_a_union_is_named_without_the_unions_tag(tmp_path, source, expected):
    [line] = refused(tmp_path, f"type: assets.Corpus\nattributes:\n  source: {source}\n")
    assert expected in line


def test_the_line_is_that_of_the_key_also_deep_below_a_union(tmp_path):
    text = """\
        type: assets.Corpus
        attributes:
          source:
            kind: path
            path: text
            include:
              - "*.txt"
              - 3
          cleaning:
            english:
              min_wrds: 3
        """
    first, second = refused(tmp_path, text)
    assert first.startswith(":8: attributes.source.include.1: ")
    assert second.startswith(
        ":11: attributes.cleaning.english.min_wrds: unknown key 'min_wrds'. Did you mean 'min_words'?"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "type: assets.Dataset\nattributes:\n  corpora: 小说\n",
            ":3: attributes.corpora: expected a list, such as [小说]. Given: '小说'.",
        ),
        (
            "type: assets.Dataset\nattributes:\n  corpora: {novels: 2}\n",
            ":3: attributes.corpora: expected a list, such as [a, b]. Given: {'novels': 2}.",
        ),
        (
            f"{EXPERIMENT}    betas: 0.9\n",
            ":12: attributes.training.betas: expected a list, such as [0.9, 0.99]. Given: 0.9.",
        ),
        (
            f"{EXPERIMENT}    betas: [0.9]\n",
            ":12: attributes.training.betas.1: this item, counted from 0, is missing. Given: [0.9].",
        ),
        (
            f"{CORPUS}  format: {{kind: mediawiki, namespaces: {{main: 0}}}}\n",
            ":4: attributes.format.namespaces: expected a list, such as [0]. Given: {'main': 0}.",
        ),
        (
            f"{EXPERIMENT}  evaluation: {{samples: {{prompts: {{english: The}}}}}}\n",
            (":12: attributes.evaluation.samples.prompts: expected a list, such as [a, b]. Given: {'english': 'The'}."),
        ),
        (
            f"{CORPUS}  cleaning:\n    rules: goffer\n",
            ":5: attributes.cleaning.rules: expected a list, such as [gopher_quality]. Given: 'goffer'.",
        ),
        (
            f"{CORPUS}  cleaning:\n    languages: 中文\n",
            ":5: attributes.cleaning.languages: expected a list. Given: '中文'.",
        ),
        (
            f"{CORPUS}  cleaning:\n    custom: {{name: 长文, reject_if: x}}\n",
            ":5: attributes.cleaning.custom: expected a list. Given: {'name': '长文', 'reject_if': 'x'}.",
        ),
        (
            f"{CORPUS}  cleaning:\n    custom: {{name: long, reject_if: num_words > 9}}\n",
            (
                ":5: attributes.cleaning.custom: expected a list, such as [{name: long, reject_if: num_words > 9}]."
                " Given: {'name': 'long', 'reject_if': 'num_words > 9'}."
            ),
        ),
        (
            "type: assets.Dataset\nattributes:\n  corpora: []\n",
            ":3: attributes.corpora: expected a list with at least 1 item after validation, not 0. Given: [].",
        ),
        (
            "type: assets.Dataset\nattributes:\n  corpora: [a, b, a]\n",
            ":3: attributes: corpora names a more than once; name each once, `weights` repeats it",
        ),
        (
            "type: assets.Dataset\nattributes:\n  corpora: [a]\n  duplicates:\n    near: off\n",
            ":5: attributes.duplicates.near: expected keys and values, or null. Given: False.",
        ),
        (
            "type: assets.Dataset\nattributes:\n  corpora: [a]\n  duplicates: 0.7\n",
            ":4: attributes.duplicates: expected keys and values. Given: 0.7.",
        ),
        (
            "type: assets.Dataset\nattributes:\n  corpora: [a, b]\n  weights:\n    a: 2\n",
            ":4: attributes: weights names ['a']; expected every corpus of ['a', 'b']",
        ),
        (
            "type: assets.Dataset\nattributes:\n  corpora: [a]\n  decontamination:\n    against: [a]\n",
            (
                ":5: attributes: decontamination.against names ['a'], which are corpora of the dataset itself; its"
                " validation and test splits are always searched for. Take them out of `against`, or out of `corpora`"
            ),
        ),
        (
            f"{CORPUS}  cleaning:\n    languages: [zh, cn]\n",
            (
                ":5: attributes.cleaning.languages.1: no document is ever given this language; expected a code of ISO"
                " 639-1, such as en, zh, ja, de (ISO 639-3 where that has none, such as yue). Given: 'cn'."
            ),
        ),
        (
            f"{CORPUS}  cleaning:\n    languages: [no]\n",
            (
                ":5: attributes.cleaning.languages.0: got the boolean False; YAML reads yes/no/on/off as booleans, so"
                " quote a word. Given: False."
            ),
        ),
        (
            f"{EXPERIMENT}    momentum: 0.9\n",
            (
                ":12: attributes.training: momentum is 0.9, but it is only read where optimizer is 'sgd' or 'muon';"
                " here optimizer is 'adamw'. Leave momentum out or change optimizer"
            ),
        ),
        (
            f"{EXPERIMENT}  schedule: {{cron: 0 2 * * *, timezone: Asia/Shangai}}\n",
            (
                ":12: attributes.schedule.timezone: there is no such time zone. Did you mean 'Asia/Shanghai'?"
                " Available: Asia/Shanghai, Europe/London, UTC. Given: 'Asia/Shangai'."
            ),
        ),
    ],
)
def test_a_mistake_is_told_in_words_of_yaml_with_the_line_of_the_key_at_fault(tmp_path, text, expected):
    assert refused(tmp_path, text) == [expected]


def test_all_mistakes_of_a_file_are_named_at_once(tmp_path):
    lines = refused(tmp_path, EXPERIMENT.replace("num_steps", "steps").replace("width: 32", "width: no"))
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type: [", ": this is not YAML: "),
        ("type: assets.Corpus\n\tattributes: {}", ": this is not YAML: "),
        ("", ": the file is empty; expected `type:`"),
        ("# nothing\n", ": the file is empty; expected `type:`"),
        ("- a\n- b\n", ": expected `type:` with one of assets.Corpus, assets.Dataset, assets.Experiment"),
        ("attributes: {}\n", ": expected `type:` with one of"),
        ("type: assets.Corpsu\n", ": type: 'assets.Corpsu' is unknown. Did you mean 'assets.Corpus'?"),
        ("type: assets.Corpus\nattribute: {}\n", ":2: unknown key 'attribute'. Did you mean 'attributes'?"),
        ("type: assets.Corpus\n1: {}\n", ":2: unknown key '1'. "),
        ("type: assets.Corpus\nattributes: text\n", ":2: attributes: expected keys and values. Given: 'text'."),
        ("type: assets.Corpus\nattributes: [a]\n", ":2: attributes: expected keys and values. Given: ['a']."),
        ("type: assets.Corpus\nattributes:\n", ": attributes.source: this key is required and missing."),
        ("type: assets.Dataset\nattributes:\n  corpora: []\n", ":3: attributes.corpora: "),
        (CORPUS + "  source: {kind: path, path: other}\n", ":4: the key 'source' is there twice. Keep one."),
        (
            "type: assets.Corpus\nattributes:\n  source: {kind: path, path: a, path: b}\n",
            ":3: the key 'path' is there twice",
        ),
        (
            "type: assets.Corpus\nattributes:\n  source: {kind: python}\n  format: {kind: jsonl}\n",
            "'python' source has its own",
        ),
        (
            "type: assets.Experiment\nattributes: {dataset: x, model: {family: ngram}, training: {num_steps: 5}}\n",
            "leave `training` out",
        ),
    ],
)
def test_what_is_no_declaration_is_refused(tmp_path, text, expected):
    path = tmp_path / "it" / "defs.yaml"
    path.parent.mkdir()
    path.write_text(text)
    message = refusal(tmp_path)
    assert message.startswith(str(path))
    assert expected in message


def test_a_file_that_is_not_utf_8_is_refused(tmp_path):
    path = declare(tmp_path, "it", CORPUS)
    path.write_bytes(CORPUS.replace("text", "Straße").encode("latin-1"))
    assert "this is not UTF-8" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["Upper", "1st", "with-dash", "_private", "a" * 65, "mit umlaut ü"])
def test_a_folder_with_a_bad_name_is_refused(tmp_path, name):
    [line] = refused(tmp_path, CORPUS, name)
    assert f"the folder {name!r} names the corpus; a name is 1 to 64 lower-case letters" in line


def test_a_name_may_be_declared_once(tmp_path):
    first = declare(tmp_path / "a", "words", CORPUS)
    second = declare(tmp_path / "b", "words", CORPUS)
    assert refusal(tmp_path) == f"{second}: the corpus 'words' is declared already in {first}. Rename one."


def test_a_corpus_and_a_dataset_may_share_a_name_but_an_experiment_may_not_have_a_datasets(tmp_path):
    declare(tmp_path / "corpora", "words", CORPUS)
    declare(tmp_path / "datasets", "words", DATASET)
    load_declarations([tmp_path])
    declare(tmp_path / "experiments", "words", EXPERIMENT.replace("mine", "words"))
    assert "'words' is a dataset's name already; an experiment needs another one." in refusal(tmp_path)


def test_a_misspelt_dataset_gets_the_nearest_name(tmp_path):
    declare(tmp_path, "mine", DATASET)
    path = declare(tmp_path, "try", EXPERIMENT.replace("mine", "mien"))
    expected = "attributes.dataset: there is no dataset 'mien'. Did you mean 'mine'? Available: mine."
    assert refusal(tmp_path) == f"{path}: {expected}"


def test_a_base_is_an_experiment_of_the_same_dataset_and_family_and_does_not_lead_back(tmp_path):
    experiment = "type: assets.Experiment\nattributes:\n  dataset: {}\n  model: {{family: {}}}\n{}"
    declare(tmp_path, "mine", DATASET)
    declare(tmp_path, "other", DATASET)
    declare(tmp_path, "first", experiment.format("mine", "gru", ""))
    declare(tmp_path, "elsewhere", experiment.format("other", "gru", ""))
    declare(tmp_path, "lstm", experiment.format("mine", "lstm", ""))
    path = declare(tmp_path, "second", experiment.format("mine", "gru", "  base: first\n"))
    found = load_declarations([tmp_path])
    (checkpoint, *_) = experiment_nodes("second", found.experiments["second"], found.datasets["mine"])
    assert checkpoint.inputs["base"] == "first/checkpoint"
    assert "base" not in experiment_nodes("first", found.experiments["first"], found.datasets["mine"])[0].inputs
    for base, expected in {
        "frist": "is no experiment. Did you mean 'first'",
        "elsewhere": "is of the dataset 'other', not of 'mine'",
        "lstm": "is of the family 'lstm', not 'gru'",
        "second": "leads back to itself",
    }.items():
        path.write_text(experiment.format("mine", "gru", f"  base: {base}\n"), "utf-8")
        assert expected in refusal(tmp_path)


def test_a_base_is_the_same_model_but_for_adapters_and_dropout(tmp_path):
    experiment = """
    type: assets.Experiment
    attributes:
      dataset: mine
      model: {{family: transformer, width: {}, num_heads: 2, positions: learned{}}}
      training: {{context_length: {}}}
    """
    declare(tmp_path, "mine", DATASET)
    declare(tmp_path, "first", experiment.format(32, "", 64))
    path = declare(tmp_path, "second", "")
    text = textwrap.dedent(experiment.replace("dataset: mine", "dataset: mine\n      base: first"))
    path.write_text(text.format(32, ", dropout: 0.1, lora: {rank: 2}", 64), "utf-8")
    assert load_declarations([tmp_path]).experiments["second"].base == "first"
    path.write_text(text.format(32, ", num_kv_heads: 2, head_width: 16", 64), "utf-8")
    assert load_declarations([tmp_path]).experiments["second"].base == "first"  # which is what it is by default
    path.write_text(text.format(64, ", lora: {rank: 2}", 64), "utf-8")
    assert "'first' is another model: width is 64 here and 32 there; head_width is" in refusal(tmp_path)
    path.write_text(text.format(32, "", 32), "utf-8")
    assert "context_length is 32 here and 64 there, and positions are learned" in refusal(tmp_path)


def test_folders_dropped_into_raw_are_corpora_unless_a_declaration_has_their_name(tmp_path):
    raw = tmp_path / "raw"
    for name in ("dropped", "words", "Not A Name", ".hidden"):
        (raw / name).mkdir(parents=True)
    (raw / "file.txt").write_text("no folder")
    declare(tmp_path / "defs", "words", CORPUS)
    found = load_declarations([tmp_path / "defs"], raw)
    assert set(found.corpora) == {"dropped", "words"}
    assert found.corpora["dropped"].source == PathSource(path=str(raw / "dropped"))
    assert found.corpora["words"].source == PathSource(path="text")
    assert ("assets.Corpus", "dropped") not in found.files
