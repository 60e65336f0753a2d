"""Losses of unlearning as preference: over whole answers, beside what the original said of them or on their own.

Shapes: B records. ``now`` and ``then`` are sums over the tokens of each answer of minus log-probabilities, in nats, by
the model and by the original; they are never divided by the length of the answer.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid


def npo(now: Tensor, then: Tensor, *, beta: float) -> Tensor:
    """Return ``-(2 / beta) * mean log sigmoid(beta * (now - then))`` of sums [B] and [B]; beta > 0.

    It is (2 / beta) log 2 where the model is the original, falls to 0 as answers are forgotten, and tends to ascent on
    sums as beta goes to 0: each record weighs ``2 sigmoid(-beta * (now - then))``, between 0 and 2.
    Source: Zhang et al. 2024 (NPO), arXiv 2404.05868.
    """
    return -2.0 / beta * logsigmoid(beta * (now - then)).mean()


def simnpo(mean: Tensor, *, beta: float, delta: float) -> Tensor:
    """Return ``-(2 / beta) * mean log sigmoid(beta * (mean - delta))`` of mean losses of a token [B]; beta > 0.

    There is no original in it: an answer counts as forgotten from a loss of ``delta`` nats per token on.
    Source: Fan et al. 2024 (SimNPO), arXiv 2410.07163; delta is the paper's gamma.
    """
    return -2.0 / beta * logsigmoid(beta * (mean - delta)).mean()


def dpo(now: Tensor, then: Tensor, other_now: Tensor, other_then: Tensor, *, beta: float) -> Tensor:
    """Return ``-(2 / beta) * mean log sigmoid(beta * ((now - then) - (other_now - other_then)))``; beta > 0.

    ``other_now`` and ``other_then`` [B] are those of the answers to give instead. (2 / beta) log 2 where the model is
    the original; without the other answers it is :func:`npo`.
    Source: Rafailov et al. 2023 (DPO), arXiv 2305.18290, equation 7, with the answer to forget as the rejected one;
    scaled as NPO is.
    """
    return npo(now - other_now, then - other_then, beta=beta)
