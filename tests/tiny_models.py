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
    """One token a word, w3 to w39, with <bos> in front."""
    words = {"<pad>": 0, "<bos>": 1, "<eos>": 2} | {f"w{i}": i for i in range(3, VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )


def tiny_model(family: str) -> hf.PreTrainedModel:
    """Random weights, large enough that every sublayer matters."""
    torch.manual_seed(0)
    model = hf.AutoModelForCausalLM.from_config(CONFIGS[family]()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model
