"""What the registry holds: methods, checks, estimators, test beds, and the kinds of tasks, data and models."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from _reference.text import doc, first_line, page, plain, settings, table
from expunge.audit import policy as policies
from expunge.core import registry
from expunge.core.check import Question
from expunge.core.method import Method

MEASURED = Path(__file__).parents[2] / "benchmarks" / "results" / "demo_verdicts.json"


def _all(room: str) -> dict[str, Any]:
    return {name: registry.load(room, name) for name in registry.names(room)}


def _listed(needs: frozenset[Any]) -> str:
    return ", ".join(sorted(need.value for need in needs)) or "nothing"


def _exempt(thing: Any) -> str:
    if not thing.exempt:
        return ""
    rows = [(f"`{case}`", reason) for case, reason in thing.exempt.items()]
    return "Exempt from these [contract cases](../concepts/conformance.md):\n\n" + table(("case", "because"), rows)


def methods() -> str:
    """Return the page of methods."""
    known = _all("methods")
    overview = [(f"[`{n}`](#{n})", m.title, m.guarantee.value, _listed(m.needs)) for n, m in known.items()]
    return page(
        "Methods",
        "A method turns a problem into an unlearned model. Its guarantee is what it gives by construction; what may be "
        "claimed in the end also depends on the audit ([Levels and claims](../concepts/levels.md)).",
        table(("name", "title", "guarantee", "needs"), overview),
        "Costs count passes over records: a record that is trained on weighs three that are only read.",
        *(_method(name, method) for name, method in known.items()),
    )


def _method(name: str, method: type[Method]) -> str:
    control = "A control: it must fail its audit, and is never planned, only run by name." if method.control else ""
    cost = next(b.__dict__["cost"] for b in method.__mro__ if "cost" in b.__dict__)
    facts = [
        f"- **Guarantee:** [{method.guarantee.value}](../concepts/levels.md)",
        f"- **Needs:** {_listed(method.needs)}",
        f"- **Source:** {method.source}",
        f"- **Cost:** {_as_noun(first_line(cost))}",
    ]
    table_ = settings(method.Config) if any(True for _ in method.Config.__dataclass_fields__) else "No settings."
    parts = [f"## {name}", f"*{method.title}*", control, doc(method), "\n".join(facts), table_, _exempt(method)]
    return "\n\n".join(part for part in parts if part)


def _as_noun(sentence: str) -> str:
    return sentence.removeprefix("Return ")


def checks() -> str:
    """Return the page of checks."""
    policy, known = policies.load("standard"), _all("checks")
    margins = {name: policies.load(name).checks for name in policies.names()}
    measured = json.loads(MEASURED.read_text())
    parts = [
        "A check is one metric or attack. It asks one of three questions, and gives a measurement or says why it has "
        "none. It passes where the whole interval of (model − references) lies inside its margin.",
        "**When nothing is wrong** a check says what models retrained without the records say, and that is seldom 0. "
        "The report shows beside each check the lowest and the highest difference of one reference from the others, "
        "and the chance that a true retrain passes. The figures below are those of the demo: the mean and the seed "
        f"standard deviation over retrained models, and the original (`benchmarks/results/{MEASURED.name}`, commit "
        f"`{measured['commit'][:12]}`{_since(measured, policy)}).",
    ]
    for question in Question:
        parts.append(f"## {question.value}")
        parts += [
            _check(
                name,
                check,
                {of: suite[name] for of, suite in margins.items() if name in suite},
                measured["margins"].get(name),
            )
            for name, check in known.items()
            if check.question is question
        ]
    return page("Checks", *parts)


def _since(measured: Any, policy: Any) -> str:
    return "" if measured["policy"] == policy.digest else "; the standard policy has changed since"


_WHEN = {
    "always": "",
    "corrections": " (only where the request gives true labels)",
    "around": " (only where inputs can be moved a little)",
    "features": " (only where the task gives features)",
    "classes": " (only where every class has 45 holdout records)",
    "gradients": " (only where the model is a network, which can be trained further)",
    "canaries": " (only where some were planted)",
    "peers": " (only where held-out records are like the forgotten ones)",
    "shards": " (only where the model is an ensemble in shards, with its ledgers)",
    "groups": " (only where the problem names groups, with holdout records enough in each)",
    "trigger": " (only where the problem gives the trigger of a backdoor)",
    "tokens": " (only where the model is a language model)",
    "rounded": " (only where the model has linear weights, which can be rounded)",
    "related": " (only where the forgotten texts are of several kinds)",
    "neighbouring": " (only where the language model can be trained further)",
    "unrelated": " (only where there are held-out texts to train it on)",
    "shots": " (only where there is room for other texts before one)",
    "paraphrases": " (only where the problem gives paraphrased questions)",
    "wrong_answers": " (only where the problem gives paraphrased and wrong answers)",
    "begun": " (only where an answer tells something beyond its beginning)",
    "role_play": " (only where there is room for a role to play)",
    "conversation": " (only where there is room for two turns of a conversation)",
    "samples": " (only where there is room for an answer)",
    "written": " (only where there is room for an answer)",
    "inner": " (only where the model has several blocks, which can be read)",
}


def _check(name: str, check: Any, margins: dict[str, Any], measured: Any) -> str:
    side = "is better" if check.question is Question.INTACT else "is more forgotten"
    facts = [
        f"- **Measured:** {_as_noun(first_line(check.measure))}",
        f"- **Unit:** {check.unit}; {check.better.value} {side}",
        f"- **Needs:** {_listed(check.needs)}",
        f"- **Source:** {check.source}",
        f"- **Cannot see:** {check.cannot_see}",
    ]
    if not margins:
        facts.append("- **Margin:** none: no policy of ours uses it")
    facts += [
        f"- **Margin in the {policy} policy:** {margin.margin:g}{_WHEN[margin.when]}: {margin.reason}"
        for policy, margin in margins.items()
    ]
    if measured:
        facts.append(
            f"- **When nothing is wrong, on the demo:** {measured['mean']:.3f} with a seed standard deviation of "
            f"{measured['seed_sd']:.4f}; the original has {measured['original']:.3f}"
        )
    else:
        facts.append("- **When nothing is wrong:** what retrained models say; not measured on the demo")
    parts = [f"### {name}", f"*{check.title}*", doc(check), "\n".join(facts), _exempt(check)]
    return "\n\n".join(part for part in parts if part)


def estimators() -> str:
    """Return the page of estimators."""
    known = _all("estimators")
    overview = [(f"[`{e.__name__}`](#{n})", e.title, _level(e)) for n, e in known.items()]
    return page(
        "Estimators",
        "Estimators of `expunge.estimators` follow scikit-learn and add `forget(ids)`: after any sequence of "
        "`partial_fit` and `forget` an estimator equals a fresh fit on the rows that remain, to the level that it "
        "states ([Tables](../guides/tables.md)). None of them needs torch.",
        table(("class", "what it is", "guarantee"), overview),
        *(_estimator(name, kind) for name, kind in known.items()),
    )


def _level(kind: Any) -> str:
    return kind.guarantee.value


def _estimator(name: str, kind: Any) -> str:
    facts = [
        f"- **Guarantee:** [{_level(kind)}](../concepts/levels.md)",
        f"- **It rests on:** {kind.argument}",
        f"- **Source:** {kind.source}",
    ]
    parts = [f"## {name}", f"*{kind.title}*: `expunge.estimators.{kind.__name__}`", doc(kind), "\n".join(facts)]
    return "\n\n".join([*parts, _exempt(kind)]).strip()


def ways() -> str:
    """Return the page of ways to find records."""
    parts = [
        "A way finds retained records that belong to a request and that it does not name. What it finds is for people "
        "to look at: `expunge find`, or `expunge.find(problem)`.",
    ]
    for name, way in _all("find").items():
        parts.append("\n\n".join([f"## {name}", f"*{way.title}*", doc(way), f"- **Source:** {way.source}"]))
    return page("Ways to find", *parts)


def testbeds() -> str:
    """Return the page of test beds."""
    parts = [
        "A test bed is a small problem, a pure function of its seed, whose answer after any deletion is known. Methods "
        "and checks are tried on them before they are trusted anywhere else.",
    ]
    for name, bed in _all("testbeds").items():
        kind = "with a model and a trainer" if hasattr(bed, "problem") else "an answer in closed form, no network"
        facts = f"- **Kind:** {kind}\n- **Source:** {bed.source}\n- **Truth:** {_truth(bed)}"
        parts.append("\n\n".join([f"## {name}", f"*{bed.title}*", doc(bed), facts]))
    return page("Test beds", *parts)


def _truth(bed: Any) -> str:
    return _as_noun(" ".join(plain(inspect.getdoc(bed.truth) or "").split("\n\n")[0].split()))


def kinds() -> str:
    """Return the page of tasks, data and models."""
    parts = [
        "What a problem may be made of. Each kind is one file, or a plug-in; the first that accepts a thing takes it."
    ]
    for room, title, says in (
        ("tasks", "Tasks", "How a model meets a batch: `task=` of a problem."),
        ("data", "Data", "What `train=` and `holdout=` of a problem may be."),
        ("models", "Models", "What `model=` of a problem may be."),
    ):
        parts += [f"## {title}", says]
        for name, kind in _all(room).items():
            parts += [f"### {name}", f"`{kind.__module__}.{kind.__qualname__}`", doc(kind)]
            accepts = kind.__dict__.get("accepts")
            if accepts is not None:
                parts.append(f"Accepts {first_line(accepts.__func__).removeprefix('Return whether `thing` is ')}")
    return page("Tasks, data, models", *parts)
