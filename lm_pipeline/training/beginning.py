"""How a training begins: from the last checkpoint, or fresh."""

import functools
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file

from lm_pipeline.allocator import keep_memory
from lm_pipeline.errors import InputError
from lm_pipeline.models.language_model import LanguageModel, NeuralSpec, build_model
from lm_pipeline.models.lora import load_base
from lm_pipeline.models.storage import WEIGHTS, load_config
from lm_pipeline.specs.model import fields_of_weights
from lm_pipeline.training import checkpoint, choices, environment, sharded, ways
from lm_pipeline.training.averaging import begin_average
from lm_pipeline.training.counters import key_of
from lm_pipeline.training.job import Job
from lm_pipeline.training.measurements import peak_flops
from lm_pipeline.training.optimizers import make_optimizers
from lm_pipeline.training.parallel import parallelise
from lm_pipeline.training.precision import allow_tf32
from lm_pipeline.training.progress import Reporter
from lm_pipeline.training.session import Counters, Session
from lm_pipeline.training.world import World


def begin(job: Job, reporter: Reporter, world: World = World()) -> Session:  # noqa: B008 - frozen
    """The session of the last checkpoint; a fresh one, saved as step 0, where there is none.

    Raises:
        InputError: the folder holds the training of another job or what another version saved, the device is missing,
            or the base is of another shape.
    """
    training, device = job.training, environment.choose_device(job.training)
    environment.make_deterministic(training)
    keep_memory()
    allow_tf32()
    torch.manual_seed(training.seed)
    model = build_model(job.spec, job.vocab_size, training.context_length).to(device).train()
    path = sharded.find(job.checkpoints, reporter.warn, world)
    if path is None and job.base is None and job.spec.output_bias:  # else all weights are there already
        counts_V = world.share(job.train.target_counts(job.vocab_size) if world.is_main else None)
        model.begin_as_unigram(torch.from_numpy(counts_V).to(device))
    if job.base is not None:
        _refuse_another_model(job.spec, load_config(job.base))
        load_base(model, load_file(job.base / WEIGHTS, device=str(device)))
    if world.rank:  # dropout must differ among processes, weights must not
        torch.manual_seed(key_of(training.seed, world.rank))
    here = environment.describe(device) | {"processes": world.size}
    state = None if path is None else _state_of(job, path)
    if state is None:
        chosen, peak = world.share(_measure(job, model, here, world, reporter) if world.is_main else None)
    else:
        chosen, peak = state["choices"], state["peak_flops"]
    way = choices.way_of(chosen)
    ways.apply(model, way)
    losses = parallelise(model, training, world)
    replicas = ways.make_replicas(model, way) if world.size == 1 else None
    if replicas is not None and replicas.size > 1:
        torch.set_num_threads(1)  # the replicas' threads are all that there are
    session = Session(
        model=model,
        losses=losses,
        replicas=replicas,
        optimizers=make_optimizers(model, training),
        world=world,
        choices=chosen,
        peak_flops=peak,
        environment=here,
        key=job.key,
        counters=Counters(),
        carried=[None] * training.accumulation,
        average=None if training.average_decay is None else begin_average(model),
    )
    if path is None or state is None:
        job.work_dir.mkdir(parents=True, exist_ok=True)
        sharded.Saver(job.checkpoints, world).save(0, session.to_checkpoint())
        return session
    session.restore(read(path, session))
    session.counters.resumed_from.append(session.counters.step)
    reporter.info(f"resumed from the checkpoint of step {session.counters.step}")
    changed = environment.differences(state["environment"], here)
    if changed:
        reporter.warn(f"resumed in another environment, so not bitwise equal to no interruption: {'; '.join(changed)}")
    return session


def read(path: Path, session: Session) -> checkpoint.Checkpoint:
    """The checkpoint in a folder, its tensors laid out as the session's are."""
    like = sharded.layouts(dict(session.model.named_parameters()))
    return checkpoint.Checkpoint(sharded.read_tensors(path, like), checkpoint.read_state(path))


def _measure(
    job: Job, model: LanguageModel, here: dict[str, Any], world: World, reporter: Reporter
) -> tuple[choices.Choices, float]:
    """What `auto` becomes, and the peak of the device in the precision that was chosen."""
    training, folder = job.training, job.measurements or job.work_dir / "measurements"
    part = job.plan(job.train, training.seed).batch(0).split(training.accumulation * world.size)[0]

    @functools.cache  # told once, however many measurements there are
    def tell() -> None:
        reporter.info("times a few steps to find the fastest way, once per machine and shape")

    chosen = choices.resolve(model, part, training, here, folder, begins=tell)
    device = model.embedding.weight.device
    peak = peak_flops(chosen["precision"]["value"], device, here, folder)
    environment.forget_peak(device)
    return chosen, peak


def _state_of(job: Job, path: Path) -> dict[str, Any]:
    """What a checkpoint's folder says of a job.

    Raises:
        InputError: it is another job's, or another version of this library saved it.
    """
    state = checkpoint.read_state(path)
    if state["key"] != job.key:
        raise InputError(
            f"{job.work_dir} holds the training of another job (key {state['key']}, not {job.key}). Give each job a"
            " folder of its own, or delete this one."
        )
    try:
        Counters.of(state["counters"])
    except ValueError as error:
        raise InputError(
            f"{path} was saved by another version of lm_pipeline, whose counters are not those of this one ({error})."
            " Finish the training with that version, or materialize the experiment's checkpoint again: it then begins"
            " at step 0, in a folder of its own."
        ) from error
    return state


def _refuse_another_model(spec: NeuralSpec, base: dict[str, Any]) -> None:
    """Weights of equal shape may belong to a model that computes something else: heads, norms, rotary base.

    Raises:
        InputError: the base is another model than the one that begins with it.
    """
    given = fields_of_weights(spec)
    trained = fields_of_weights(TypeAdapter[NeuralSpec](NeuralSpec).validate_python(base["model"]))
    wrong = {name: value for name, value in trained.items() if given.get(name, value) != value}
    if wrong:
        raise InputError(
            f"The base is another model than this one: in it, {', '.join(f'{k} is {v!r}' for k, v in wrong.items())};"
            f" here {', '.join(repr(given[name]) for name in wrong)}. Say so in `model`."
        )
