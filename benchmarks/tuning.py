"""Does tuning without a retrained model find what is near retrained models? Rank correlations over trials.

On four cases of the digits (an annotator's wrong labels, as in the demo; a backdoor; an ordinary fifth of the records;
a whole class), and where it is asked for on texts of a language model (`--cases texts`), each method is tried with so
many settings, as `auto` would search them. Of every trial the objective is set against the true gap: the mean distance
from retrained models in accuracy on forgotten, retained and held-out records and in the AUC of membership, of texts
also in what is said right of forgotten ones while they are taught again, in points, on the part that nothing was chosen
by. Beside it stand other objectives that might have been: distances in margins, the largest gap of the distribution
functions, the difference of accuracies.

    python benchmarks/tuning.py [--seed N] [--trials N] [--references N] [--methods A,B] [--cases A,B]
                                [--most SHARE] [--json] [--save FILE] [--recipes DIR]   about 25 minutes on one core

Partial results are written to FILE after every study. `--recipes` writes the best trial of each study by the objective
as a recipe (src/expunge/plan/recipes), with what it measured.
"""

from __future__ import annotations

import copy
import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from _table import Row, arguments, finish
from scipy import stats

from expunge.audit import policy as policies
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.core.request import Request
from expunge.core.storage import write_file
from expunge.data import poison
from expunge.data.arrays import ArrayRecords
from expunge.engine.context import Context
from expunge.engine.progress import Progress
from expunge.engine.references import seed_of
from expunge.engine.relearning import relearn
from expunge.engine.runtime import single_thread
from expunge.engine.split import split
from expunge.engine.strangers import Said, said
from expunge.numerics.agreement import agreement
from expunge.numerics.matching import Kind, distance, gap
from expunge.plan.auto import candidate
from expunge.plan.objective import Look, Objective
from expunge.plan.tune import Study, Trial
from expunge.testbeds import digits, people

METHODS = "finetune,salun,scrub,ct,neg_grad_plus"
CASES = {
    "wrong labels": "digits: 300 of 1,197 records, those of one annotator, 180 of them labelled wrongly",
    "one wrong label": "digits: 90 of 897 rightly labelled records, with a patch of 3x3 pixels and the label 0",
    "ordinary": "digits: every fifth of 897 rightly labelled records",
    "class": "digits: all threes among 897 rightly labelled records",
}
TEXTS = {"texts": "fictitious people: the 48 texts of one of 16 people"}
TEXT_METHODS = "npo,simnpo,grad_diff,undial,wga"
REFERENCES = 8
AGAIN = replace(policies.load("language").relearning, lr=people.TRAINER.config.lr / 10)
"""How texts are taught again: as the policy for them does it, at a tenth of the rate that these were learnt with."""
TARGET = 0.5
"""A rank correlation below which tuning would be little better than guessing."""


def problem_of(case: str, seed: int, folder: Path) -> Problem:
    """Return the problem of a case; trains its original."""
    if case in TEXTS:
        return people.prepare(folder / "people", seed, Progress())
    if case == "wrong labels":
        return digits.prepare(folder / "demo", seed, Progress())
    train, holdout, _ = digits.records(seed)
    x, y = train.read(range(digits.LABELLED, len(train)))
    clean = ArrayRecords(x, y, ids=train.ids[digits.LABELLED :])
    if case == "one wrong label":
        found = poison.backdoor(clean, target=0, count=90, seed=seed, patch=poison.Patch(value=float(x.max())))
        patched = found.train.read(range(len(clean)))
        return _problem(ArrayRecords(*patched, ids=clean.ids), holdout, found.discovered(1.0), seed)
    forget = [name for i, name in enumerate(clean.ids) if (i % 5 == 0 if case == "ordinary" else int(y[i]) == 3)]
    return _problem(clean, holdout, Request(ids=tuple(forget)), seed)


def _problem(train: ArrayRecords, holdout: ArrayRecords, request: Request, seed: int) -> Problem:
    model = digits.TRAINER(train, seed=seed + 1)
    return Problem(model=model, train=train, holdout=holdout, trainer=digits.TRAINER, request=request)


class Watched(Objective):
    """An objective that notes, of every model it looks at, what else could have been asked, and the truth."""

    def __init__(self, problem: Problem, choosing: Any, judging: Any, references: Sequence[Any]) -> None:
        super().__init__(problem, choosing)
        self._judging, self.notes = judging, []
        self._truth = [self._figures(model) for model in references]
        self.floor_gap = fmean(
            _gap(one, [o for o in self._truth if o is not one]) for one in self._truth
        )  # of a retrained model from the others

    def look(self, model: Any) -> Look:
        """Return the look, and note the rest."""
        look = super().look(model)
        forget, holdout = (said(self._problem, model, r) for r in (self._forget, self._holdout))
        others = _others(self._strangers.kinds(forget, holdout))
        if forget.several:
            shares = Kind(forget.right, holdout.right, np.ones(len(holdout.right)))
            others["distance of probabilities"] = distance(self._strangers.probabilities(forget, holdout))
            others["distance of shares said right"] = distance([shares])
        self.notes.append({**others, "gap": _gap(self._figures(model), self._truth)})
        return look

    def _figures(self, model: Any) -> dict[str, float]:
        forget, holdout = (said(self._problem, model, r) for r in (self._judging.forget, self._judging.holdout))
        retain = said(self._problem, model, self._problem.retain_view)
        assert forget is not None
        assert holdout is not None
        assert retain is not None
        known = {"relearning": self._taught_again(model)} if forget.several else {}
        return {
            "forget": float(forget.right.mean()),
            "retain": float(retain.right.mean()),
            "holdout": float(holdout.right.mean()),
            "auc": _auc(forget, holdout),
            **known,
        }

    def _taught_again(self, model: Any) -> float:
        """Return what is said right of judged forgotten texts while they are taught again, the mean over passes."""
        one = copy.deepcopy(model)
        return float(relearn(self._problem, one, self._judging.forget, AGAIN, seed=0).mean())


def _auc(forget: Said, holdout: Said) -> float:
    count = len(forget.score) * len(holdout.score)
    return float(stats.mannwhitneyu(forget.score, holdout.score).statistic) / count


def _gap(mine: dict[str, float], theirs: Sequence[dict[str, float]]) -> float:
    return 100 * fmean(abs(mine[name] - fmean(each[name] for each in theirs)) for name in mine)


def _others(kinds: Sequence[Kind]) -> dict[str, float]:
    """Return other measures of a match, all 0 where the forgotten and their strangers are alike."""
    weight = [len(kind.mine) for kind in kinds]
    accuracies = [abs((k.mine > 0).mean() - np.average(k.theirs > 0, weights=k.weights)) for k in kinds]
    return {
        "distance of margins": distance(kinds),
        "largest gap of distributions": gap(kinds),
        "difference of accuracies": float(np.average(accuracies, weights=weight)),
        "distance of losses": distance([k.mapped(np.logaddexp(0, -k.mine), np.logaddexp(0, -k.theirs)) for k in kinds]),
    }


def studied(case: str, method: str, options: Any, objective: Watched, problem: Problem, choosing: Any) -> list[Any]:
    """Return (trial, notes) of every trial of a study that finished, and print the best."""
    whole = Cost(trained=float(problem.trainer.passes) * len(problem.retain_view))

    def context(seed: int, label: str) -> Context:
        return Context(problem=problem, seed=seed, label=label, choosing=choosing, choosing_models=list)

    begun = candidate(problem, "", method, {})
    study = Study(
        method=method,
        problem=problem,
        objective=objective,
        context=context,
        whole=whole,
        seed=options.seed,
        base=begun.base,
        fixed=begun.fixed,
        most=options.most,
        prune=False,
    )
    objective.notes.clear()
    done = study.run(1e9, trials=options.trials)
    finished = [trial for trial in done if trial.look is not None]
    rows = list(zip(finished, list(objective.notes), strict=True))
    best = study.best(done)
    if best is not None:
        notes = dict((t.number, n) for t, n in rows)[best.number]
        value = f"value {best.look.value:.3f}, gap {notes['gap']:.2f}"
        print(f"{case}, {method}: best {best.number} of {len(done)}, {value}", flush=True)
        if options.recipes:
            _recipe(options, case, method, best, notes["gap"], objective, whole, len(done))
    return [(trial, notes, best is not None and trial.number == best.number) for trial, notes in rows]


def _recipe(
    options: Any, case: str, method: str, best: Trial, gap: float, objective: Watched, whole: Cost, trials: int
) -> None:
    assert best.look is not None
    lines = [
        "# Found by benchmarks/tuning.py; do not edit by hand.",
        f"method = {json.dumps(method)}\ncase = {json.dumps(case)}",
        "\n[config]",
        *(f"{name} = {json.dumps(value)}" for name, value in sorted(best.config.items())),
        "\n[found]",
        f"command = {json.dumps(_command(options))}",
        f"data = {json.dumps({**CASES, **TEXTS}[case])}",
        f"seed = {options.seed}\ntrials = {trials}\ndate = {json.dumps(datetime.now(UTC).date().isoformat())}",
        "\n[measured]",
        f"match = {best.look.match:.4g}\nharm = {best.look.harm:.4g}\noriginal = {objective.original.match:.4g}",
        f"gap = {gap:.4g}\nfloor = {objective.floor_gap:.4g}\nshare = {best.cost.share_of(whole):.4g}",
    ]
    name = f"{case} {method}".replace(" ", "-")
    write_file(options.recipes / f"{name}.toml", ("\n".join(lines) + "\n").encode())


def _command(options: Any) -> str:
    more = f" --most {options.most:g}" if math.isfinite(options.most) else ""
    more += f" --references {options.references}" if options.references != REFERENCES else ""
    more += f" --cases {json.dumps(options.cases)}" if options.cases != ",".join(CASES) else ""
    more += f" --methods {options.methods}" if options.methods else ""
    return f"python benchmarks/tuning.py --seed {options.seed} --trials {options.trials}{more}"


def rows_of(case: str, studies: Sequence[Sequence[Any]], objective: Watched, original: float) -> list[Row]:
    """Return the figures of one case: how the objective orders all trials, and what each study's best came to."""
    trials = [each for study in studies for each in study]
    gaps = [notes["gap"] for _, notes, _ in trials]
    by = {"the objective": [trial.look.value for trial, _, _ in trials]}
    by |= {
        f"{name} instead": [notes[name] + trial.look.harm for trial, notes, _ in trials]
        for name in trials[0][1]
        if name != "gap"
    }
    found = []
    for name, values in by.items():
        order = agreement(values, gaps)
        target = TARGET if name == "the objective" else None
        row = partial(Row, better="higher", unit="rank correlation", against="true gap", n=order.n)
        found.append(row(name=f"{case}: {name}", value=order.rho, target=target))
        if target is not None:
            found.append(row(name=f"{case}: lower 95% bound", value=order.low, target=None))
            found.append(row(name=f"{case}: upper 95% bound", value=order.high, target=None))
    points = partial(Row, better="lower", unit="points from retrained models", against="references", target=None)
    chosen = [(notes["gap"], min(n["gap"] for _, n, _ in study)) for study in studies for _, notes, yes in study if yes]
    return [
        *found,
        points(
            name=f"{case}: gap of what tuning chose, mean of methods", value=fmean(c for c, _ in chosen), n=len(chosen)
        ),
        points(name=f"{case}: of the best, were references known", value=fmean(b for _, b in chosen), n=len(chosen)),
        points(name=f"{case}: of all trials, the median", value=float(np.median(gaps)), n=len(gaps)),
        points(name=f"{case}: of the original", value=original, n=1),
        points(name=f"{case}: of a retrained model", value=objective.floor_gap, n=len(objective._truth)),
    ]


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=15)
    parser.add_argument("--references", type=int, default=REFERENCES)
    parser.add_argument("--methods", default=None)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--most", type=float, default=math.inf, help="what a run may cost, in retrainings")
    parser.add_argument("--recipes", type=Path, help="write the best trial of every study into this folder")
    options = parser.parse_args()
    single_thread()
    rows: list[Row] = []
    facts: dict[str, Any] = {"trials": {}, "seed": options.seed, "references": options.references}
    with tempfile.TemporaryDirectory() as folder:
        for case in options.cases.split(","):
            problem = problem_of(case, options.seed, Path(folder))
            seeds = [seed_of(options.seed, f"tuning benchmark {case}", index) for index in range(options.references)]
            references = [problem.trainer(problem.retain_view, seed=seed) for seed in seeds]
            choosing, judging = split(problem, options.seed)
            objective = Watched(problem, choosing, judging, references)
            original = _gap(objective._figures(problem.source.open()), objective._truth)
            studies: list[list[Any]] = []
            for method in (options.methods or (TEXT_METHODS if case in TEXTS else METHODS)).split(","):
                new = studied(case, method, options, objective, problem, choosing)
                studies.append(new)
                facts["trials"][f"{case}, {method}"] = [
                    {"config": dict(t.config), "match": t.look.match, "harm": t.look.harm, **notes, "chosen": best}
                    for t, notes, best in new
                ]
                if options.save:
                    write_file(options.save.with_suffix(".part"), json.dumps(facts).encode())
            rows += rows_of(case, studies, objective, original)
    finish(rows, options, **facts)
    if options.save:
        options.save.with_suffix(".part").unlink()


if __name__ == "__main__":
    main()
