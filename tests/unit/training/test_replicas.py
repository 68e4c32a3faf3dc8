"""Threads that divide the rows of a batch give what one model gives."""

import os
import signal
from dataclasses import replace

import pytest
import torch

from lm_pipeline.errors import InputError
from lm_pipeline.models.language_model import build_model
from lm_pipeline.models.loss import IGNORE, Penalties
from lm_pipeline.specs.model import EncoderModel, TransformerModel
from lm_pipeline.specs.training import Training
from lm_pipeline.training import checkpoint
from lm_pipeline.training.choices import decide
from lm_pipeline.training.clock import Clock
from lm_pipeline.training.loop import train
from lm_pipeline.training.plan import Batch
from lm_pipeline.training.precision import autocast
from lm_pipeline.training.replicas import Replicas
from tests.unit.training.conftest import FORMS, SPECS, VOCAB_SIZE

PENALTIES = Penalties(label_smoothing=0.1, z_loss=1e-3)
UNDROPPED = {
    "dropout": 0.0,
    "embedding_dropout": 0.0,
    "weight_drop": 0.0,
    "variational_dropout": False,
}


def without_dropout(form):
    spec = (SPECS | FORMS)[form]
    changes = {name: value for name, value in UNDROPPED.items() if hasattr(spec, name)}
    lora = getattr(spec, "lora", None)
    if lora is not None:
        changes["lora"] = lora.model_copy(update={"dropout": 0.0})
    return spec.model_copy(update=changes)


def fresh(form):
    torch.manual_seed(0)
    model = build_model(without_dropout(form), VOCAB_SIZE, 9).train()
    for name, parameter in model.named_parameters():
        if name.endswith("up_OR"):
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def batches():
    """Two batches of 5 rows, of which the second reads on; where a document ends differs by row."""
    tokens = torch.randint(4, VOCAB_SIZE, (2, 5, 10))
    documents = torch.arange(9).expand(5, 9) // torch.arange(3, 8)[:, None]
    return [Batch(t[:, :-1].contiguous(), t[:, 1:].contiguous(), i == 0, documents) for i, t in enumerate(tokens)]


def of_the_model(model, precision):
    """Sums and gradients by autograd and autocast alone."""
    sums, state = [], None
    for batch in batches():
        with autocast(precision, torch.device("cpu")):
            objective, nll_sum, after = model.training_sums(
                batch.inputs_BT, batch.targets_BT, state, batch.documents_BT, PENALTIES
            )
        (objective * 0.5).backward()
        state = after.detach() if model.is_recurrent else None
        sums.append(nll_sum)
    return sums, [p.grad for p in model.parameters() if p.requires_grad]


def of_replicas(model, precision, size, *, compiled=False):
    replicas = Replicas(model, precision, size, compiled=compiled)
    replicas.refresh()
    sums, state = [], None
    for batch in batches():
        nll_sum, after = replicas.differentiate(batch, state, PENALTIES, 0.5, Clock())
        state = after if model.is_recurrent else None
        sums.append(nll_sum)
    return sums, [p.grad for p in model.parameters() if p.requires_grad]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(1)


@pytest.mark.parametrize("size", [2, 3, 8])
def test_rows_divided_among_threads_have_the_loss_and_the_gradients_of_the_whole(form, size):
    torch.manual_seed(1)
    sums, gradients = of_the_model(fresh(form), "float32")
    divided_sums, divided = of_replicas(fresh(form), "float32", size)
    torch.testing.assert_close(torch.stack(divided_sums), torch.stack(sums), rtol=1e-6, atol=0)
    for ours, theirs in zip(divided, gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_weights_that_are_cast_once_a_step_give_autocasts_gradients_to_the_bit(form):
    model = fresh(form)
    sums, gradients = of_the_model(model, "bfloat16")
    torch.manual_seed(1)
    once_sums, once = of_replicas(fresh(form), "bfloat16", 1)
    assert torch.equal(torch.stack(once_sums), torch.stack(sums))
    for ours, theirs in zip(once, gradients, strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs)


def test_replicas_follow_the_weights_and_evaluate_as_the_model_does(form):
    model = fresh(form)
    replicas = Replicas(model, "bfloat16", 2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    model.eval()
    replicas.refresh()
    batch = batches()[0]
    with torch.no_grad(), autocast("bfloat16", torch.device("cpu")):
        _, expected, _ = model.training_sums(batch.inputs_BT, batch.targets_BT, None, batch.documents_BT)
    found, _ = replicas.sums(batch, None)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.fixture
def one_thread_afterwards():
    """For what follows, as before."""
    yield
    torch.set_num_threads(1)


def interrupted_and_not(family, make_job, listener, folder, settings):
    """Tensors of the last checkpoint of a training, and of the same one that was interrupted and taken up again."""
    spec = without_dropout(family)
    whole, cut = (replace(make_job(family, folder / name, **settings), spec=spec) for name in ("whole", "cut"))
    session, _ = train(whole, listener)
    assert {
        name: session.choices[name]["value"] for name in settings if name in session.choices
    }.items() <= settings.items()

    def interfere(reported):
        if reported == 4:
            os.kill(os.getpid(), signal.SIGINT)

    listener.at_point = interfere
    _, interrupted = train(cut, listener)
    assert interrupted
    listener.at_point = None
    train(cut, listener)
    return [checkpoint.load_latest(job.checkpoints, pytest.fail).tensors for job in (whole, cut)]


@pytest.mark.parametrize("family", ["lstm", "transformer"])
@pytest.mark.usefixtures("one_thread_afterwards")
def test_resume_is_bitwise_identical_where_threads_share_rows(family, make_job, listener, tmp_path):
    settings = {"thread_sharing": "rows", "num_threads": 2, "accumulation": 2}
    whole, cut = interrupted_and_not(family, make_job, listener, tmp_path, settings)
    assert all(torch.equal(tensor, cut[name]) for name, tensor in whole.items())


@pytest.mark.usefixtures("one_thread_afterwards")
def test_a_model_that_drops_is_not_divided(make_job, listener, tmp_path):
    with pytest.raises(InputError, match="thread_sharing is 'rows', but dropout"):
        train(make_job("gru", tmp_path, thread_sharing="rows", num_threads=2), listener)


def test_threads_give_equal_bits_each_time_where_layers_share_their_weights():
    """A thread that is done early must not decide how often the weights of another one's layers are cast."""
    torch.manual_seed(0)
    spec = TransformerModel(num_layers=6, num_heads=2, width=32, dropout=0.0, share_layers=True)
    model = build_model(spec, VOCAB_SIZE, 32).train()
    tokens = torch.randint(4, VOCAB_SIZE, (8, 33))
    replicas, found = Replicas(model, "bfloat16", 2), set()
    replicas.refresh()
    for _ in range(40):
        model.zero_grad()
        replicas.differentiate(Batch(tokens[:, :-1], tokens[:, 1:], True), None, Penalties(), 1.0, Clock())
        found.add(tuple(p.grad.double().sum().item() for p in model.parameters()))
    assert len(found) == 1


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # the compiler's own look at an embedding
@pytest.mark.usefixtures("one_thread_afterwards")
def test_compiled_replicas_give_the_gradients_of_the_model_and_equal_bits_each_time():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    spec = TransformerModel(num_layers=1, num_heads=2, width=16, dropout=0.0)
    model, tokens = build_model(spec, VOCAB_SIZE, 8).train(), torch.randint(4, VOCAB_SIZE, (4, 9))
    batch = Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous(), True)

    def sums_and_gradients(**settings):
        replicas = Replicas(model, "float32", **settings)
        model.zero_grad()
        nll_sum, _ = replicas.differentiate(batch, None, Penalties(), 1.0, Clock())
        return nll_sum, [p.grad for p in model.parameters()]

    (nll, gradients), first, again = (sums_and_gradients(size=size, compiled=size > 1) for size in (1, 2, 2))
    torch.testing.assert_close(first[0], nll, rtol=1e-6, atol=0)
    assert torch.equal(again[0], first[0])
    for ours, same, theirs in zip(first[1], again[1], gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
        assert torch.equal(ours, same)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_an_encoder_is_compiled_once_however_many_tokens_are_masked():
    spec = EncoderModel(num_layers=1, num_heads=2, width=16, dropout=0.0)
    replicas = Replicas(build_model(spec, VOCAB_SIZE, 8).train(), "float32", 1, compiled=True)
    graphs = []
    for num_masked in (3, 5, 7):
        tokens = torch.randint(4, VOCAB_SIZE, (4, 8))
        targets = torch.full_like(tokens, IGNORE)
        targets.view(-1)[:num_masked] = 4
        replicas.differentiate(Batch(tokens, targets, True), None, Penalties(), 1.0, Clock())
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert graphs[0] > 0
    assert graphs[1:] == graphs[:1] * 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute")
@pytest.mark.parametrize("sharing", ["operations", "rows"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.usefixtures("one_thread_afterwards")
def test_resume_is_bitwise_identical_where_the_backbone_is_compiled(sharing, precision, make_job, listener, tmp_path):
    settings = {"thread_sharing": sharing, "precision": precision, "compile": True, "num_threads": 2}
    whole, cut = interrupted_and_not("transformer", make_job, listener, tmp_path, settings)
    assert all(torch.equal(tensor, cut[name]) for name, tensor in whole.items())


def test_a_recurrent_model_is_not_compiled(make_job, listener, tmp_path):
    """Each window has another position in the text, and would be compiled for itself."""
    with pytest.raises(InputError, match="compile is true, but a recurrent model"):
        train(make_job("gru", tmp_path, compile=True), listener)
    session, _ = train(make_job("lstm", tmp_path, compile="auto"), listener)
    assert "recurrent" in session.choices["compile"]["reason"]


def of_explicit(operations, rows):
    return {"explicit/operations": operations, "explicit/rows": rows}


def test_what_threads_share_is_decided_by_the_code_that_will_run():
    timings = {"matmul_seconds": {}, "step_seconds": {}, "sharing_seconds": of_explicit(3.0, 2.0)}
    timings |= {"compiled_seconds": of_explicit(1.0, 1.0), "compile_seconds": 30.0}
    fixed = {"precision": "float32", "attention": "explicit"}
    chosen = decide(timings, Training(**fixed))
    assert (chosen["compile"]["value"], chosen["thread_sharing"]["value"]) == (True, "operations")
    chosen = decide(timings, Training(**fixed, compile=False))
    assert (chosen["compile"]["value"], chosen["thread_sharing"]["value"]) == (False, "rows")
    timings["compiled_seconds"] = of_explicit(1.0, 0.5)
    chosen = decide(timings, Training(**fixed, compile=True))
    assert (chosen["compile"]["value"], chosen["thread_sharing"]["value"]) == (True, "rows")


def test_rows_are_divided_where_that_is_faster():
    def value(**seconds):
        timings = {"matmul_seconds": {}, "step_seconds": {}, "sharing_seconds": of_explicit(**seconds)}
        return decide(timings, Training(precision="float32", attention="explicit", compile=False))["thread_sharing"][
            "value"
        ]

    assert value(operations=2.0, rows=1.0) == "rows"
    assert value(operations=1.0, rows=1.0) == "operations"
