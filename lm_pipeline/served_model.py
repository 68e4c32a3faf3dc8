"""A registered model as MLflow loads and serves it: the code that `lm-pipeline register` puts beside the weights.

MLflow runs this file when a model is registered and wherever it is loaded (models from code: nothing is pickled). What
it is given are the files that training wrote: `config.json`, `model.safetensors` and the tokenizer's files.
"""

import threading
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from pydantic import ValidationError

from lm_pipeline import mkl

mkl.use_avx2_kernels()

from lm_pipeline.errors import InputError, LmPipelineError, nearest
from lm_pipeline.evaluation.loading import load_scorer
from lm_pipeline.evaluation.score_text import score_text
from lm_pipeline.generation.generate import as_json, complete
from lm_pipeline.specs.explaining import in_words
from lm_pipeline.specs.generation import Decoding
from lm_pipeline.tokenization.loading import load_tokenizer
from lm_pipeline.tokenization.pretrained import TOKENIZER_JSON
from lm_pipeline.tokenization.tokenizer import MODEL_FILE

METHODS = ("generate", "score")
"""What the parameter `method` may be."""


class ServedModel(PythonModel):
    """A language model that continues texts and gives them probabilities, as `lm-pipeline generate` and `score` do."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load weights and tokenizer, once."""
        files = {name: Path(path) for name, path in context.artifacts.items()}
        self._scorer = load_scorer(files["config.json"].parent)
        self._tokenizer = load_tokenizer(files.get(TOKENIZER_JSON) or files[MODEL_FILE])
        self._turn = threading.Lock()  # one request at a time: scoring sets torch's number of threads

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride] - without a context, as MLflow's documentation has it
        self, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """One answer for each row of the column `text`.

        Args:
            model_input: texts to continue or to score.
            params: `method`, and for `generate` the fields of `specs.generation.Decoding`.

        Returns:
            For `generate` what `generation.generate.as_json` says, for `score` what `score_text` does.

        Raises:
            MlflowException: bad input; the server answers with status 400.
        """
        settings = dict(params or {})
        method = settings.pop("method", METHODS[0])
        try:
            with self._turn:
                return self.ask(method, model_input["text"].tolist(), settings)
        except ValidationError as error:
            raise MlflowException.invalid_parameter_value(in_words(error, Decoding)) from error
        except LmPipelineError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error

    def ask(self, method: str, texts: list[str], settings: dict[str, Any]) -> list[dict[str, Any]]:
        """What `predict` returns, from plain texts.

        Raises:
            InputError: there is no such method, or a text cannot be read.
        """
        if method == "generate":
            decoding = Decoding.model_validate(settings)
            return [as_json(text) for text in complete(self._scorer, self._tokenizer, texts, decoding)]
        if method == "score":
            return [score_text(self._scorer, self._tokenizer, text) for text in texts]
        raise InputError(f"There is no method {method!r}. {nearest(method, METHODS)}")


set_model(ServedModel())
