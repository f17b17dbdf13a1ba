"""Models of transformers that are made on the spot: random weights, tokenizers that know a few words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = tuple(f"w{number}" for number in range(60))


def bert(folder: Path, words: Sequence[str] = WORDS, *, positions: int = 48, seed: int = 0) -> str:
    """A BERT of two layers, in `folder`."""
    return _bert(folder, transformers.BertModel, transformers.BertConfig, words, positions, seed)


def roberta(folder: Path, words: Sequence[str] = WORDS) -> str:
    """A RoBERTa, which counts positions from the one after padding's."""
    return _bert(folder, transformers.RobertaModel, transformers.RobertaConfig, words, 48, 0)


def gpt2(folder: Path, words: Sequence[str] = WORDS, *, seed: int = 0) -> str:
    """A GPT-2 of two layers with a head, without a token for padding, in `folder`."""
    tokenizer = _tokenizer(["[UNK]", "</s>", *words])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", eos_token="</s>", model_max_length=64
    ).save_pretrained(folder)
    settings = transformers.GPT2Config(
        vocab_size=len(words) + 2,
        n_positions=64,
        n_embd=32,
        n_layer=2,
        n_head=2,
        initializer_range=0.1,
        bos_token_id=1,
        eos_token_id=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformers.GPT2LMHeadModel(settings).save_pretrained(folder)
    return str(folder)


def _bert(folder: Path, model: type, config: type, words: Sequence[str], positions: int, seed: int) -> str:
    specials = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    tokenizer = _tokenizer([*specials, *words])
    ends = [("[CLS]", 1), ("[SEP]", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        model_max_length=positions,
    ).save_pretrained(folder)
    settings = config(
        vocab_size=len(words) + len(specials),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=positions,
        initializer_range=0.1,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model(settings).save_pretrained(folder)
    return str(folder)


def _tokenizer(vocabulary: Sequence[str]) -> Tokenizer:
    numbers = {word: number for number, word in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer
