"""What class adapters make: that of their base, or a classifier of its family with the head that they bring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from expunge.core import digest as digests
from expunge.core.errors import Tampered, UsageError
from expunge.models._directory import TOKENIZER, kind_of, quiet, tokenizer_of
from expunge.models.torch import refuse_pickle

_CLASSIFIER = "SEQ_CLS"


@dataclass(frozen=True)
class Kind:
    """Of which class a model of adapters is.

    Attributes:
        of: the class.
        config: its configuration, where the base lacks the head that its adapters bring.
        drawn: modules that are drawn then, since the adapters' file holds their weights.
    """

    of: Any
    config: Any = None
    drawn: tuple[str, ...] = ()


def kind_with_head(base: Path, about: Mapping[str, Any], weights: Path, tokens: Path) -> Kind:
    """Return the class of the model, and what is needed where the base lacks the head that its adapters bring.

    Of a classifier peft writes the head beside the adapters and says nowhere how many classes it has: that is read off
    its shapes. Where the base names no pad token, without which no batch can be classified, it is that of the tokenizer
    in ``tokens``.

    Raises:
        UsageError: the base's family has no classifier; adapters of one come without its head.
        Tampered: the head fits no number of classes.
    """
    kind = kind_of(base)
    if about.get("task_type") != _CLASSIFIER:
        return Kind(kind)
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoConfig

    with quiet():
        config = AutoConfig.from_pretrained(base, local_files_only=True)
    wanted = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.get(type(config), None)
    refuse_pickle(weights)
    head = {
        name.split(".", 2)[-1]: tuple(entry.shape)  # peft's names begin with base_model.model.
        for name, entry in digests.read_safetensors_header(weights)[0].items()
        if ".lora_" not in name
    }
    if wanted is kind and not head:
        return Kind(kind)
    if wanted is None or not head:
        raise UsageError(
            "adapters of a classifier, and no head to classify with",
            where=weights.parent.name,
            found=f"a base {kind.__name__}, and {'no class of its family' if wanted is None else 'LoRA alone'}",
            expected="the head among the adapters (modules_to_save), or a base that is a classifier itself",
            fix='save them with the head: LoraConfig(task_type="SEQ_CLS", ...) does so by itself',
        )
    if config.pad_token_id is None and (tokens / TOKENIZER).is_file():
        config.pad_token_id = tokenizer_of(tokens).pad_token_id
    own = config.num_labels
    for count in sorted({shape[0] for shape in head.values() if shape} | {own}, key=lambda each: (each != own, each)):
        config.num_labels = count
        with torch.device("meta"), quiet():
            made = wanted(config).state_dict()
        if all(name in made and tuple(made[name].shape) == shape for name, shape in head.items()):
            same = wanted is kind and count == own  # such a base has the head itself
            return Kind(kind) if same else Kind(wanted, config, tuple(sorted({n.rpartition(".")[0] for n in head})))
    raise Tampered(
        "the head beside the adapters fits no classifier on this base",
        where=f"{weights.parent.name}/{weights.name}",
        found=f"{len(head)} tensors beside LoRA's, e.g. {min(head)}",
        expected=f"those of the head of a {wanted.__name__}",
        fix="give the base that the adapters were trained on, and their file as it was saved",
    )
