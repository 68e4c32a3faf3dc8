"""Our side of `benchmarks/training.py`: the loop's own steps, with everything on `auto` that is so by default."""

import sys
from pathlib import Path

from lm_pipeline import mkl

mkl.use_avx2_kernels()  # before torch is imported, as in the process that trains

import numpy as np
from pydantic import TypeAdapter
from segments import Segments, request_of

from lm_pipeline.models.language_model import NeuralSpec
from lm_pipeline.specs.training import Training
from lm_pipeline.training.beginning import begin
from lm_pipeline.training.job import Job
from lm_pipeline.training.loop import take_step
from lm_pipeline.training.plan import TokenStream
from lm_pipeline.training.progress import Reporter


def main() -> None:
    """Train."""
    request = request_of(sys.argv[1])
    tokens = np.load(request["tokens"])
    stream = TokenStream(tokens, np.array([0, len(tokens)]), bos_id=request["bos_id"])
    training = Training(**request["training"], **request["way"])
    spec = TypeAdapter[NeuralSpec](NeuralSpec).validate_python(request["model"])
    job = Job(
        spec=spec,
        training=training,
        vocab_size=request["vocab_size"],
        train=stream,
        validation=None,
        work_dir=Path(request["work_dir"]),
        key="benchmark",
        name_documents=lambda rows: [str(row) for row in rows],
        base=None if request["base"] is None else Path(request["base"]),
    )
    session, plan = begin(job, Reporter(training.num_steps, quiet=True)), job.plan(stream, training.seed)
    assert (plan.batch(0).inputs_BT.numpy() == np.load(request["batches"])[0, :, :-1]).all(), "other batches"
    way = ", ".join(f"{name} {choice['value']}" for name, choice in session.choices.items())
    segments = Segments(request, way)
    segments.begin()
    for _ in range(sum(request["segments"])):
        take_step(session, plan, training)
        segments.step(session.counters.recent_losses[str(training.context_length)][-1])


if __name__ == "__main__":
    main()
