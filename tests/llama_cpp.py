"""llama.cpp, as the package `xllamacpp` brings it."""

import json
import urllib.request
from pathlib import Path


class Served:
    """llama.cpp's own server over a file, in this process."""

    def __init__(self, path: Path) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.warmup, params.verbosity = 256, False, -1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._server = xllamacpp.Server(params)

    def ask(self, path: str, **body):
        data = json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self._server.listening_address}/{path}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def tokenize(self, text: str) -> list[int]:
        return self.ask("tokenize", content=text, add_special=True, parse_special=False)["tokens"]

    def next_token(self, ids: list[int], banned: list[int], num_probs: int) -> dict:
        """The most probable token that is not banned, and the probabilities of all."""
        bias = [[token, False] for token in banned]
        answer = self.ask("completion", prompt=ids, n_predict=1, temperature=0, n_probs=num_probs, logit_bias=bias)
        return answer["completion_probabilities"][0]
