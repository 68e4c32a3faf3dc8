"""Builds the parts of a corpus: in this process, in several, or as tasks of a Ray cluster; the same bytes each time.

A part is an artifact of the store, so a builder has nothing to send back: whoever wants the part finds it there.
"""

import functools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_pipeline import errors
from lm_pipeline.artifacts import Artifact, Staging, Store
from lm_pipeline.errors import ChildError, InputError, LmPipelineError
from lm_pipeline.home import Home
from lm_pipeline.launch import supervise
from lm_pipeline.provenance import provenance
from lm_pipeline.specs.cleaning import measuring_settings
from lm_pipeline.specs.corpus import CorpusSpec
from lm_pipeline.stages import versions
from lm_pipeline.stages.progress import Progress

if TYPE_CHECKING:
    from lm_pipeline.corpus.documents import Part
    from lm_pipeline.corpus.raw.raw_files import RawFile

ENGINES = ("processes", "ray")
PARALLEL_BYTES = 16 * 1024 * 1024
"""Less input than this is cleaned before other processes would have started."""


@dataclass(frozen=True)
class PartBuilder:
    """All that the parts of one corpus have in common; JSON values, for other processes and machines.

    Attributes:
        home: the home folder.
        artifacts: the folder of artifacts, which every builder sees.
        corpus: the corpus's name.
        spec: its declaration.
        lists: digests of the word lists in files.
        files: path of the raw files' table.
    """

    home: str
    artifacts: str
    corpus: str
    spec: Mapping[str, Any]
    lists: Mapping[str, Any]
    files: str

    def fields(self, part: "Part", files: "Mapping[str, RawFile]") -> dict[str, Any]:
        """The spec part of a part's address."""
        # One archive may hold several members: which one was read is part of the address.
        slices = [[piece.file, files[piece.file].member, piece.sha256, piece.start, piece.end] for piece in part]
        return {**measuring_fields(self.corpus, CorpusSpec(**self.spec)), "lists": dict(self.lists), "slices": slices}

    def find(self, part: "Part", files: "Mapping[str, RawFile]") -> Artifact | None:
        """The part, if it was built."""
        stage = versions.DOCUMENT_PART
        return Store(Path(self.artifacts)).find(stage.name, stage.key({}, self.fields(part, files)))


def cleaning_fields(name: str, spec: CorpusSpec) -> dict[str, Any]:
    """The spec fields that turn raw bytes into documents. Descriptions and the source's place are not among them."""
    fields = spec.model_dump(mode="json", include={"format", "fields", "extraction", "language", "cleaning"})
    return {"corpus": name, "source_kind": spec.source.kind, **fields}


def measuring_fields(name: str, spec: CorpusSpec) -> dict[str, Any]:
    """Of the spec fields that turn raw bytes into documents, those that texts and statistics depend on."""
    return {**cleaning_fields(name, spec), "cleaning": measuring_settings(spec.cleaning)}


def build_part(builder: PartBuilder, part: "Part") -> Artifact:
    """Build a part, or find that it exists. This is what every process and every Ray task runs.

    Raises:
        InputError: a raw file is not the one that was listed.
        BusyError: another process has been building the part for ten minutes.
    """
    from lm_pipeline.corpus.documents import clean_part
    from lm_pipeline.corpus.quality.word_lists import with_lists
    from lm_pipeline.corpus.raw.sources import verify_files

    started = time.time()
    files, home, spec = _files(builder.files), Home(Path(builder.home)), CorpusSpec(**builder.spec)

    def write(staging: Staging) -> None:
        listed = spec.model_copy(update={"cleaning": with_lists(spec.cleaning, home)})
        staging.summary = clean_part(builder.corpus, part, files, listed, staging.path)
        # Once more after reading: a file that was edited meanwhile must not be published under its old digest.
        verify_files([files[piece.file] for piece in part], home)
        staging.provenance = provenance(started)

    store = Store(Path(builder.artifacts))
    return store.build(versions.DOCUMENT_PART, {}, builder.fields(part, files), write, wait_seconds=600)[0]


def build_parts(
    builder: PartBuilder, parts: "Sequence[Part]", scratch: Path, log: Callable[[str], None]
) -> tuple[list[Artifact], int]:
    """Build what is missing of these parts, on all cores or on Ray.

    Args:
        builder: what they have in common.
        parts: which they are.
        scratch: an existing folder for files that are gone afterwards.
        log: takes lines for people.

    Returns:
        The parts in the order given, and how many were not there.

    Raises:
        LmPipelineError: what building a part raises (see `build_part`), from whichever process it came.
        ChildError: a process was killed.
    """
    files = _files(builder.files)
    found = [builder.find(part, files) for part in parts]
    missing = [part for part, artifact in zip(parts, found, strict=True) if artifact is None]
    sizes = {part: sum((piece.end or files[piece.file].bytes) - piece.start for piece in part) for part in missing}
    with Progress(len(missing), sum(sizes.values()), log) as progress:
        engine = chosen_engine()
        workers = num_workers() if engine == "ray" else min(num_workers(), len(missing))
        if missing and (engine == "ray" or (workers > 1 and sum(sizes.values()) >= PARALLEL_BYTES)):
            request = {
                "builder": asdict(builder),
                "parts": [[asdict(piece) for piece in part] for part in missing],
                "engine": engine,
                "workers": workers,
            }
            _build_elsewhere(request, scratch, lambda n: progress.done(sizes[missing[n]]), log)
        else:
            for part in missing:
                build_part(builder, part)
                progress.done(sizes[part])
    return [artifact or build_part(builder, part) for part, artifact in zip(parts, found, strict=True)], len(missing)


def num_workers() -> int:
    """How many processes build parts: `LM_PIPELINE_WORKERS`, else the cores that this process may use.

    Raises:
        InputError: the variable is no positive number.
    """
    given = os.environ.get("LM_PIPELINE_WORKERS")
    if not given:
        return len(os.sched_getaffinity(0))
    if not given.isdecimal() or int(given) < 1:
        raise InputError(f"LM_PIPELINE_WORKERS is {given!r}: expected a number of processes, 1 or more.")
    return int(given)


def chosen_engine() -> str:
    """What builds parts: `LM_PIPELINE_ENGINE`, else processes.

    Raises:
        InputError: there is no such engine.
    """
    engine = os.environ.get("LM_PIPELINE_ENGINE") or ENGINES[0]
    if engine not in ENGINES:
        raise InputError(f"LM_PIPELINE_ENGINE is {engine!r}: expected one of {', '.join(ENGINES)}.")
    return engine


def _build_elsewhere(
    body: Mapping[str, Any], scratch: Path, done: Callable[[int], None], log: Callable[[str], None]
) -> None:
    """Let one supervised child do it, which has the other processes: nothing of it outlives this call."""
    threads = str(max(1, len(os.sched_getaffinity(0)) // body["workers"]))  # of each process
    limits = dict.fromkeys(("POLARS_MAX_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"), threads)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        request, failure = Path(folder, "request.json"), Path(folder, "failure.json")
        request.write_text(json.dumps(body), "utf-8")

        def on_line(line: str) -> None:
            if line.startswith(_DONE):
                done(int(line.removeprefix(_DONE)))
            else:
                log(line)

        argv = [sys.executable, "-m", "lm_pipeline", "clean", str(request)]
        try:
            supervise(argv, {**os.environ, **limits}, on_line, grace_seconds=3.0)
        except ChildError:
            if failure.exists():  # what went wrong there is said here as if it had been here
                told = json.loads(failure.read_text("utf-8"))
                raise getattr(errors, told["type"])(told["message"]) from None
            raise


_DONE = "part done: "


def clean_from_request(request: Path) -> None:
    """What the supervised child does: build the parts of a request in processes or on Ray, a line for each.

    Raises:
        LmPipelineError: the first that building a part raised; also left in `failure.json` beside the request.
    """
    from lm_pipeline.corpus.documents import Slice

    body = json.loads(request.read_text("utf-8"))
    builder = PartBuilder(**body["builder"])
    parts = [tuple(Slice(**piece) for piece in part) for part in body["parts"]]
    on = {"processes": _in_processes, "ray": _on_ray}[body["engine"]]
    try:
        for number in on(builder, parts, body["workers"]):
            print(f"{_DONE}{number}", flush=True)
    except LmPipelineError as error:
        told = {"type": type(error).__name__, "message": str(error)}
        request.with_name("failure.json").write_text(json.dumps(told), "utf-8")
        raise


def _in_processes(builder: PartBuilder, parts: "Sequence[Part]", workers: int) -> Iterator[int]:
    import multiprocessing
    from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
    from concurrent.futures.process import BrokenProcessPool

    # Never by fork: threads of polars that hold a lock at that moment would hold it for ever in the child.
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        numbers = {pool.submit(_build, builder, part): number for number, part in enumerate(parts)}
        pending = set(numbers)
        while pending:
            finished, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
                yield numbers[future]
    except BrokenProcessPool:
        raise ChildError(
            "A process that cleans parts was killed, maybe because memory ran out. What was built stays: set"
            " LM_PIPELINE_WORKERS to fewer processes and materialize again."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _on_ray(builder: PartBuilder, parts: "Sequence[Part]", workers: int) -> Iterator[int]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # Ray reports home otherwise
    try:
        import ray
    except ImportError:
        raise InputError(
            "LM_PIPELINE_ENGINE is 'ray', and Ray is not installed. Run `pip install 'lm-pipeline[ray]'`, or unset"
            " the variable."
        ) from None
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "WARNING"}
    if not os.environ.get("RAY_ADDRESS"):  # no cluster is named: one of this machine
        settings |= {"include_dashboard": False, "num_cpus": workers}
    from ray.exceptions import RayTaskError

    ray.init(**settings)
    try:
        task = ray.remote(_build)
        numbers = {task.remote(builder, part): number for number, part in enumerate(parts)}
        while numbers:
            finished, _ = ray.wait(list(numbers), timeout=0.5)
            for reference in finished:
                try:
                    ray.get(reference)
                except RayTaskError as error:
                    raise error.cause from None
                yield numbers.pop(reference)
    finally:
        ray.shutdown()


def _build(builder: PartBuilder, part: "Part") -> None:
    build_part(builder, part)


@functools.lru_cache(maxsize=1)
def _files(table: str) -> "Mapping[str, RawFile]":
    from lm_pipeline.corpus.raw.raw_files import raw_files

    return {file.path: file for file in raw_files(Path(table))}
