"""Collection against the bare forward pass, its arithmetic, a naive loop, and two other libraries, in one run.

Usage: python -m tests.speed.collection [--repeats N]

A model of the shape of GPT-2 small with random weights, 200 prompts with the lengths of GSM8K's, resid_mid and
resid_post of every block, last token. One thread, as everywhere in the project. Nothing is asserted: times
depend on the machine. Each way takes its turn in every round, so that a slow moment hits all of them; the table
gives the median over rounds. The other libraries are compared where they are installed:
`pip install transformer-lens nnsight`, in an environment of their own.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from stages.activations.params import Collect
from stages.activations.tokens import Tokens, batches
from stages.paradigms import shards
from stages.paradigms.shards import ShardPlan

BUDGETS = (512, 1024, 2048, 4096)
SITES = ["resid_mid", "resid_post"]
log = logging.getLogger(__name__)


def gsm8k_tokens(prompts: int, vocabulary: int, seed: int = 0) -> Tokens:
    """Return random ids with the lengths of GSM8K's questions in their template: log-normal, mean 76 tokens, 30 to 230."""
    random = np.random.default_rng(seed)
    lengths = np.clip(np.exp(random.normal(4.27, 0.36, prompts)), 30, 230).astype(int)
    ids = [random.integers(3, vocabulary, length) for length in lengths]
    return Tokens(tuple(map(str, range(prompts))), ids, [np.arange(len(i)) > 0 for i in ids])


def parameters(tokens_per_batch: int, aggregation: str = "last_token") -> Collect:
    return Collect.model_validate(
        {
            "prompts": 200, "aggregations": [aggregation], "sites": SITES, "tokens_per_batch": tokens_per_batch,
            "precision": "float32", "all_tokens_dtype": "bfloat16",
            "quality": {"usable": 0.8, "norm_low": 1e-3, "norm_high": 1e6},
        }
    )  # fmt: skip


def padded(tokens: Tokens, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return right-padded ids (batch, tokens) and the last positions (batch,)."""
    lengths = tokens.lengths[rows]
    ids = np.zeros((len(rows), lengths.max()), int)
    for row, prompt in zip(ids, rows, strict=True):
        row[: tokens.lengths[prompt]] = tokens.ids[prompt]
    return torch.from_numpy(ids), torch.from_numpy(lengths - 1)


def collected(model: GPT2LMHeadModel, tokens: Tokens, budget: int, aggregation: str = "last_token") -> None:
    """Collect in this project's way, shards on disk included."""
    with tempfile.TemporaryDirectory() as folder:
        rows = batches(tokens.lengths, budget)
        params = parameters(budget, aggregation)
        # all_tokens in shards of a few batches, so that most of the writing happens beside the next passes
        shards.compute(model, ShardPlan("gsm8k", tokens, Path(folder), [rows]), 0, params, budget)


@torch.inference_mode()
def bare(model: GPT2LMHeadModel, tokens: Tokens, budget: int) -> None:
    """Run the body alone over the same batches; nothing is kept."""
    for rows in batches(tokens.lengths, budget):
        model.transformer(input_ids=padded(tokens, rows)[0], use_cache=False)


@torch.inference_mode()
def naive(model: GPT2LMHeadModel, tokens: Tokens) -> None:
    """Run one text at a time, with logits and every hidden state."""
    kept = []
    for ids in tokens.ids:
        output = model(input_ids=torch.from_numpy(ids)[None], output_hidden_states=True, use_cache=False)
        kept.append(torch.stack([hidden[0, -1] for hidden in output.hidden_states]).numpy())


def transformer_lens(model: GPT2LMHeadModel) -> Callable[[Tokens, int], None]:
    """Return a run of TransformerBridge at the same sites, in the same batches."""
    from transformer_lens.model_bridge import TransformerBridge

    with (
        tempfile.TemporaryDirectory() as folder
    ):  # any tokenizer: it is given ids, but asks the hub for GPT-2's otherwise
        words = Tokenizer(WordLevel({"<unk>": 0}, unk_token="<unk>"))
        special = dict.fromkeys(("unk_token", "bos_token", "eos_token", "pad_token"), "<unk>")
        PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        bridge = TransformerBridge.boot_transformers("gpt2", hf_model=model, tokenizer=tokenizer, device="cpu")
    layers = model.config.n_layer
    names = [f"blocks.{i}.{name}" for i in range(layers) for name in ("hook_resid_mid", "hook_resid_post")]

    @torch.inference_mode()
    def run(tokens: Tokens, budget: int) -> None:
        kept = []
        for rows in batches(tokens.lengths, budget):
            ids, last = padded(tokens, rows)
            mask = (torch.arange(ids.shape[1]) <= last[:, None]).long()
            _, cache = bridge.run_with_cache(ids, names_filter=names, return_type=None, attention_mask=mask)
            kept.append(torch.stack([cache[name][torch.arange(len(rows)), last] for name in names]).numpy())

    return run


def nnsight(model: GPT2LMHeadModel) -> Callable[[Tokens, int], None]:
    """Return a trace of the body at the same sites, in the same batches."""
    from nnsight import NNsight

    body = NNsight(model.transformer)

    @torch.inference_mode()
    def run(tokens: Tokens, budget: int) -> None:
        kept = []
        for rows in batches(tokens.lengths, budget):
            ids, last = padded(tokens, rows)
            at = torch.arange(len(rows))
            with body.trace(ids, use_cache=False):
                seen = [].save()
                for block in body.h:
                    seen.append(block.ln_2.input[at, last])
                    seen.append(block.output[at, last])
            kept.append(torch.stack(list(seen)).numpy())

    return run


def floor_seconds(model: GPT2LMHeadModel, tokens: Tokens, budget: int) -> float:
    """Return the seconds of the multiply-adds of the body on the padded tokens, at the rate of this machine's matrix product of the MLP's shape."""
    config = model.config
    width, rows = config.n_embd, max(1, budget)
    x, weight = torch.randn(rows, width), torch.randn(width, 4 * width)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        x @ weight
        times.append(time.perf_counter() - start)
    rate = 2 * rows * width * 4 * width / min(times)
    flops = 0.0
    for batch in batches(tokens.lengths, budget):
        length = int(tokens.lengths[batch].max())
        flops += len(batch) * length * config.n_layer * (24 * width**2 + 4 * width * length)
    log.info("matrix product: %.1f GFLOP/s; body: %.0f GFLOP", rate / 1e9, flops / 1e9)
    return flops / rate


def timed(ways: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Return median seconds of each way over rounds in which each has its turn."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in times.items()}


def peers(model: GPT2LMHeadModel, tokens: Tokens, budget: int) -> dict[str, Callable[[], None]]:
    """Return the other libraries that are installed."""
    found = {}
    for name, module, prepare in (
        ("TransformerLens TransformerBridge", "transformer_lens", transformer_lens),
        ("nnsight", "nnsight", nnsight),
    ):
        if find_spec(module) is None:
            log.info("%s is not installed: pip install %s", name, module.replace("_", "-"))
            continue
        run = prepare(build())  # a model of its own: both patch modules
        found[name] = lambda run=run: run(tokens, budget)
    return found


def build() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config()).eval()


def peak_memory(prompts: int) -> float:
    """Return the peak memory in GB of a fresh process that collects all tokens of so many prompts with a small body."""
    code = (
        "import torch\n"
        "from transformers import GPT2Config, GPT2LMHeadModel\n"
        "from tests.speed import collection\n"
        "model = GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=128, n_head=2)).eval()\n"
        f"collection.collected_and_merged(model, collection.gsm8k_tokens({prompts}, 50257), 1024)\n"
        # not ru_maxrss, which a child inherits
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1]) / 1e6


def collected_and_merged(model: GPT2LMHeadModel, tokens: Tokens, budget: int) -> None:
    """Collect shards of all tokens, then write the activation file, as the stage does."""
    from stages.models.checkpoint import Checkpoint
    from stages.paradigms.activation_files import record_task

    checkpoint = Checkpoint("gpt2", Path(), "base", "local", "aa", "gpt2")
    params = parameters(budget, "all_tokens")
    with tempfile.TemporaryDirectory() as folder:
        plan = shards.plan_shards(checkpoint, "float32", "gsm8k", tokens, params, "cpu")._replace(
            folder=Path(folder) / "shards"
        )
        for shard in plan.missing():
            shards.compute(model, plan, shard, params, budget)
        record_task(checkpoint, "float32", plan, params, Path(folder))


def main(repeats: int) -> None:
    model = build()
    tokens = gsm8k_tokens(200, model.config.vocab_size)
    log.info("200 prompts, %d tokens, longest %d", tokens.lengths.sum(), tokens.lengths.max())
    some = tokens.subset(range(0, 200, 10))
    sweep = timed({str(budget): lambda budget=budget: bare(model, some, budget) for budget in BUDGETS}, repeats)
    log.info(
        "bare body on 20 of them by token budget: %s", {budget: f"{seconds:.2f} s" for budget, seconds in sweep.items()}
    )
    budget = int(min(sweep, key=sweep.get))
    ways = {
        "bare body, same batches, nothing kept": lambda: bare(model, tokens, budget),
        "collect, last token, shards on disk": lambda: collected(model, tokens, budget),
        "collect, all tokens, shards on disk": lambda: collected(model, tokens, budget, "all_tokens"),
        **peers(model, tokens, budget),
        "one text at a time, logits, all hidden states": lambda: naive(model, tokens),
    }
    found = timed(ways, repeats)
    floor, ours = floor_seconds(model, tokens, budget), found["collect, last token, shards on disk"]
    log.info("%-48s %9s %10s %8s %9s", f"token budget {budget}", "seconds", "tokens/s", "x floor", "x collect")
    log.info(
        "%-48s %9.2f %10.0f %8.2f %9.2f",
        "arithmetic at the rate of the matrix product",
        floor,
        tokens.lengths.sum() / floor,
        1,
        floor / ours,
    )
    for name, seconds in found.items():
        log.info(
            "%-48s %9.2f %10.0f %8.2f %9.2f",
            name,
            seconds,
            tokens.lengths.sum() / seconds,
            seconds / floor,
            seconds / ours,
        )
    for prompts in (200, 2000, 8000):
        log.info("peak memory, all tokens of %5d prompts: %.3f GB", prompts, peak_memory(prompts))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    main(parser.parse_args().repeats)
