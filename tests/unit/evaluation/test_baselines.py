import json
import subprocess
import sys

from lm_pipeline.evaluation.baselines import evaluate_baselines


def test_the_five_gram_beats_the_unigram_and_the_file_holds_the_summary(tokenizer, shards_dir, tmp_path):
    arguments = {"num_bootstrap": 50, "confidence": 0.95, "seed": 0}
    summary = evaluate_baselines(shards_dir, tokenizer.vocab_size, out=tmp_path, **arguments)
    assert json.loads((tmp_path / "baselines.json").read_text("utf-8")) == summary
    assert summary.keys() == {"unigram", "kneser_ney_5"}
    for measured in summary.values():
        assert measured["corpora"].keys() == {"english", "chinese"}
        low, high = measured["overall"]["bits_per_byte_interval"]
        assert low <= measured["overall"]["bits_per_byte"] <= high
    unigram, ngram = (summary[name]["overall"]["perplexity"] for name in ("unigram", "kneser_ney_5"))
    assert ngram < unigram < tokenizer.vocab_size


def test_baselines_need_no_torch():
    code = "import sys, lm_pipeline.evaluation.baselines; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
