"""GPT-2, Llama and BERT of Hugging Face transformers, with copied weights, both ways: logits equal to 1e-5."""

import base64
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from lm_pipeline.errors import InputError
from lm_pipeline.models.encoder_decoder import EncoderDecoder
from lm_pipeline.models.huggingface.model import export_model, form_of, import_all_there_is, import_model, import_spec
from lm_pipeline.models.language_model import build_model
from lm_pipeline.specs.model import EncoderDecoderModel, EncoderModel, LstmModel, TransformerModel

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
VOCAB, CONTEXT = 61, 24
TOKENS = torch.randint(VOCAB, (3, 20), generator=torch.Generator().manual_seed(0))


def theirs(kind: str, **settings):
    """A random model of theirs, its weights spread so that a wrong one shows."""
    import transformers

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": CONTEXT}
    if kind == "gpt2":
        model = transformers.GPT2LMHeadModel(
            transformers.GPT2Config(vocab_size=VOCAB, n_embd=32, n_layer=3, n_head=4, n_positions=CONTEXT, **settings)
        )
    elif kind == "llama":
        config = transformers.LlamaConfig(vocab_size=VOCAB, intermediate_size=72, **sizes | settings)
        model = transformers.LlamaForCausalLM(config)
    else:
        config = transformers.BertConfig(vocab_size=VOCAB, intermediate_size=80, type_vocab_size=2, **sizes | settings)
        model = transformers.BertForMaskedLM(config)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


CASES = {
    "gpt2": ("gpt2", {}),
    "gpt2 untied, exact gelu": ("gpt2", {"tie_word_embeddings": False, "activation_function": "gelu"}),
    "gpt2 relu, narrow": ("gpt2", {"n_inner": 40, "activation_function": "relu"}),
    "llama": ("llama", {}),
    "llama grouped, tied": ("llama", {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    "llama biases, wide heads": ("llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 12}),
    "llama another base": ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}),
    "bert": ("bert", {}),
    "bert relu": ("bert", {"hidden_act": "relu"}),
}


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_an_imported_model_gives_their_logits(name, tmp_path):
    kind, settings = CASES[name]
    model = theirs(kind, **settings)
    model.save_pretrained(tmp_path)
    ours = import_model(tmp_path)
    torch.testing.assert_close(ours.logits(ours(TOKENS)[0]), model(TOKENS).logits, **TOLERANCE)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_their_cache_and_ours_go_on_alike(kind, tmp_path):
    model = theirs(kind)
    model.save_pretrained(tmp_path)
    ours = import_model(tmp_path)
    first = model(TOKENS[:, :12], use_cache=True)
    _, state = ours(TOKENS[:, :12])
    expected = model(TOKENS[:, 12:], cache=first.cache).logits
    torch.testing.assert_close(ours.logits(ours(TOKENS[:, 12:], state)[0]), expected, **TOLERANCE)


@torch.no_grad()
def test_padding_of_an_encoder_is_theirs(tmp_path):
    model = theirs("bert")
    model.save_pretrained(tmp_path)
    ours = import_model(tmp_path)
    is_text = torch.ones_like(TOKENS)
    is_text[0, 12:] = 0
    expected = model(TOKENS, attention_mask=is_text).logits
    found = ours.logits(ours(TOKENS, documents_BT=is_text)[0])
    torch.testing.assert_close(found[is_text == 1], expected[is_text == 1], **TOLERANCE)


@torch.no_grad()
def test_norms_of_berts_first_releases_are_found_by_their_old_names(tmp_path):
    """`google-bert/bert-base-uncased` and `bert-base-chinese` name them as TensorFlow did."""
    model = theirs("bert")
    model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in load_file(path).items()
    }
    assert sum(name.endswith(("LayerNorm.gamma", "LayerNorm.beta")) for name in old) == 2 * (1 + 2 * 3 + 1)
    save_file(old, path, {"format": "pt"})
    ours, unused = import_all_there_is(tmp_path)
    assert unused == []
    torch.testing.assert_close(ours.logits(ours(TOKENS)[0]), model(TOKENS).logits, **TOLERANCE)


def test_weights_without_a_place_are_named_and_missing_ones_refused(tmp_path):
    theirs("llama").save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    whole = load_file(path)
    assert import_all_there_is(tmp_path)[1] == []
    more = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),  # computed here
        "model.layers.0.self_attn.q_proj.bias": torch.ones(32),
        "value_head.weight": torch.ones(1, 32),
    }
    save_file(whole | more, path, {"format": "pt"})
    assert import_all_there_is(tmp_path)[1] == ["model.layers.0.self_attn.q_proj.bias", "value_head.weight"]
    save_file({name: tensor for name, tensor in whole.items() if "norm" not in name}, path, {"format": "pt"})
    with pytest.raises(InputError, match=r"lack 7 tensors that the model of config.json has; the first is 'model.norm"):
        import_model(tmp_path)
    save_file(whole | {"model.norm.weight": torch.ones(7)}, path, {"format": "pt"})
    with pytest.raises(InputError, match=r"(?s)do not fit its config.json: .*backbone.norm.weight"):
        import_model(tmp_path)


def test_a_copy_of_tied_weights_is_nothing_unused_and_other_values_are(tmp_path):
    theirs("gpt2").save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    whole = load_file(path)
    embedding = whole["transformer.wte.weight"]
    save_file(whole | {"lm_head.weight": embedding.clone()}, path, {"format": "pt"})
    assert import_all_there_is(tmp_path)[1] == []
    save_file(whole | {"lm_head.weight": embedding + 1}, path, {"format": "pt"})
    assert import_all_there_is(tmp_path)[1] == ["lm_head.weight"]


OURS = {
    "gpt2": TransformerModel(form="gpt2", num_layers=2, width=32, num_heads=4),
    "gpt2 untied": TransformerModel(form="gpt2", num_layers=2, width=32, num_heads=2, tie_embeddings=False),
    "llama": TransformerModel(form="llama", num_layers=2, width=32, num_heads=4, num_kv_heads=2),
    "llama tied": TransformerModel(form="llama", num_layers=2, width=32, num_heads=4, tie_embeddings=True),
    "bert": EncoderModel(num_layers=2, width=32, num_heads=4),
}


@torch.no_grad()
@pytest.mark.parametrize("name", OURS)
def test_an_exported_model_loads_there_and_comes_back(name, tmp_path):
    import transformers

    torch.manual_seed(0)
    model = build_model(OURS[name], VOCAB, CONTEXT).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    kind = export_model(model, tmp_path)
    auto = transformers.AutoModelForMaskedLM if kind == "bert" else transformers.AutoModelForCausalLM
    loaded, report = auto.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    expected = model.logits(model(TOKENS)[0])
    torch.testing.assert_close(loaded.eval()(TOKENS).logits, expected, **TOLERANCE)
    again = import_model(tmp_path)
    assert torch.equal(again.logits(again(TOKENS)[0]), expected)
    if kind != "bert":
        settings = {"max_new_tokens": 15, "do_sample": False, "eos_token_id": None}
        written = loaded.generate(TOKENS[:1, :5], attention_mask=torch.ones(1, 5, dtype=torch.int64), **settings)
        assert written[0].tolist() == greedy(model, TOKENS[0, :5].tolist(), 15)


def greedy(model, tokens: list[int], num_new: int) -> list[int]:
    state, read = None, tokens
    for _ in range(num_new):
        hidden, state = model(torch.tensor([read]), state)
        read = [int(model.logits(hidden[0, -1]).argmax())]
        tokens = tokens + read
    return tokens


def test_a_form_of_no_one_is_refused_by_the_fields_that_stand_in_the_way():
    with pytest.raises(InputError, match=r"For gpt2: positions must be 'learned'.*For llama: .*norm must be 'rms'"):
        form_of(TransformerModel())
    with pytest.raises(InputError, match="no 'lstm' language model"):
        form_of(LstmModel())
    with pytest.raises(InputError, match=r"model_type 'gpt_2' is none.*Did you mean 'gpt2'"):
        import_spec({"model_type": "gpt_2"})
    with pytest.raises(InputError, match="rope_type 'yarn'"):
        import_spec(theirs("llama").config.to_dict() | {"rope_parameters": {"rope_type": "yarn"}})
    with pytest.raises(InputError, match="rope_type 'linear'"):  # as older versions of theirs wrote it
        import_spec(theirs("llama").config.to_dict() | {"rope_parameters": None, "rope_scaling": {"type": "linear"}})
    with pytest.raises(InputError, match="position_embedding_type: 'relative_key'"):
        import_spec(theirs("bert").config.to_dict() | {"position_embedding_type": "relative_key"})


def golden(entry: dict) -> Tensor:
    data = np.frombuffer(base64.b64decode(entry["data"]), np.float32)
    return torch.from_numpy(data.copy()).view(entry["shape"])


@torch.no_grad()
def test_every_layer_of_a_real_gpt2_has_its_recorded_activations(shared_data):
    """A GPT-2 that sorts; activations recorded by another implementation of it, to 1e-4."""
    folder = shared_data / "small/models/gpt-nano-sort"
    record = json.loads((folder / "gpt-nano-sort-t0-partials.json").read_text("utf-8"))
    model = import_model(folder)
    seen: dict[str, Tensor] = {}

    def keep(name):
        def hook(_module, _inputs, output):
            seen[name] = output[0] if isinstance(output, tuple) else output

        return hook

    blocks = model.backbone.blocks
    parts = {"ln1": blocks[0].attention_norm, "qkv": blocks[0].attention.qkv, "yProj": blocks[0].attention.out}
    parts |= {"ln2": blocks[0].mlp_norm, "fc": blocks[0].mlp.up, "mlp": blocks[0].mlp.down}
    parts |= {f"block{index}": block for index, block in enumerate(blocks)} | {"ln_f": model.backbone.norm}
    for name, part in parts.items():
        part.register_forward_hook(keep(name))
    tokens = golden(record["idx"]).long()
    seen["lm_head"] = model.logits(model(tokens)[0])
    assert len(seen) == 11
    for name, value in seen.items():
        torch.testing.assert_close(value, golden(record[name]), rtol=1e-4, atol=1e-4, msg=lambda m, name=name: name + m)


@torch.no_grad()
def test_a_real_llama_writes_its_documented_story(shared_data):
    import transformers

    folder = shared_data / "small/models/stories260K"
    model = import_model(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = tokenizer.decode(greedy(model, [tokenizer.bos_token_id], 200), skip_special_tokens=True)
    documented = (folder / "stories260K.md").read_text("utf-8").split("```")[3].split("\n", 2)[2]
    assert len(text) > 300
    assert documented.startswith(text.strip())


@torch.no_grad()
def test_a_real_llama_has_its_documented_loss_on_the_stories_that_are_here(shared_data):
    """Windows of 512 over all stories, each begun by BOS, as its trainer validates.

    The documented 1.2968 is over a validation split that is not here. Five stories of it come within 0.004; one story
    differs from another by 0.2, so the equality with transformers is the sharper half of this test.
    """
    import transformers

    folder = shared_data / "small/models/stories260K"
    assert "achieves validation loss of 1.2968" in (folder / "stories260K.md").read_text("utf-8")
    sample = shared_data / "small/tokenizers/cs336-bpe-reference/tinystories_sample.txt"
    stories = [story.strip() for story in sample.read_text("utf-8").split("<|endoftext|>") if story.strip()]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    stream = [token for story in stories for token in tokenizer(story).input_ids]
    ours, theirs = import_model(folder), transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    nll_sum, theirs_sum, count = 0.0, 0.0, 0
    for begin in range(0, len(stream) - 1, 512):
        window = torch.tensor([stream[begin : begin + 513]])
        inputs, targets = window[:, :-1], window[:, 1:]
        nll, num_targets, _ = ours.loss_sums(inputs, targets)
        nll_sum, count = nll_sum + nll.item(), count + num_targets
        theirs_sum += F.cross_entropy(theirs(inputs).logits[0], targets[0], reduction="sum").item()
    assert count == len(stream) - 1 == 1808
    assert nll_sum / count == pytest.approx(theirs_sum / count, abs=1e-5)
    assert nll_sum / count == pytest.approx(1.2968, abs=0.01)


@torch.no_grad()
def test_the_encoder_decoder_is_bart():
    import transformers

    torch.manual_seed(0)
    config = transformers.BartConfig(
        vocab_size=VOCAB,
        d_model=32,
        encoder_layers=2,
        decoder_layers=3,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=CONTEXT,
    )
    model = transformers.BartForConditionalGeneration(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    spec = EncoderDecoderModel(
        num_layers=3,
        num_encoder_layers=2,
        width=32,
        num_heads=4,
        mlp_ratio=2,
        positions="learned",
        activation="gelu",
        norm_position="post",
        final_norm=False,
        embedding_norm=True,
    )
    ours = EncoderDecoder(spec, VOCAB, CONTEXT).eval()
    weights = {"embedding.weight": model.model.shared.weight, "output_bias_V": model.final_logits_bias[0]}
    for side in ("encoder", "decoder"):
        theirs = dict(getattr(model.model, side).named_parameters())
        weights[f"{side}.positions.table_TD"] = theirs["embed_positions.weight"][2:]  # BART counts from 2
        for kind in ("weight", "bias"):
            weights[f"{side}.embedding_norm.{kind}"] = theirs[f"layernorm_embedding.{kind}"]
            for layer in range(2 if side == "encoder" else 3):
                block, name = f"{side}.blocks.{layer}", f"layers.{layer}"

                def joined(parts, attention, name=name, kind=kind, theirs=theirs):
                    return torch.cat([theirs[f"{name}.{attention}.{part}_proj.{kind}"] for part in parts])

                weights[f"{block}.attention.qkv.{kind}"] = joined("qkv", "self_attn")
                weights[f"{block}.attention.out.{kind}"] = theirs[f"{name}.self_attn.out_proj.{kind}"]
                weights[f"{block}.attention_norm.{kind}"] = theirs[f"{name}.self_attn_layer_norm.{kind}"]
                weights[f"{block}.mlp.up.{kind}"] = theirs[f"{name}.fc1.{kind}"]
                weights[f"{block}.mlp.down.{kind}"] = theirs[f"{name}.fc2.{kind}"]
                weights[f"{block}.mlp_norm.{kind}"] = theirs[f"{name}.final_layer_norm.{kind}"]
                if side == "decoder":
                    weights[f"{block}.cross.q.{kind}"] = theirs[f"{name}.encoder_attn.q_proj.{kind}"]
                    weights[f"{block}.cross.kv.{kind}"] = joined("kv", "encoder_attn")
                    weights[f"{block}.cross.out.{kind}"] = theirs[f"{name}.encoder_attn.out_proj.{kind}"]
                    weights[f"{block}.cross_norm.{kind}"] = theirs[f"{name}.encoder_attn_layer_norm.{kind}"]
    ours.load_state_dict(weights)
    source, is_text = TOKENS[:, :13], torch.ones(3, 13, dtype=torch.int64)
    is_text[1, 8:] = 0
    expected = model(input_ids=source, attention_mask=is_text, decoder_input_ids=TOKENS).logits
    found = ours.logits(ours(TOKENS, ours.encode(source, is_text))[0])
    torch.testing.assert_close(found, expected, **TOLERANCE)


@torch.no_grad()
def test_parallel_blocks_are_those_of_phi():
    """One norm for attention and feed-forward layer; rotary positions on whole heads."""
    import transformers

    torch.manual_seed(0)
    config = transformers.PhiConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 1.0},
    )
    model = transformers.PhiForCausalLM(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    spec = TransformerModel(
        num_layers=2, width=32, num_heads=4, mlp_ratio=2, parallel_blocks=True, tie_embeddings=False
    )
    ours = build_model(spec, VOCAB, CONTEXT).eval()
    theirs = dict(model.named_parameters())
    weights = {"embedding.weight": theirs["model.embed_tokens.weight"], "output_weight_VE": theirs["lm_head.weight"]}
    weights["output_bias_V"] = theirs["lm_head.bias"]
    for kind in ("weight", "bias"):
        weights[f"backbone.norm.{kind}"] = theirs[f"model.final_layernorm.{kind}"]
        for layer in range(2):
            block, name = f"backbone.blocks.{layer}", f"model.layers.{layer}"
            parts = [theirs[f"{name}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            weights[f"{block}.attention.qkv.{kind}"] = torch.cat(parts)
            weights[f"{block}.attention.out.{kind}"] = theirs[f"{name}.self_attn.dense.{kind}"]
            weights[f"{block}.attention_norm.{kind}"] = theirs[f"{name}.input_layernorm.{kind}"]
            weights[f"{block}.mlp.up.{kind}"] = theirs[f"{name}.mlp.fc1.{kind}"]
            weights[f"{block}.mlp.down.{kind}"] = theirs[f"{name}.mlp.fc2.{kind}"]
    ours.load_state_dict(weights)
    torch.testing.assert_close(ours.logits(ours(TOKENS)[0]), model(TOKENS).logits, **TOLERANCE)
