"""Reads every declaration in YAML; what is wrong is refused by file, line and key, with the nearest valid name."""

import re
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from lm_pipeline.errors import SpecError, nearest
from lm_pipeline.specs.base import NAME_PATTERN, Spec
from lm_pipeline.specs.corpus import CorpusSpec, PathSource
from lm_pipeline.specs.dataset import DatasetSpec
from lm_pipeline.specs.experiment import ExperimentSpec
from lm_pipeline.specs.explaining import explain
from lm_pipeline.specs.model import fields_of_weights
from lm_pipeline.specs.pretrained import Pretrained

NOUNS: dict[str, type[Spec]] = {
    "assets.Corpus": CorpusSpec,
    "assets.Dataset": DatasetSpec,
    "assets.Experiment": ExperimentSpec,
}
"""The `type:` of a declaration and the spec that its `attributes:` are checked against."""

FILE_NAME = "defs.yaml"
DOCUMENT_KEYS = ("type", "attributes", "requirements", "template_vars_module")
"""What stands at the top of a declaration; the last two are Dagster's and not read here."""


@dataclass(frozen=True)
class Declarations:
    """All corpora, datasets and experiments by name.

    Attributes:
        corpora: declared ones and folders dropped below `data/raw`.
        files: the YAML file of each declared name, by noun and name.
    """

    corpora: dict[str, CorpusSpec] = field(default_factory=dict)
    datasets: dict[str, DatasetSpec] = field(default_factory=dict)
    experiments: dict[str, ExperimentSpec] = field(default_factory=dict)
    files: dict[tuple[str, str], Path] = field(default_factory=dict)

    def experiments_of(self, dataset: str) -> dict[str, ExperimentSpec]:
        """The experiments on a dataset, by name."""
        return {name: spec for name, spec in self.experiments.items() if spec.dataset == dataset}


def default_corpus(name: str) -> CorpusSpec:
    """The corpus that a folder dropped at `data/raw/<name>/` becomes."""
    return CorpusSpec(
        description=f"Files dropped at data/raw/{name}.",
        source=PathSource(path=f"data/raw/{name}"),
    )


def ignored_in_raw(raw: Path) -> list[str]:
    """What stands in the raw folder and is no corpus: loose files, and folders whose names cannot be names."""
    if not raw.is_dir():
        return []
    entries = sorted(path for path in raw.iterdir() if not path.name.startswith("."))
    return [path.name for path in entries if not (path.is_dir() and re.match(NAME_PATTERN, path.name))]


def load_declarations(folders: Iterable[Path], raw: Path | None = None) -> Declarations:
    """Read all `defs.yaml` below the folders, and take each folder below `raw` that no YAML declares as a corpus.

    Raises:
        SpecError: a file is no YAML, a key or value is wrong, a name is taken twice or refers to nothing.
    """
    found = Declarations()
    tables: dict[str, dict[str, Any]] = {
        "assets.Corpus": found.corpora,
        "assets.Dataset": found.datasets,
        "assets.Experiment": found.experiments,
    }
    for folder in folders:
        for path in sorted(folder.rglob(FILE_NAME)):
            for noun, name, spec in read_file(path):
                if name in tables[noun]:
                    first = found.files[noun, name]
                    raise SpecError(f"{path}: the {_word(noun)} {name!r} is declared already in {first}. Rename one.")
                tables[noun][name] = spec
                found.files[noun, name] = path
    if raw is not None and raw.is_dir():
        for folder in sorted(p for p in raw.iterdir() if p.is_dir() and re.match(NAME_PATTERN, p.name)):
            if folder.name not in found.corpora:
                spec = default_corpus(folder.name)
                found.corpora[folder.name] = spec.model_copy(update={"source": PathSource(path=str(folder))})
    _check_references(found)
    return found


def _check_references(found: Declarations) -> None:
    for name, spec in found.experiments.items():
        path = found.files["assets.Experiment", name]
        if spec.dataset not in found.datasets:
            hint = nearest(spec.dataset, found.datasets)
            raise SpecError(f"{path}: attributes.dataset: there is no dataset {spec.dataset!r}. {hint}")
        if name in found.datasets:
            raise SpecError(f"{path}: {name!r} is a dataset's name already; an experiment needs another one.")
        _check_base(found, name, spec)


def _check_base(found: Declarations, name: str, spec: ExperimentSpec) -> None:
    """Refuse a base that is none, is of another dataset, or leads back here."""
    path, seen, base = found.files["assets.Experiment", name], {name}, spec.base
    if isinstance(base, Pretrained):
        tokenizer = found.datasets[spec.dataset].tokenizer
        if tokenizer != base:
            raise SpecError(
                f"{path}: attributes.base: a pretrained model reads its own tokens, and the dataset {spec.dataset!r}"
                f" has another tokenizer. Give a dataset `tokenizer: {{huggingface: {base.huggingface}}}`."
            )
        return
    while isinstance(base, str):
        where = f"{path}: attributes.base: {base!r}"
        if base not in found.experiments:
            raise SpecError(f"{where} is no experiment. {nearest(base, found.experiments)}")
        if base in seen:
            raise SpecError(f"{where} leads back to itself; one experiment of the chain must begin anew.")
        other = found.experiments[base]
        if other.dataset != spec.dataset:
            raise SpecError(f"{where} is of the dataset {other.dataset!r}, not of {spec.dataset!r}: token ids differ.")
        if other.model.family != spec.model.family:
            raise SpecError(f"{where} is of the family {other.model.family!r}, not {spec.model.family!r}.")
        if differences := _differences(spec, other):
            raise SpecError(
                f"{where} is another model: {'; '.join(differences)}. Only `lora` and dropout may differ from the base."
            )
        seen.add(base)
        base = other.base


def _differences(spec: ExperimentSpec, base: ExperimentSpec) -> list[str]:
    """What keeps a model from beginning with another's weights."""
    own, others = fields_of_weights(spec.model), fields_of_weights(base.model)
    found = [f"{key} is {own[key]!r} here and {others[key]!r} there" for key in own if own[key] != others[key]]
    lengths = spec.training.context_length, base.training.context_length
    if own.get("positions") == "learned" and lengths[0] != lengths[1]:
        found.append(f"context_length is {lengths[0]} here and {lengths[1]} there, and positions are learned")
    return found


def read_file(path: Path) -> Iterator[tuple[str, str, Any]]:
    """Yield (noun, name, spec) of each declaration in a file; documents of other components are passed over.

    Raises:
        SpecError: see `load_declarations`.
    """
    try:
        text = path.read_text("utf-8")
        nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
        documents = list(yaml.safe_load_all(text))
    except UnicodeDecodeError as error:
        raise SpecError(
            f"{path}: this is not UTF-8 ({error.reason} at byte {error.start}). Save it as UTF-8."
        ) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: 2026-13-45 looks like a date and is none
        raise SpecError(f"{path}: this is not YAML: {error}") from error
    if not documents:
        raise SpecError(f"{path}: the file is empty; expected `type:` with one of {', '.join(NOUNS)}.")
    for node, document in zip(nodes, documents, strict=True):
        noun = document.get("type") if isinstance(document, dict) else None
        if not isinstance(noun, str):
            raise SpecError(f"{path}: expected `type:` with one of {', '.join(NOUNS)}, and `attributes:`.")
        if noun not in NOUNS:
            if noun.startswith("assets."):
                raise SpecError(f"{path}: type: {noun!r} is unknown. {nearest(noun, NOUNS)}")
            continue
        _refuse_repeated_keys(path, node)
        name = path.parent.name
        if not re.match(NAME_PATTERN, name):
            raise SpecError(
                f"{path}: the folder {name!r} names the {_word(noun)}; a name is 1 to 64 lower-case letters, digits"
                " and underscores, and begins with a letter."
            )
        if unknown := set(document) - set(DOCUMENT_KEYS):
            key = min(map(str, unknown))
            raise SpecError(f"{path}:{_line(node, [key])}: unknown key {key!r}. {nearest(key, ['type', 'attributes'])}")
        attributes = document.get("attributes") or {}
        if not isinstance(attributes, dict):
            line = _line(node, ["attributes"])
            raise SpecError(f"{path}:{line}: attributes: expected keys and values. Given: {attributes!r}.")
        yield noun, name, _validate(path, node, NOUNS[noun], attributes)


def line_of(path: Path, noun: str, keys: Sequence[int | str]) -> int:
    """Line (from 1) of a key below `attributes` of a file's declaration; of the deepest that it has."""
    nodes = yaml.compose_all(path.read_text("utf-8"), Loader=yaml.SafeLoader)
    documents = yaml.safe_load_all(path.read_text("utf-8"))
    node = next(n for n, document in zip(nodes, documents, strict=True) if document.get("type") == noun)
    return _line(node, ["attributes", *keys])


def _validate(path: Path, node: yaml.Node, model: type[Spec], attributes: dict[str, Any]) -> Spec:
    try:
        return model.model_validate(attributes)
    except ValidationError as error:
        problems = []
        for item in error.errors():
            keys, models = _locate(model, item["loc"])
            where = ".".join(["attributes", *map(str, keys)])
            line = _line(node, ["attributes", *keys, *_keys_at_fault(item)])
            problems.append(f"{path}:{line}: {where}: {explain(item, keys, models)}")
        raise SpecError("\n".join(problems)) from error


def _keys_at_fault(item: Any) -> list[str]:
    """Of an error of several keys together: the one that its message begins with, `weights` or `near.threshold`."""
    message = item["msg"].removeprefix("Value error, ")
    named = re.match(r"[a-z_]+(\.[a-z_]+)*(?= )", message)
    return named[0].split(".") if named and item["type"] == "value_error" and isinstance(item["input"], dict) else []


def _locate(model: type[BaseModel], location: Sequence[int | str]) -> tuple[list[int | str], list[type[BaseModel]]]:
    """The keys as the file has them, and the models that the last of them stands in.

    Pydantic puts the tag of a union's member between the keys: the `wheel` in `source.wheel.version`.
    """
    keys: list[int | str] = []
    holders: list[type[BaseModel]] = []
    current = [model]
    for key in location:
        tagged = [candidate for candidate in current if _tag(candidate) == key]
        if tagged and (len(current) > 1 or key not in current[0].model_fields):
            current = tagged
            continue
        keys.append(key)
        holders = current
        fields = [candidate.model_fields[str(key)] for candidate in current if key in candidate.model_fields]
        if not isinstance(key, int):
            current = [found for field in fields for found in _models_in(field.annotation)]
    return keys, holders


def _tag(model: type[BaseModel]) -> str | None:
    """What its `kind:` or `family:` has to be, or how it is told, for a member of a union."""
    for name in ("kind", "family"):
        if name in model.model_fields:
            return model.model_fields[name].default
    return getattr(model, "tag", None)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for argument in typing.get_args(annotation) for model in _models_in(argument)]


def _line(node: yaml.Node, keys: Sequence[int | str]) -> int:
    """Line (from 1) of the deepest key of the path that the file has."""
    line = node.start_mark.line
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(key)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line
    return line + 1


def _refuse_repeated_keys(path: Path, node: yaml.Node) -> None:
    """YAML's parser would silently take the last one."""
    children = node.value if isinstance(node, yaml.SequenceNode) else []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise SpecError(f"{path}:{key.start_mark.line + 1}: the key {key.value!r} is there twice. Keep one.")
            seen.add(str(key.value))
            children.append(value)
    for child in children:
        _refuse_repeated_keys(path, child)


def _word(noun: str) -> str:
    return noun.removeprefix("assets.").lower()
