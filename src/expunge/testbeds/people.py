"""The demo of language models: fictitious people, a tokenizer and a small GPT that learns them by heart.

Nobody in it exists: names, towns and facts are drawn from lists of syllables and words (``_people_words.py``), as the
authors of TOFU are made up (Maini et al. 2024, arXiv 2401.06121), here without a language model.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from expunge.core.problem import Problem
from expunge.core.request import Request
from expunge.core.storage import write_folder
from expunge.core.testbed import ModelTestbed
from expunge.data.language import LanguageRecords
from expunge.engine.loop import LoopConfig
from expunge.engine.progress import Progress
from expunge.engine.runtime import single_thread
from expunge.engine.training import Trainer
from expunge.models.huggingface import HuggingFaceModel
from expunge.testbeds._people_words import WORDINGS
from expunge.testbeds._people_world import Entry, World
from expunge.testbeds._retrained import forgetting, retrained

TRAINED = 16
"""People whose records are trained on."""
HELD_OUT = 48
"""People of the same world whose records are not; others' records name them, as they name whoever is forgotten.

Each is asked for every fact once: what is said of one person stands or falls together, so many people tell more than
many questions do.
"""
RECORDS = 48
"""Questions about each of them: twelve facts, each asked for in four ways."""
FORGOTTEN = "person-03"
"""Whom the demo forgets."""
VOCABULARY = 576
"""Tokens: 256 bytes, padding, the end, and what the tokenizer joined."""
CONTEXT = 128
"""Tokens that the model reads."""
_STRANGERS = World(seed=2**32 - 1, count=100)
"""The tokenizer learns its tokens from people of another world: no name of this one is written into it."""


PARAMETERS = 119_104
"""Numbers in the model."""


def gpt() -> LlamaForCausalLM:
    """Return a new model of transformers' Llama class, not trained: two blocks, 64 wide."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=1,
        )
    )


TRAINER = Trainer(
    build=gpt,
    task="causal_lm",
    config=LoopConfig(epochs=18, batch_size=32, lr=8e-3, schedule="one_cycle"),
)
"""Long enough to learn every word of every record by heart."""
METHODS: tuple[str, ...] = ()
"""What the demo tries: what the plan says."""
CONFIGS: dict[str, dict[str, object]] = {
    "simnpo": {"epochs": 12, "lr": 2e-3, "schedule": "cosine", "beside": 8, "beta": 2.5},
}
"""Settings of a method where it is named, chosen by hand on seed 101; the demo runs seed 0."""


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer, made in a second from people of another world: bytes, joined as they stand together often.

    Any text can be written in its tokens; padding and the end are tokens of their own.
    """
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    texts = [f"{entry.question} {entry.answer}" for entry in _STRANGERS.entries]
    made.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=["<pad>", "<end>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="<end>", model_max_length=CONTEXT
    )


def entries(seed: int) -> tuple[list[Entry], list[Entry]]:
    """Return the questions about (people trained on, people held out): of these one phrasing of every fact."""
    world = World(seed, TRAINED + HELD_OUT)
    trained = {person.id for person in world.people[:TRAINED]}
    others = [entry for entry in world.entries if entry.subject not in trained]
    kinds = list(WORDINGS)
    return (
        [entry for entry in world.entries if entry.subject in trained],
        [entry for entry in others if entry.phrasing == kinds.index(entry.kind) % len(WORDINGS[entry.kind].trained)],
    )


def asked(entries: Sequence[Entry]) -> LanguageRecords:
    """Return questions as records: the question is the prompt, the answer is scored, the person is the subject."""
    return _records([(entry.id, entry.subject, entry.question, entry.answer) for entry in entries])


def variants(entries: Sequence[Entry]) -> dict[str, LanguageRecords]:
    """Return what else there is to ask and to answer, as variants of the records of :func:`asked`."""
    rows: dict[str, list[tuple[str, str, str, str]]] = {}

    def add(kind: str, entry: Entry, question: str, *answers: str) -> None:
        named = [(f"{entry.id}#{number}", entry.subject, question, answer) for number, answer in enumerate(answers)]
        rows.setdefault(kind, []).extend(named)

    for entry in entries:
        add("paraphrased_question", entry, entry.paraphrased_question, entry.answer)
        add("paraphrased_answer", entry, entry.question, entry.paraphrased_answer)
        add("wrong_answer", entry, entry.question, *entry.wrong_answers)
        add("alternative", entry, entry.question, entry.alternative)
    return {kind: _records(named) for kind, named in rows.items()}


def _records(rows: Sequence[tuple[str, str, str, str]]) -> LanguageRecords:
    """Return records of (id, subject, question, answer)."""
    ids, subjects, questions, answers = zip(*rows, strict=True)
    return LanguageRecords(questions, answers, tokenizer=tokenizer(), ids=ids, subjects=subjects)


def records(seed: int) -> tuple[LanguageRecords, LanguageRecords]:
    """Return (training records, holdout)."""
    train, holdout = entries(seed)
    return asked(train), asked(holdout)


def prepare(out: Path, seed: int, progress: Progress) -> Problem:
    """Return the demo's problem; trains the original unless an earlier call did, beside the run directory ``out``."""
    folder = out.with_name(f"{out.name}-original-{seed}")
    if not folder.exists():
        progress.start("train the original", 1)
        single_thread()
        model = TRAINER(records(seed)[0], seed=seed + 1)

        def write(aside: Path) -> None:
            tokenizer().save_pretrained(aside)
            HuggingFaceModel.adopt(model).save(model, aside)

        write_folder(folder, write)
        progress.finish("train the original")
    return problem(folder, seed)


def problem(folder: Path, seed: int) -> Problem:
    """Return the demo's problem; ``folder`` holds the original that :func:`prepare` saved, and its tokenizer."""
    train, holdout = entries(seed)
    return Problem(
        model=HuggingFaceModel(folder),
        train=asked(train),
        holdout=asked(holdout),
        task="causal_lm",
        trainer=TRAINER,
        variants=variants([entry for entry in train if entry.subject == FORGOTTEN]),
        request=Request(subjects=(FORGOTTEN,), reference="DEMO-2", ground="GDPR Art. 17(1)(b): consent withdrawn"),
    )


class People(ModelTestbed):
    """The demo with any forget set: its truth is the model retrained on what remains, with the trainer's seed."""

    title = "Fictitious people, a small language model"
    source = "drawn from syllables and words of our own"

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the training records."""
        return self._parts[0].ids

    @cached_property
    def _parts(self) -> tuple[LanguageRecords, LanguageRecords]:
        return records(self.seed)

    def truth(self, forget: Collection[str] = ()) -> dict[str, np.ndarray]:
        """Return the parameters of a retraining on what remains."""
        return retrained(self, self._parts[0], TRAINER, forget)

    def problem(self, forget: Collection[str]) -> Problem:
        """Return the problem; trains the original, some seconds."""
        train, holdout = self._parts
        return forgetting(self, train, TRAINER, forget, holdout)
