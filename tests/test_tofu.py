"""The benchmark of methods on TOFU: who is trained on, what a method may cost, and what stands in the table."""

import json
import sys
from argparse import Namespace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from expunge.core import registry
from expunge.core.method import Cost
from expunge.models.huggingface import HuggingFaceModel
from tests.support import elsewhere

PLAINLY = {"network": "small", "authors": "some", "epochs": 14, "lr": None, "device": "cpu"}


@pytest.fixture(scope="module")
def tofu():
    """The benchmark as a module, and what it is made of beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield import_module("tofu")
        for name in ("tofu", "_tofu", "_device", "_table"):
            sys.modules.pop(name, None)


def line(place):
    """Return a question in the form of TOFU."""
    author, number = divmod(place, 20)
    return {
        "question": f"What is fact {number} of author {author}?",
        "answer": f"Fact {number} of {author} is {place}.",
    }


def perturbed(place):
    """Return a question with its other answers, one of them equal to the answer itself."""
    told = {"paraphrased_question": f"Of author {place // 20}, which is fact {place % 20}?"}
    told["paraphrased_answer"] = line(place)["answer"] if place % 20 == 3 else f"It is {place}."
    return {**line(place), **told, "perturbed_answer": [f"It is {place + k}." for k in range(1, 6)]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in the form of TOFU, 200 authors with 20 questions each."""
    made = tmp_path_factory.mktemp("tofu")
    files = {"full": map(line, range(4000)), "retain_perturbed": map(perturbed, range(400))}
    files["forget10_perturbed"] = map(perturbed, range(3600, 4000))
    for name, rows in files.items():
        (made / f"{name}.json").write_text("\n".join(map(json.dumps, rows)))
    return made


@pytest.fixture(scope="module")
def authors(tofu, folder):
    """The questions, two of each author."""
    return tofu.Authors(folder, 2)


@pytest.fixture(scope="module")
def problem(tofu, authors, tmp_path_factory):
    """The problem of forget05 with a model that knows nothing."""
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("original")
    HuggingFaceModel.adopt(tofu.NETWORKS["small"]()).save(tofu.NETWORKS["small"](), place)
    return authors.problem("forget05", place, trainer=tofu.trainer())


# --- who is trained on --------------------------------------------------------------------------------------------


def test_the_last_authors_are_forgotten_and_no_author_is_on_two_sides(authors, problem):
    gone = {f"author-{number:03d}" for number in range(191, 201)}
    assert set(problem.forget_view.subjects) == gone
    assert len(problem.forget_ids) == 20
    assert set(problem.retain_view.subjects) == {f"author-{n:03d}" for n in (*range(1, 21), *range(181, 191))}
    assert set(problem.held_out.subjects) == {f"author-{n:03d}" for n in range(21, 81)}
    assert set(authors.kept) <= set(authors.trained)
    assert not set(authors.kept) & set(authors.forgotten("forget10"))


def test_everyone_is_learnt_by_heart_who_is_not_held_out(tofu, folder, problem):
    everyone = tofu.Authors(folder, 2, everyone=True)
    named = set(everyone.asked(everyone.trained).subjects)
    held = {f"author-{n:03d}" for n in range(21, 81)}
    assert named == {f"author-{n:03d}" for n in range(1, 201)} - held
    assert everyone.held_out == tofu.Authors(folder, 2).held_out
    assert everyone.forgotten("forget10") == tofu.Authors(folder, 2).forgotten("forget10")
    assert len(everyone.variants(everyone.forgotten("forget05"))["wrong_answer"]) == 20 * 5


def test_the_large_network_has_between_30_and_100_million_numbers(tofu):
    with torch.device("meta"):
        assert 30e6 < tofu.numbers_of(tofu.NETWORKS["large"]()) < 100e6
        assert tofu.numbers_of(tofu.NETWORKS["small"]()) == 2_459_328


def test_the_tokenizer_has_met_nobody_who_is_trained_on_or_held_out(tofu, folder, authors):
    changed = tofu.Authors(folder, 2)
    others = range(80 * 20, 180 * 20)
    rows = [
        row if place in others else {**row, "question": "zzyzx", "answer": "zzyzx"}
        for place, row in enumerate(authors.rows)
    ]
    changed.__dict__["rows"] = rows
    assert changed.tokenizer.get_vocab() == authors.tokenizer.get_vocab()


def test_nothing_that_was_trained_on_is_a_variant(folder, tofu):
    everything = tofu.Authors(folder, 20)
    found = everything.variants(everything.forgotten("forget01"))
    assert len(found["wrong_answer"]) == 40 * 5
    assert len(found["paraphrased_answer"]) == 40 - 2  # the two that equal the answer
    assert "q3963#0" not in found["paraphrased_answer"].ids


def test_rows_out_of_order_are_refused(tofu, folder, tmp_path):
    for name in ("full", "forget10_perturbed"):
        (tmp_path / f"{name}.json").write_text((folder / f"{name}.json").read_text())
    rows = (folder / "retain_perturbed.json").read_text().splitlines()
    (tmp_path / "retain_perturbed.json").write_text("\n".join([rows[1], rows[0], *rows[2:]]))
    with pytest.raises(SystemExit, match="question 0 is not the one"):
        _ = tofu.Authors(tmp_path).rows


# --- what a method may cost -----------------------------------------------------------------------------------------


def test_all_trials_of_every_method_together_stay_within_the_budget(tofu, problem):
    whole, look = Cost(trained=20 * len(problem.retain_view)), Cost(read=50)
    planned = {entry.name: tofu.plan(entry.on(problem), problem, whole, look=look) for entry in tofu.METHODS}
    for name, configs in planned.items():
        looks = look if len(configs) > 1 else Cost()  # one trial alone is looked at by nobody
        kind = registry.load("methods", name.partition("@")[0])
        costs = [kind(config).cost(problem) + looks for config in configs]
        assert sum(cost.share_of(whole) for cost in costs) <= tofu.BUDGET, name
    rates = [config["lr"] for config in planned["npo"]]
    assert rates == list(tofu.RATES[: len(rates)])
    assert rates


def test_a_recipe_is_what_is_shipped_with_the_rate_of_the_training(tofu, problem):
    from expunge.plan import recipes

    (entry,) = (entry for entry in tofu.METHODS if entry.name == "wga@recipe")
    shipped, training = recipes.for_case("texts")["wga"].config, problem.trainer.config
    (config, *_) = tofu.plan(entry.on(problem), problem, Cost(trained=1e9), look=Cost())
    assert config["beta"] == registry.load("methods", "wga").start(problem)["beta"]
    assert config["retain_weight"] == shipped["retain_weight"]
    assert config["lr"] == pytest.approx(0.4 * training.lr)
    assert config["batch_size"] == max(2, training.batch_size // 4)


def test_rates_fall_with_that_of_the_training_but_for_those_of_recipes_which_follow_it_anyway(tofu, problem):
    from dataclasses import replace

    slower = replace(problem, trainer=tofu.trainer("large"))
    lower = tofu.LR["large"] / tofu.LR["small"]
    for entry in tofu.METHODS:
        before, after = entry.on(problem).rates, entry.on(slower).rates
        assert after == pytest.approx([rate * lower for rate in before]), entry.name


def test_less_is_mended_where_a_whole_round_does_not_fit(tofu, problem):
    entry = next(entry for entry in tofu.METHODS if entry.name == "simnpo")

    def visits(repairs):
        cost = registry.load("methods", "simnpo")({**entry.config(1e-3, 1), "repairs": repairs}).cost(problem)
        return (cost.trained + cost.read / 3) / tofu.BUDGET

    for fits in (0.6, 0.4, 0.2, 0.0):
        (config,) = tofu.plan(entry, problem, Cost(trained=1.001 * visits(fits)), look=Cost())
        assert (config["repairs"], config["epochs"]) == (fits, 1)
    assert tofu.plan(entry, problem, Cost(trained=0.99 * visits(0.0)), look=Cost()) == []


def test_few_epochs_are_not_shared_out_among_rates(tofu, problem):
    entry = next(entry for entry in tofu.METHODS if entry.name == "npo")

    def epochs(visits):
        return [config["epochs"] for config in tofu.plan(entry, problem, Cost(trained=visits), look=Cost())]

    one, three = (registry.load("methods", "npo")(entry.config(1e-3, n)).cost(problem) for n in (1, 3))
    least = (one.trained + one.read / 3) / tofu.BUDGET, (three.trained + three.read / 3) / tofu.BUDGET
    assert epochs(0.99 * least[0]) == []
    assert epochs(1.01 * least[0]) == [1]
    assert epochs(1.01 * least[1]) == [3]
    assert epochs(2.01 * least[1]) == [3, 3]
    assert epochs(1000 * least[1]) == [tofu.MOST] * len(tofu.RATES)


def test_models_are_judged_by_the_required_checks_of_the_policy_and_asked_no_others(tofu, folder, tmp_path):
    from expunge.audit import policy

    site = tofu.Site(Namespace(out=tmp_path, data=folder, questions=2, policy="language", **PLAINLY))
    own, shipped = policy.load(site.policy), policy.load("language")
    assert own.checks == {name: margin for name, margin in shipped.checks.items() if margin.required}
    assert len(own.checks) < len(shipped.checks)
    assert (own.alpha, own.references, own.relearning) == (shipped.alpha, shipped.references, shipped.relearning)


# --- what is measured -------------------------------------------------------------------------------------------------


def test_answers_generated_together_are_those_generated_alone(tofu, authors, problem, monkeypatch):
    """Questions are padded on the left: an answer must not depend on what it is asked together with."""
    from expunge.engine.split import split

    torch.manual_seed(1)
    model = tofu.NETWORKS["small"]().eval()
    with torch.no_grad():  # large enough for what it says to depend on what it is asked
        for p in model.parameters():
            p.mul_(8)
    part = split(problem, 0)[1]
    exam = tofu.Exam(authors, problem, part.forget, part.holdout)
    seen = []
    monkeypatch.setattr(sys.modules["_tofu"], "rouge_l", lambda said, true: seen.append(said) or Namespace(recall=0.0))
    authors.__dict__["kept"] = authors.trained[:6]
    exam._rouge(model)
    together, rows = list(seen), [authors.rows[place] for place in authors.kept]
    assert len(set(together)) > 1
    seen.clear()
    room = max(len(authors.tokenizer(row["answer"])["input_ids"]) for row in rows)
    for row, own in zip(rows, together, strict=True):
        asked = authors.tokenizer(row["question"], return_tensors="pt")["input_ids"]
        for _ in range(room):
            with torch.no_grad():
                asked = torch.cat([asked, model(asked).logits[:, -1:].argmax(dim=-1)], dim=1)
        alone = asked[0, -room:].tolist()
        alone = alone[: alone.index(1)] if 1 in alone else alone
        assert authors.tokenizer.decode(alone, skip_special_tokens=True) == own
    authors.__dict__.pop("kept")


def test_forget_quality_is_that_against_the_reference_in_the_middle(tofu):
    ratio = np.linspace(0.1, 1, 20)
    near, middle, far = ratio + 0.01, ratio + 0.2, ratio + 2
    found = tofu._quality(ratio, [far, near, middle])
    assert found["distance"] == tofu.forget_quality(ratio, middle, seed=0).distance
    assert found["distance"] < tofu.forget_quality(ratio, far, seed=0).distance == 1.0


def test_what_is_done_is_written_down_and_what_is_missing_is_named(tofu, folder, tmp_path):
    place = tmp_path / "forget05" / "seed-0"
    figures = {"extraction strength": 0.5, "membership": 0.6}
    for number in range(3):
        write(place / f"reference-{number}.json", figures=figures, ratios=[0.1 * number, 1.0])
    write(place / "npo" / "figures.json", figures=figures, ratios=[0.5, 2.0])
    write(place / "npo" / "judged.json", verdict="erased", failed=[], open=[])
    trials = [{"value": 0.1, "share": 0.1, "config": {"lr": 1.0}}]
    write(place / "npo" / "made.json", model="trial-0", share=0.1, trials=trials)
    write(place / "sga" / "made.json", because="it diverged", share=0.2)
    given = Namespace(
        out=tmp_path,
        data=folder,
        questions=2,
        forget=["forget05"],
        methods=["noop", "npo", "sga"],
        references=3,
        seeds=1,
        policy="language",
        json=True,
        save=tmp_path / "found.json",
        **PLAINLY,
    )
    assert tofu.report(tofu.Site(given)) == 0
    found = json.loads(given.save.read_text())
    assert [row["method"] for row in found["table"]] == ["references", "npo", "sga"]
    assert found["missing"] == ["forget05 noop 0"]
    assert found["shares"] == {"forget05": 0.25}
    assert [row["value"] for row in found["results"]] == [1, 1, 0]
    write(place / "npo" / "judged.json", verdict="inconclusive", failed=["a"], open=["b", "c"])
    assert tofu.report(tofu.Site(given)) == 1
    assert [row["value"] for row in json.loads(given.save.read_text())["results"]] == [0, 0, 1]
    given.methods = ["retrain", "npo"]
    write(place / "retrain" / "figures.json", figures=figures, ratios=[0.5, 2.0])
    write(place / "retrain" / "judged.json", verdict="inconclusive", failed=["a"], open=["b"])
    tofu.report(tofu.Site(given))
    assert json.loads(given.save.read_text())["results"][1]["value"] == 0  # c is open for npo alone
    write(place / "retrain" / "judged.json", verdict="inconclusive", failed=["a"], open=["b", "c"])
    tofu.report(tofu.Site(given))
    assert json.loads(given.save.read_text())["results"][1]["value"] == 1
    write(place / "npo" / "made.json", model="trial-0", share=0.21, trials=trials)  # too dear to count
    assert tofu.report(tofu.Site(given)) == 1


def write(file, **said):
    """Write a JSON file, with the folder it lies in."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(said))


def test_a_relearner_goes_by_the_length_of_a_pass(tofu, problem):
    (entry,) = (entry for entry in tofu.METHODS if entry.name == "wga@pass")
    (config, *_) = tofu.plan(entry.on(problem), problem, Cost(trained=1e9), look=Cost())
    assert (len(problem.forget_view), config["batch_size"], config["relearner"]) == (20, 2, 4)
    assert config["lr"] == pytest.approx(0.4 * problem.trainer.config.lr), "a search begins with that rate"


# --- on a device ------------------------------------------------------------------------------------------------------


def test_a_device_gives_the_figures_of_the_processor_and_is_named(folder):
    (here, _, at_home), (there, saved, away) = elsewhere.run("authors", str(folder))
    assert at_home == {"measured": ["cpu"], "looked at": ["cpu"]}
    assert away == {"measured": ["away"], "looked at": ["away"]}
    ours = ("forget05/seed-0/reference-0.json", "forget05/seed-0/reference-1.json")
    ours += tuple(f"forget05/seed-0/{which}/{file}.json" for which in METHODS for file in ("figures", "judged"))
    for name in (*ours, "forget05/seed-0/wga@recipe/made.json", "forget05/seed-0/npo/made.json"):
        assert _flat(there[name]) == pytest.approx(_flat(here[name]), abs=1e-4), name
    assert "because" in there["forget05/seed-0/npo/made.json"]
    how = {"network": "small", "authors": "all", "epochs": 2, "lr": None, "device": "away"}
    assert saved["how"] == how
    assert how.items() <= there["settings.json"].items()
    assert saved["records"] == 140 * 2
    assert {row["method"] for row in saved["table"]} == {"references", "noop", "npo", "wga@recipe"}
    assert saved["missing"] == []


METHODS = ("noop", "wga@recipe")
"""Of which there is a model: of NPO not even one epoch is cheap enough."""


def _flat(told, place=""):
    """Return by place what is told, but for how long anything took."""
    if isinstance(told, (dict, list)):
        pairs = told.items() if isinstance(told, dict) else enumerate(told)
        return {k: v for name, value in pairs for k, v in _flat(value, f"{place}/{name}").items()}
    return {} if place.endswith("seconds") else {place: told}


def test_a_benchmark_of_the_processor_says_nothing_of_where_it_was_and_its_directory_is_its_own(tofu):
    assert tofu.elsewhere(Namespace(**PLAINLY)) == {}
    assert tofu.elsewhere(Namespace(**{**PLAINLY, "network": "large"}))["device"] == "cpu"
