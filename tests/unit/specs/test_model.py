import pytest
from pydantic import TypeAdapter, ValidationError

from lm_pipeline.specs.experiment import Evaluation, ExperimentSpec
from lm_pipeline.specs.model import Model
from lm_pipeline.specs.training import Training

MODEL: TypeAdapter[Model] = TypeAdapter(Model)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"family": "transformer", "positions": "learned", "rope_base": 5e5}, "rope_base is only read where positions"),
        ({"family": "rnn", "initialisation": "le_2015"}, "is for nonlinearity 'relu'"),
        ({"family": "lstm", "width": 32, "embedding_rank": 32}, "embedding_rank 32 is not below width 32"),
        ({"family": "lstm", "weight_drop": 1.0}, "less than 1"),
        ({"family": "gru", "embedding_dropout": 1.0}, "less than 1"),
        ({"family": "gru", "output_dropout": 1.0}, "less than 1"),
        ({"family": "cnn", "dropout": 1.0}, "less than 1"),
        ({"family": "transformer", "lora": {"dropout": 1.0}}, "less than 1"),
    ],
)
def test_a_setting_that_others_make_meaningless_is_refused(model, expected):
    with pytest.raises(ValidationError, match=expected):
        MODEL.validate_python(model)


@pytest.mark.parametrize("form", ["gpt2", "llama"])
def test_what_a_request_or_a_checkpoint_says_of_a_model_is_read_back(form):
    model = MODEL.validate_python({"family": "transformer", "form": form, "width": 32})
    assert MODEL.validate_python(model.model_dump(mode="json")) == model
    training = Training(num_steps=5)
    assert Training.model_validate(training.model_dump(mode="json")) == training


def test_a_form_may_say_what_it_needs():
    llama = MODEL.validate_python({"family": "transformer", "form": "llama", "rope_base": 5e5})
    assert llama.family == "transformer"
    assert llama.rope_base == 5e5
    assert MODEL.validate_python({"family": "rnn", "nonlinearity": "relu", "initialisation": "le_2015"})


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({"num_steps": 100, "warmup_steps": 100}, "warmup_steps 100 leaves no step at the peak"),
        ({"num_steps": 50, "early_stopping_patience": 2}, "50 steps with validation_interval 200 have 1 validations"),
        ({"num_steps": 50, "snapshot_interval": 51}, "snapshot_interval 51 publishes nothing"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"seed": 2**63}, "less than"),  # torch takes no larger one
        ({"schedule": "constant", "min_learning_rate_fraction": 0.5}, "only read where schedule is"),
        ({"batching": "length_buckets", "compile": True}, "compile true compiles for one shape of batches"),
        ({"betas": (1.0, 0.9)}, "less than 1"),  # a mean of no gradient, divided by zero
        ({"betas": (0.9, 1.0)}, "less than 1"),
        ({"optimizer": "sgd", "momentum": 1.0}, "less than 1"),
    ],
)
def test_what_could_never_happen_is_refused(training, expected):
    with pytest.raises(ValidationError, match=expected):
        Training(**training)


def test_a_short_training_needs_no_settings_to_be_one():
    assert Training(num_steps=1).num_steps == 1
    assert Training(num_steps=600, early_stopping_patience=2).early_stopping_patience == 2


def test_an_n_gram_model_is_told_at_once_that_it_has_no_training():
    with pytest.raises(ValidationError, match="an 'ngram' model is counted, not trained: leave `training` out"):
        ExperimentSpec.model_validate(
            {"dataset": "laws", "model": {"family": "ngram"}, "training": {"attention": "fused"}}
        )


def test_attention_is_chosen_for_models_that_have_some():
    for family in ("lstm", "cnn"):
        with pytest.raises(ValidationError, match=f"the family '{family}' has no attention: leave it out"):
            ExperimentSpec.model_validate(
                {"dataset": "laws", "model": {"family": family}, "training": {"attention": "fused"}}
            )
    for family in ("transformer", "encoder"):
        ExperimentSpec.model_validate(
            {"dataset": "laws", "model": {"family": family}, "training": {"attention": "fused"}}
        )


def test_a_bootstrap_has_a_seed_that_numpy_takes():
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Evaluation(seed=-1)
