"""CIFAR-10 as SalUn's paper has it: settings found without a retrained model beside the same tuned on retrained ones.

Per scenario (a random tenth, a class, a backdoor of which half is known, without and with a search for the rest) and
seed an original, per scenario some models retrained without the records, and per method so many trials of its settings,
each of at most a fifth of a retraining. Of the same trials one choice is made by the objective of `auto`
(plan/objective), which sees no retrained model, and one by the average gap to the retrained models, as papers tune.
Among the methods that `auto` would try (three that it tunes, and one trial each of others) it chooses as `auto` does;
beside them stand others of papers.

With a GPU: ResNet-18, all 50,000 images, 182 epochs. Without: ResNet-20 on the first thousand images for 16 epochs
(AdamW, one cycle), which no published figure can be held against; the saved file says which it was. Every model and
every trial lies in ``--out`` as soon as it is there, and the same command goes on.

    python benchmarks/cifar10.py --data FOLDER --out runs/cifar10 [--save FILE]
    python benchmarks/cifar10.py --seeds 1 --trials 6 --out runs/cifar10        a quarter of an hour without a GPU
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import torch
from _device import option
from _table import Row, arguments, finish, over_seeds

from expunge import workflow
from expunge.bench import measures, scenarios
from expunge.bench.data import Bed, bed
from expunge.bench.scenarios import Draw
from expunge.core import registry
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.core.request import Request
from expunge.core.serial import build, plain
from expunge.core.storage import write_file, write_folder
from expunge.data.arrays import ArrayRecords
from expunge.engine.context import Context
from expunge.engine.device import moving, placed
from expunge.engine.references import seed_of
from expunge.engine.runtime import single_thread
from expunge.engine.split import split
from expunge.plan import recipes
from expunge.plan.auto import GLANCES, Candidate, ahead, candidate, candidates, others, preference
from expunge.plan.objective import Look, Objective
from expunge.plan.tune import Study, Trial

METHODS = ("salun", "scrub", "neg_grad_plus", "ct", "msg")
CASES = {"random_10": METHODS, "class": ("salun", "ct"), "backdoor_half": ("ct",), "backdoor_found": ("ct",)}
"""Methods per scenario beside those that `auto` would tune there, unless others are named."""
MOST = 0.2
"""What a run of a method may cost, as a share of one retraining."""
SAME = ("network", "records", "after", "held_out", "epochs", "batch_size", "lr", "optimiser")
"""What all commands on one directory must agree in."""
PUBLISHED = {"salun": 1.15, "l1_sparse": 2.26, "boundary_shrink": 2.67, "boundary_expand": 2.76, "finetune": 3.78}
PUBLISHED |= {"influence": 4.06, "gradient_ascent": 4.12, "random_label": 7.15}
"""Average gaps on the random tenth, ResNet-18 on lossless images: arXiv 2310.12508, as two later papers quote it."""


class Watched(Objective):
    """An objective that keeps the scores of the model it looked at last."""

    def __init__(self, problem: Problem, shown: Problem, drawn: Draw, seed: int) -> None:
        super().__init__(shown, split(problem, seed)[0])
        self._whole, self._drawn, self._seed = problem, drawn, seed
        self.scores: dict[str, float] = {}

    def look(self, model: Any) -> Look:
        """Return the look, and keep the rest."""
        self.scores = scores(self._whole, self._drawn, model, self._seed)
        return super().look(model)


def scores(problem: Problem, drawn: Draw, model: Any, seed: int) -> dict[str, float]:
    """Return what papers measure of a model, gaps apart."""
    found = measures.measure(problem, measures.listen(problem, model), seed=seed)
    if drawn.triggered is not None:
        found["attack"] = measures.success(problem, model, drawn.triggered.records, drawn.triggered.target)
    return found


class Case:
    """One scenario: its draw, and the models of it that lie in the results directory."""

    def __init__(self, name: str, made: Bed, out: Path, references: int, where: torch.device) -> None:
        self.name, self.bed, self.out, self.where = name, made, out / name, where
        self._trainer = moving(made.trainer, where)
        self.drawn = scenarios.draw(name, made, self, 0)  # type: ignore[arg-type]  # of scores only `alike` is asked
        plainly = self.problem(made.source)
        self.references = [
            self._model(
                self.out / f"reference-{k}",
                lambda k=k: self._trainer(plainly.retain_view, seed=seed_of(0, "cifar10", k)),
            )
            for k in range(references)
        ]

    def _model(self, folder: Path, make: Any) -> Any:
        source = self.bed.source
        if not folder.exists():
            print(f"{self.name}: train {folder.name}", flush=True)
            model = make().cpu()
            write_folder(folder, lambda aside: source.save(model, aside))
        return source.reopen(folder).to(self.where)

    def alike(self, train: Records, forget: tuple[str, ...]) -> tuple[str, ...]:
        """Return the records that are found to be like ``forget``, by the original of the first seed."""
        made = self.bed
        found = workflow.find(
            Problem(
                model=self._original(train, 0).cpu(),
                train=train,
                forget=forget,
                holdout=made.holdout,
                trainer=made.trainer,
            ),
            device=str(self.where),
        )
        print(f"{self.name}: {found.sentence}", flush=True)
        return found.ids

    def original(self, seed: int) -> Any:
        """Return the model that was trained on all records; scenarios that change none of these share it."""
        return self._original(self.drawn.train, seed)

    def _original(self, train: Records, seed: int) -> Any:
        folder = self.out.parent / "originals" / f"{train.manifest.digest[:16]}-{seed}"
        return self._model(folder, lambda: self._trainer(train, seed=seed_of(seed, "cifar10 whole", 0)))

    def problem(self, model: Any) -> Problem:
        """Return the problem of the scenario with this original."""
        made, drawn = self.bed, self.drawn
        named = tuple(name for name in drawn.forget if name not in set(drawn.also))
        problem = Problem(
            model=model, train=drawn.train, forget=named, holdout=made.holdout, trainer=made.trainer,
            triggered=drawn.triggered, request=Request(also=drawn.also, corrections=drawn.corrections),
        )  # fmt: skip
        return placed(problem, self.where)

    def study(self, method: str, seed: int, problem: Problem, trials: int) -> Tried:
        """Return the trials of a method, each with the scores of its model; begun as `auto` begins."""
        whole = Cost(trained=float(problem.trainer.passes) * len(problem.retain_view))  # type: ignore[union-attr]
        choosing = split(problem, seed)[0]
        shown = replace(problem, holdout=choosing.holdout, triggered=None)
        objective = Watched(problem, shown, self.drawn, seed)
        found: dict[int, dict[str, float]] = {}

        def keep(number: int, make: Any) -> Trial:
            file = self.out / f"seed-{seed}" / f"{method}-{number}.json"
            if not file.exists():
                trial = make()
                kept = objective.scores if trial.look is not None else {}
                write_file(file, json.dumps({"trial": plain(trial), "scores": kept}).encode())
                print(f"{self.name}, {method}, seed {seed}: trial {number} {trial.state}", flush=True)
            said = json.loads(file.read_text())
            found[number] = said["scores"]
            return build(Trial, said["trial"], where=file.name)

        begun = candidate(problem, recipes.case_of(problem), method, {})
        study = Study(
            method=method, problem=problem, objective=objective, whole=whole, seed=seed, most=MOST, keep=keep,
            base=begun.base, fixed=begun.fixed, prune=False,
            context=lambda chosen, label: Context(shown, chosen, label, choosing, list), tolerant=trials == 1,
        )  # fmt: skip
        done = study.run(1e9, trials=trials)
        usable = [trial for trial in done if trial.look is not None and not trial.look.below(study.floor)]
        best = study.best(done)
        anew = best is not None and registry.load("methods", method)(best.config).anew(problem)
        return Tried(best, anew, [(trial, found[trial.number]) for trial in usable])


@dataclass(frozen=True)
class Tried:
    """The trials of a method that may be used, each with the scores of its model, and which the objective chose.

    Attributes:
        anew: whether it leaves nothing of the original, what `auto` tries before all others.
    """

    best: Trial | None
    anew: bool
    usable: Sequence[tuple[Trial, dict[str, float]]]


def main() -> int:
    """Train, tune, print; 0 where every target is met."""
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared/data/cifar10")
    parser.add_argument("--out", type=Path, default=Path("runs/cifar10"))
    where = option(parser)
    there = where.type != "cpu"
    parser.add_argument("--network", default="resnet18" if there else "resnet20")
    parser.add_argument("--records", type=int, default=None if there else 1000)
    parser.add_argument(
        "--after", type=int, default=0, help="leave so many images out before these (and a third held out)"
    )
    parser.add_argument(
        "--held-out", type=int, default=None, help="hold out so many images, where fewer than all train (a third)"
    )
    parser.add_argument("--epochs", type=int, default=None if there else 16)
    parser.add_argument("--batch-size", type=int, default=256 if there else 32)
    parser.add_argument("--lr", type=float, default=0.1 if there else 3e-3)
    parser.add_argument("--optimiser", choices=("sgd", "adamw"), default="sgd" if there else "adamw")
    parser.add_argument("--scenarios", nargs="+", default=list(CASES))
    parser.add_argument("--methods", nargs="+", default=None)
    parser.add_argument("--alone", action="store_true", help="no methods but those that auto would tune")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--references", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    if not (options.data / "train.parquet").is_file():
        sys.exit(
            f"no train.parquet and test.parquet in {options.data}: columns id, image (encoded bytes), label (--data)"
        )
    single_thread()
    same = {name: getattr(options, name) for name in SAME}
    if kept(options.out / "settings.json", same) != same:
        sys.exit(f"{options.out} holds a benchmark with other settings: choose another --out")
    made = laid(options)
    rows: list[Row] = []
    facts: dict[str, Any] = {}
    for name in options.scenarios:
        case = Case(name, made, options.out, options.references, where)
        chosen: dict[int, dict[str, Any]] = {}
        for seed in range(options.seeds):
            problem = case.problem(case.original(seed))
            taken = by_auto(case, seed, problem, options.trials)
            beside = dict.fromkeys(() if options.alone else CASES.get(name, METHODS), options.trials)
            own = dict.fromkeys(options.methods, options.trials) if options.methods else {**beside, **taken}
            before = scores(problem, case.drawn, problem.source.open(), seed)
            retrained = [scores(problem, case.drawn, model, seed) for model in case.references]
            floor = fmean(one["avg_gap"] for one in measures.among_themselves(retrained))
            tried = {method: case.study(method, seed, problem, count) for method, count in own.items()}
            chosen[seed] = {m: picked(found, retrained) for m, found in tried.items() if found.best is not None}
            facts.setdefault(name, []).append(
                {
                    "seed": seed, "original": {**before, **measures.gaps(before, retrained)}, "retrained": retrained,
                    "floor": floor, "chosen": chosen[seed], "taken": list(taken),
                    "trials": {method: len(found.usable) for method, found in tried.items()},
                }
            )  # fmt: skip
        rows += figures(name, facts[name], chosen)
    how = {
        "network": options.network, "device": where.type,
        "records": len(made.train), "after": options.after, "held_out": len(made.holdout),
        "epochs": made.trainer.passes,
        "batch_size": options.batch_size, "lr": options.lr, "optimiser": options.optimiser,
        "references": options.references, "seeds": options.seeds,
        "trials": options.trials, "most": MOST,
    }  # fmt: skip
    how["comparable"] = len(made.train) == 50_000 and options.network == "resnet18"
    finish(rows, options, how=how, scenarios=facts, published=PUBLISHED)
    return 0 if all(row.met != "MISSED" for row in rows) else 1


def by_auto(case: Case, seed: int, problem: Problem, trials: int) -> dict[str, int]:
    """Return the methods that ``auto`` would try, each with its number of trials.

    As ``workflow.tuning`` deals them out, but for a fixed number of trials: glances take none from the others.
    """
    chosen = candidates(problem, {})
    whole = Cost(trained=float(problem.trainer.passes) * len(problem.retain_view))  # type: ignore[union-attr]
    left, glanced = GLANCES * trials * len(chosen) * MOST, dict[str, Candidate]()
    for each in others(problem, {}, chosen):
        share = registry.load("methods", each.method)(each.base).cost(problem).share_of(whole)
        if share > min(left, MOST):
            break
        left, glanced[each.method] = left - share, each

    def once(each: Candidate) -> Any:
        found = case.study(each.method, seed, problem, 1)
        look = found.best.look if found.best is not None else None
        value, harm = (look.harm if found.anew else look.value, look.harm) if look is not None else (0.0, 0.0)
        return SimpleNamespace(method=each.method, best=found.best, trials=1, value=value, harm=harm, anew=found.anew)

    better = [glanced[t.method] for t in ahead([once(each) for each in chosen], [once(e) for e in glanced.values()])]
    tuned = [*(each for each in better if each.searched), *chosen][: len(chosen)]
    return {**dict.fromkeys([*glanced, *(e.method for e in chosen)], 1), **{e.method: trials for e in tuned}}


def kept(file: Path, said: dict[str, Any]) -> Any:
    """Return what a JSON file holds; what is ``said`` is written into it first where there is none."""
    if not file.exists():
        write_file(file, json.dumps(said).encode())
    return json.loads(file.read_text())


def laid(options: Any) -> Bed:
    """Return the data with the network and its training."""
    after, count, held = options.after, options.records, options.held_out
    records = None if count is None else after + max(count, 3 * (held or 0))  # a third of these is held out
    made = bed("cifar10", path=str(options.data), network=options.network, records=records, epochs=options.epochs)
    made = replace(made, train=_part(made.train, after, count), holdout=_part(made.holdout, -(-after // 3), held))
    config = replace(made.trainer.config, batch_size=options.batch_size, lr=options.lr)
    if options.optimiser == "adamw":
        config = replace(config, optimiser="adamw", schedule="one_cycle", decay=(), weight_decay=0.0)
    return replace(made, trainer=replace(made.trainer, config=config))


def _part(records: Any, first: int, count: int | None) -> Any:
    """Return so many records, all where None, after the first so many."""
    last = None if count is None else first + count
    return ArrayRecords(records.x[first:last], records.y[first:last], ids=records.ids[first:last])


def picked(found: Tried, retrained: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return the trial that the objective chooses, and the one that the retrained models would choose."""
    rated = {
        trial.number: {
            **said, **measures.gaps(said, retrained), "config": dict(trial.config), "anew": found.anew,
            "harm": trial.look.harm, "objective": trial.look.harm if found.anew else trial.look.value,
        }
        for trial, said in found.usable
        if trial.look is not None
    }  # fmt: skip
    assert found.best is not None
    return {"auto": rated[found.best.number], "oracle": min(rated.values(), key=lambda one: one["avg_gap"])}


def _preference(one: Mapping[str, Any]) -> tuple[bool, float]:
    return preference(one["objective"], anew=one["anew"], harm=one["harm"])


def figures(name: str, facts: Sequence[Mapping[str, Any]], chosen: Mapping[int, Mapping[str, Any]]) -> list[Row]:
    """Return the rows of one scenario."""
    methods = sorted(set.intersection(*(set(each) for each in chosen.values())))

    def row(what: str, values: Sequence[float], **more: Any) -> Row:
        usual = {"target": None, "better": "lower", "unit": "points"}
        against = "models retrained without the records"
        return Row(name=f"{name}: {what}", **{**usual, "against": against, **over_seeds(values), **more})

    found = [
        row("average gap of a retrained model from the others", [f["floor"] for f in facts]),
        row("of the original", [f["original"]["avg_gap"] for f in facts]),
    ]
    for method in methods:
        published = f"; published {PUBLISHED[method]}" if name == "random_10" and method in PUBLISHED else ""
        ours, theirs = ([each[method][how] for each in chosen.values()] for how in ("auto", "oracle"))
        found += [
            row(f"{method}, tuned without retrained models", [o["avg_gap"] for o in ours]),
            row(f"{method}, tuned on them{published}", [o["avg_gap"] for o in theirs]),
        ]
    usable = [{m: one for m, one in chosen[f["seed"]].items() if m in f["taken"]} for f in facts]
    if not all(usable):
        return found  # with a seed no setting of these methods fits into the cost
    best = [min(each.items(), key=lambda one: _preference(one[1]["auto"])) for each in usable]
    mine, theirs = ([each[how] for _, each in best] for how in ("auto", "oracle"))
    names = ", ".join(sorted({method for method, _ in best}))
    gaps = [one["avg_gap"] for one in mine]
    found.append(row(f"auto ({names})", gaps, target=1.5 if name == "random_10" else None))
    if other := fmean(one["avg_gap"] for one in theirs):
        against = {"unit": "times", "against": "the same trials, chosen by references", "interval": None}
        times = {"value": fmean(gaps) / other, "target": 1.3, **against}
        found.append(row("auto against the same method tuned on retrained models", gaps, **times))
    pairs = list(zip(mine, facts, strict=True))
    if name == "class":
        away = [abs(100 * (o["test"] - fmean(r["test"] for r in f["retrained"]))) for o, f in pairs]
        right = [100 * (1 - one["forget"]) for one in mine]
        found.append(row("auto, UA", right, target=99.5, better="higher", unit="percent"))
        found.append(row("auto, distance of TA from retraining", away, target=1.0))
    if name.startswith("backdoor"):
        hits = [100 * one["attack"] for one in mine]
        found.append(row("auto, success of the backdoor", hits, target=10.0, unit="percent"))
        left = [100 * fmean(r["attack"] for r in f["retrained"]) for f in facts]
        found.append(row("success of the backdoor in retrained models", left, unit="percent"))
        lost = [100 * (f["original"]["test"] - o["test"]) for o, f in pairs]
        found.append(row("auto, accuracy lost", lost, target=1.0))
        without = [100 * (f["original"]["test"] - fmean(r["test"] for r in f["retrained"])) for f in facts]
        found.append(row("accuracy that retrained models lose", without))
    return found


if __name__ == "__main__":
    raise SystemExit(main())
