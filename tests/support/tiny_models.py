"""Tiny random models of every family in the capture map, saved as ordinary checkpoints."""

import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers, processors

VOCABULARY, WIDTH, LAYERS, POSITIONS = 40, 16, 3, 64
COMMON = dict(
    vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=2, intermediate_size=24,
    max_position_embeddings=POSITIONS, pad_token_id=0, bos_token_id=1, eos_token_id=2, attn_implementation="eager",
)  # fmt: skip
GROUPED = COMMON | dict(num_key_value_heads=1, sliding_window=8)
GEMMA = GROUPED | dict(head_dim=8, query_pre_attn_scalar=8)

CONFIGS = {
    "llama": lambda: hf.LlamaConfig(**COMMON),
    "mistral": lambda: hf.MistralConfig(**GROUPED),
    "qwen2": lambda: hf.Qwen2Config(**GROUPED),
    "qwen3": lambda: hf.Qwen3Config(**GROUPED, head_dim=8),
    "phi3": lambda: hf.Phi3Config(**COMMON),
    "olmo": lambda: hf.OlmoConfig(**COMMON),
    "olmo2": lambda: hf.Olmo2Config(**COMMON),
    "olmo3": lambda: hf.Olmo3Config(**GROUPED),
    "gemma2": lambda: hf.Gemma2Config(**GEMMA),
    "gemma3_text": lambda: hf.Gemma3TextConfig(**GEMMA),
    "gemma3": lambda: hf.Gemma3Config(text_config=GEMMA, vision_config=TINY_VISION, attn_implementation="eager"),
    "gpt2": lambda: hf.GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=2,
        n_positions=POSITIONS,
        bos_token_id=1,
        eos_token_id=2,
        attn_implementation="eager",
    ),
    "gpt_neox": lambda: hf.GPTNeoXConfig(**COMMON),
    "gpt_neox_sequential": lambda: hf.GPTNeoXConfig(**COMMON, use_parallel_residual=False),
}
TINY_VISION = dict(
    hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=8, patch_size=4
)


def tiny_tokenizer():
    """Return a tokenizer with one token a word, w3 to w39, and <bos> in front."""
    words = {"<pad>": 0, "<bos>": 1, "<eos>": 2} | {f"w{i}": i for i in range(3, VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )


def tiny_model(family: str) -> hf.PreTrainedModel:
    """Return a model with random weights, large enough that every sublayer matters."""
    torch.manual_seed(0)
    model = hf.AutoModelForCausalLM.from_config(CONFIGS[family]()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def reading_tokenizer():
    """Return the tiny tokenizer with every other word read as w3, so that it takes any text."""
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.model = models.WordLevel(tokenizer.get_vocab(), unk_token="w3")
    return tokenizer


WIDE = dict(hidden_size=64, intermediate_size=128)
"""4-bit kernels take 64 weights to a block."""
WIDE_CONFIGS = {
    "llama": lambda: hf.LlamaConfig(**COMMON | WIDE),
    "olmo3": lambda: hf.Olmo3Config(**GROUPED | WIDE),
    "gpt_neox": lambda: hf.GPTNeoXConfig(**COMMON | WIDE),
    "gpt2": lambda: hf.GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=64,
        n_layer=LAYERS,
        n_head=2,
        n_positions=POSITIONS,
        bos_token_id=1,
        eos_token_id=2,
    ),  # fmt: skip
}


def save_wide_model(family: str, folder) -> hf.PreTrainedModel:
    """Save a random model of width 64 with its tokenizer."""
    torch.manual_seed(0)
    model = hf.AutoModelForCausalLM.from_config(WIDE_CONFIGS[family]()).eval()
    model.save_pretrained(folder)
    reading_tokenizer().save_pretrained(folder)
    return model


PIECES = [chr(c) for c in [*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324)]] + ["th"]
"""Byte-level BPE: one printable character per byte, and one merge."""
GGUF_NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "model.layers": "blk",
}  # fmt: skip


def save_llama_gguf(path, extra: dict | None = None) -> hf.PreTrainedModel:
    """Write a random Llama as a GGUF file in float32, the way llama.cpp converts it; ``extra`` tensors go in as they are."""
    from gguf import GGUFWriter

    torch.manual_seed(0)
    sizes = COMMON | dict(vocab_size=len(PIECES) + 3, num_attention_heads=4, num_key_value_heads=2)
    config = hf.LlamaConfig(**sizes)
    model = hf.AutoModelForCausalLM.from_config(config).eval()
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["<pad>", "<bos>", "<eos>", *PIECES])
    writer.add_token_types([3, 3, 3, *[1] * len(PIECES)])  # 3 is control, 1 is normal
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for name, value in model.state_dict().items():
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
        value = value if heads is None else interleaved(value, heads)
        for ours, theirs in GGUF_NAMES.items():
            name = name.replace(ours, theirs)
        writer.add_tensor(name, value.contiguous().numpy())
    for name, value in (extra or {}).items():
        writer.add_tensor(name, value.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def interleaved(weight, heads: int):
    """Return the rows of a head's two rotary halves, alternating: the order of llama.cpp."""
    rows, columns = weight.shape
    return weight.view(heads, 2, rows // heads // 2, columns).transpose(1, 2).reshape(rows, columns)
