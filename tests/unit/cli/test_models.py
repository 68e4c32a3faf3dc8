import json

import pytest


@pytest.mark.parametrize("experiment", ["tiny_gru", "tiny_ngram"])
def test_generate_is_seeded_and_streams_what_json_holds(run, built, experiment):
    options = ["--prompt", "The river", "--max-tokens", "8", "--seed", "3"]
    code, out, _ = run("generate", experiment, *options, "--json")
    value = json.loads(out)
    assert code == 0
    [text] = value["completions"]
    assert (value["experiment"], text["prompt"], text["seed"]) == (experiment, "The river", 3)
    assert text["ending"] == "length"
    assert text["num_tokens"] == 8
    code, out, _ = run("generate", experiment, *options)
    assert code == 0
    assert out == "The river" + text["text"] + "\n"
    assert run("generate", experiment, "--temperature", "0", "--max-tokens", "3")[0] == 0


def test_generate_gives_several_texts_of_several_prompts_and_searches_with_beams(run, built):
    options = ["--prompt", "The river", "--prompt", "法律", "--num", "2", "--max-tokens", "6"]
    code, out, _ = run("generate", "tiny_gru", *options, "--json")
    assert code == 0
    texts = json.loads(out)["completions"]
    assert [(text["prompt"], text["seed"]) for text in texts] == [(p, s) for p in ("The river", "法律") for s in (0, 1)]
    code, out, _ = run("generate", "tiny_gru", *options)
    assert out == "\n\n".join(text["prompt"] + text["text"] for text in texts) + "\n"
    code, out, _ = run("generate", "tiny_ngram", *options, "--beams", "3", "--json")
    assert code == 0
    found = json.loads(out)["completions"]
    assert found[0]["log_prob"] >= found[1]["log_prob"] or found[0]["num_tokens"] != found[1]["num_tokens"]
    code, _, err = run("generate", "tiny_gru", "--beams", "3", "--temperature", "1")
    assert code == 2
    assert "--beams 3 searches for the most probable text and draws nothing: set --temperature to 0" in err
    assert "Value error" not in err
    code, _, err = run("generate", "tiny_gru", "--length-penalty", "0.6")
    assert code == 2
    assert "--length-penalty is of beam search: set --beams to 2 or more, or leave it out" in err
    code, _, err = run("generate", "tiny_gru", "--beams", "2", "--num", "3")
    assert code == 6
    assert "3 texts are asked for and 2 beams followed: follow as many." in err
    code, _, err = run("generate", "tiny_gru", "--stop", "")
    assert code == 2
    assert "--stop: " in err


@pytest.mark.parametrize("experiment", ["tiny_gru", "tiny_ngram"])
@pytest.mark.parametrize("text", ["The river reads the law.", "法律条文规定。"])
def test_score_adds_up(run, built, experiment, text):
    code, out, _ = run("score", experiment, text, "--json")
    value = json.loads(out)
    assert code == 0
    assert value["total_log_prob"] == pytest.approx(sum(item["log_prob"] for item in value["tokens"]))
    assert value["num_bytes"] == len(text.encode())
    assert len(value["tokens"]) == value["num_tokens"]
    code, out, _ = run("score", experiment, text)
    assert code == 0
    assert f"{value['total_log_prob']:.4f} nats" in out


def test_an_empty_text_has_no_score(run, built):
    code, out, err = run("score", "tiny_ngram", "")
    assert code == 6
    assert out == ""
    assert err.startswith("lm-pipeline: ")
