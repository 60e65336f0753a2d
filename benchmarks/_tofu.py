"""TOFU as a problem: authors that a small GPT learns by heart, and what is asked of every model of it.

Data: Maini et al. 2024, arXiv 2401.06121 (MIT licence), 200 fictitious authors with 20 questions each, in order:

- learnt by heart are authors that have answers in other words and wrong ones: 1-20 and 181-200; the last are forgotten;
- authors 21-80 are held out, as many, since errors over held-out texts are reckoned by author;
- from authors 81-180 the tokenizer learns its tokens: no name that is forgotten is written into it. Where everyone is
  there these are learnt by heart as well, so that only the held-out authors are not: 140 of 200.

Every model starts from nothing: no base of this size learns enough English of 100 authors to matter.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.core.request import Request
from expunge.core.variants import variant_of
from expunge.data.language import LanguageRecords
from expunge.engine.answers import Spoken
from expunge.engine.batches import in_order
from expunge.engine.loop import LoopConfig, evaluating
from expunge.engine.training import Trainer
from expunge.models.huggingface import HuggingFaceModel
from expunge.numerics import truth_ratio
from expunge.numerics.membership import ranking
from expunge.numerics.rouge import rouge_l
from expunge.numerics.token_membership import min_k_score

Array = NDArray[np.float64]
Row = Mapping[str, Any]
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "tofu"
EACH = 20
"""Questions about an author."""
FORGET = {"forget01": 2, "forget05": 10, "forget10": 20}
"""Authors that are forgotten, the last ones: 1, 5 and 10 % of the 200 of the paper."""
VOCABULARY, CONTEXT = 2048, 512
OTHERS, HELD_OUT = range(80, 180), range(20, 80)
"""Authors, the first is 0, of whom the tokenizer is made, and who are held out."""
HELD_EACH, KEPT = 2, 80
"""Questions about an author who is held out; retained questions that utility is measured by, at the most."""


def gpt() -> LlamaForCausalLM:
    """Return a new model of transformers' Llama class, not trained."""
    return _llama(hidden_size=192, intermediate_size=640, num_hidden_layers=4, num_attention_heads=4)


def large() -> LlamaForCausalLM:
    """Return a new one of 60 million numbers, for a device."""
    return _llama(hidden_size=640, intermediate_size=1728, num_hidden_layers=12, num_attention_heads=10)


def _llama(**shape: int) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=1,
            **shape,
        )
    )


NETWORKS = {"small": gpt, "large": large}
LR = {"small": 2e-3, "large": 6e-4}
"""Rates of the training. The large one's was reckoned from the small one's by the width, and tried on no device."""


def trainer(network: str = "small", *, epochs: int = 14, lr: float | None = None) -> Trainer:
    """Return how a network is trained: long enough to say nearly every token of every answer right."""
    config = LoopConfig(epochs=epochs, batch_size=8, lr=LR[network] if lr is None else lr, schedule="one_cycle")
    return Trainer(build=NETWORKS[network], task="causal_lm", config=config)


def numbers_of(model: torch.nn.Module) -> int:
    """Return how many numbers a model has."""
    return sum(p.numel() for p in model.parameters())


@dataclass(frozen=True)
class Authors:
    """Who is learnt by heart and who is held out; of the ``each`` first questions about an author in the first case.

    ``everyone``: all are learnt by heart but those who are held out.
    """

    folder: Path = DATA
    each: int = EACH
    everyone: bool = False

    @cached_property
    def rows(self) -> list[Row]:
        """All 4,000 questions, in order; those of authors 1-20 and 181-200 with other answers."""
        full = _lines(self.folder / "full.json")
        first, last = (_lines(self.folder / f"{name}_perturbed.json") for name in ("retain", "forget10"))
        for place, other in [*enumerate(first), *enumerate(last, len(full) - len(last))]:
            if (other["question"], other["answer"]) != (full[place]["question"], full[place]["answer"]):
                raise SystemExit(f"{self.folder.name}: question {place} is not the one that has other answers")
            full[place] = other
        return full

    @cached_property
    def trained(self) -> list[int]:
        """Places of the questions that are learnt by heart."""
        return self._places([*range(20), *(OTHERS if self.everyone else ()), *range(180, 200)], self.each)

    @cached_property
    def held_out(self) -> list[int]:
        """Places of questions about authors whom no model sees."""
        return self._places(HELD_OUT, HELD_EACH)

    @cached_property
    def kept(self) -> list[int]:
        """Places of the questions that utility is measured by."""
        own = self._places(range(20), self.each)
        return own[:: -(-len(own) // KEPT)]

    @staticmethod
    def _places(authors: Iterable[int], each: int) -> list[int]:
        return [author * EACH + EACH * number // each for author in authors for number in range(each)]

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Bytes, joined as they stand together often in what is said of authors 81-180."""
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        made.train_from_iterator(
            [f"{row['question']} {row['answer']}" for row in self.rows[OTHERS.start * EACH : OTHERS.stop * EACH]],
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

    def asked(self, places: Sequence[int]) -> LanguageRecords:
        """Return questions with their answers; an author is a subject."""
        told = [(f"q{place}", place, self.rows[place]["question"], self.rows[place]["answer"]) for place in places]
        return self._records(told)

    def variants(self, places: Sequence[int]) -> dict[str, LanguageRecords]:
        """Return what else is asked and answered; not what equals a question with its answer that is trained on."""
        learnt = {(self.rows[place]["question"], self.rows[place]["answer"]) for place in self.trained}
        told: dict[str, list[tuple[str, int, str, str]]] = {}

        def add(kind: str, place: int, question: str, *answers: str) -> None:
            for number, answer in enumerate(answers):
                if (question, answer) not in learnt:
                    told.setdefault(kind, []).append((f"q{place}#{number}", place, question, answer))

        for place in places:
            row = self.rows[place]
            add("paraphrased_question", place, row["paraphrased_question"], row["answer"])
            add("paraphrased_answer", place, row["question"], row["paraphrased_answer"])
            add("wrong_answer", place, row["question"], *row["perturbed_answer"])
        return {kind: self._records(rows) for kind, rows in told.items()}

    def forgotten(self, name: str) -> list[int]:
        """Return the places of the questions of a forget set."""
        return [place for place in self.trained if place >= len(self.rows) - FORGET[name] * EACH]

    def problem(self, name: str, original: Path, *, trainer: Trainer | None) -> Problem:
        """Return the problem of a forget set; ``original`` is the folder of the model, on the processor."""
        gone = self.forgotten(name)
        return Problem(
            model=HuggingFaceModel(original),
            train=self.asked(self.trained),
            holdout=self.asked(self.held_out),
            task="causal_lm",
            trainer=trainer,
            variants=self.variants(gone),
            request=Request(subjects=tuple(sorted({_author(place) for place in gone})), reference=f"TOFU {name}"),
        )

    def _records(self, told: Sequence[tuple[str, int, str, str]]) -> LanguageRecords:
        ids, places, questions, answers = zip(*told, strict=True)
        subjects = [_author(place) for place in places]
        return LanguageRecords(questions, answers, tokenizer=self.tokenizer, ids=ids, subjects=subjects)


def _author(place: int) -> str:
    return f"author-{place // EACH + 1:03d}"


def _lines(file: Path) -> list[Any]:
    try:
        return [json.loads(line) for line in file.read_text().splitlines()]
    except OSError as error:
        raise SystemExit(f"TOFU is not in {file.parent}: {file.name} cannot be read; see --data") from error


# --- what is asked of a model -------------------------------------------------------------------------------------


def said(model: Any, records: Records, problem: Problem) -> Spoken:
    """Return what a model says of the scored tokens of records."""
    with evaluating(model), torch.no_grad():
        rows = [problem.meaning.units(model, batch).output.double().numpy() for batch in in_order(records)]
    return Spoken(np.concatenate(rows), np.asarray(records.read(range(len(records)))[1]))


@dataclass(frozen=True)
class Exam:
    """What every model is asked: the judged part of forget set and holdout, retained questions for utility.

    A model is asked where the problem is placed.

    Figures are TOFU's (section 3 of the paper) but for extraction strength, and Min-K % in the place of the loss.
    """

    authors: Authors
    problem: Problem
    forget: Records
    holdout: Records

    def figures(self, model: Any) -> tuple[dict[str, float], list[float]]:
        """Return the figures of a model, and its truth ratios on the judged forgotten records."""
        forget, holdout = (said(model, part, self.problem) for part in (self.forget, self.holdout))
        kept = said(model, self.authors.asked(self.authors.kept), self.problem)
        ratio = self._ratios(model, self.forget, self.problem.variant_records)
        kept_ratio = self._ratios(
            model, self.authors.asked(self.authors.kept), self.authors.variants(self.authors.kept)
        )
        strength, scores = forget.extraction, [_min_k(each) for each in (forget, holdout)]
        utility = {
            "retain probability": float(truth_ratio.probability(kept.loss).mean()),
            "retain rouge": self._rouge(model),
            "retain truth ratio": float(truth_ratio.preference(kept_ratio).mean()),
        }
        return {
            "extraction strength": float(strength.mean()),
            "extraction strength, worst": float(strength.max()),
            "exact memorisation": float(forget.correct.mean()),
            "forget probability": float(truth_ratio.probability(forget.loss).mean()),
            "forget truth ratio": float(truth_ratio.indifference(ratio).mean()),
            **utility,
            "utility": truth_ratio.harmonic_mean(list(utility.values())),
            "retain memorisation": float(kept.correct.mean()),
            "holdout memorisation": float(holdout.correct.mean()),
            "membership": ranking(*scores).auc,
        }, ratio.tolist()

    def _ratios(self, model: Any, records: Records, variants: Mapping[str, Records]) -> Array:
        """Return geometric truth ratios of those records that have both kinds of answers, [m]."""
        losses: list[Array] = []
        for kind in ("paraphrased_answer", "wrong_answer"):
            own = [name for name in variants[kind].ids if variant_of(name) in records.position]
            owner = np.array([records.position[variant_of(name)] for name in own])
            loss = said(model, variants[kind].select(own), self.problem).loss
            with np.errstate(invalid="ignore"):
                losses.append(np.bincount(owner, loss, len(records)) / np.bincount(owner, minlength=len(records)))
        there = np.isfinite(losses[0]) & np.isfinite(losses[1])
        return truth_ratio.geometric(losses[0][there], losses[1][there][:, None])

    def _rouge(self, model: Any) -> float:
        """Return the mean ROUGE-L recall of greedy answers to retained questions."""
        rows, tokenizer = [self.authors.rows[place] for place in self.authors.kept], self.authors.tokenizer
        asked = tokenizer([row["question"] for row in rows], return_tensors="pt", padding=True, padding_side="left")
        asked = asked.to(next(model.parameters()).device)
        room = max(len(tokenizer(row["answer"])["input_ids"]) for row in rows)
        with evaluating(model), torch.no_grad():
            told = model.generate(**asked, max_new_tokens=room, do_sample=False, pad_token_id=0)
        answers = tokenizer.batch_decode(told[:, asked["input_ids"].shape[1] :].cpu(), skip_special_tokens=True)
        return float(np.mean([rouge_l(own, row["answer"]).recall for own, row in zip(answers, rows, strict=True)]))


def _min_k(said: Spoken) -> Array:
    return min_k_score(np.minimum(said.said[:, 0], 0.0), said.record, len(said.target))
