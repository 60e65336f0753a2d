"""``expunge audit``: a model made elsewhere is judged, and never certified."""

import json

from expunge.engine import manifests
from expunge.render.formats import FORMATS
from tests.support.tiny import tiny_problem as tiny


def test_a_good_and_a_bad_model(project, call, in_process):
    source, job = tiny.make().source, project / "job.toml"
    good, bad = project / "good", project / "bad"
    for folder, model in ((good, tiny.train(tiny.make().retain_view, seed=77)), (bad, tiny.original())):
        folder.mkdir()
        source.save(model, folder)
    result = call("audit", job, "--model", good, "--json")
    assert (result.code, result.json["verdict"], result.json["claim"]) == (0, "erased", "audited")
    assert (result.json["certificate"], result.json["model"]) == (None, None)
    result = call("audit", job, "--model", bad / "model.safetensors", "--json")
    assert (result.code, result.json["verdict"], result.json["claim"]) == (1, "not erased", None)
    assert len(result.json["attempts"]) == 2
    text = call("audit", job, "--model", good)
    assert (text.code, text.out) == (0, "")
    assert "report.html" in text.err
    assert f"erase {job}" in text.err  # where a certificate would come from


def given(folder, count=6):
    """Save models that were retrained elsewhere, each beside its manifest; return the flags that name them."""
    problem = tiny.make()
    flags = []
    for seed in range(count):
        place = folder / f"theirs-{seed}"
        place.mkdir()
        problem.source.save(tiny.train(problem.retain_view, seed=100 + seed), place)
        manifests.write(place, problem.retain_view)
        flags += ["--reference", place]
    return flags


def candidates(folder):
    """Save a true retrain and the original as models under audit."""
    source = tiny.make().source
    good, bad = folder / "good", folder / "bad"
    for place, model in ((good, tiny.train(tiny.make().retain_view, seed=77)), (bad, tiny.original())):
        place.mkdir()
        source.save(model, place)
    return good, bad


def without_trainer(project, more=""):
    (project / "case.py").write_text(
        "import tiny_problem as tiny\ndef problem():\n    return tiny.make(trainer=None)\n"
    )
    path = project / "without.toml"
    path.write_text(f'problem = "case:problem"\nout = "without"\npolicy = "policy.toml"\n{more}')
    return path


def test_models_and_references_that_were_all_made_elsewhere(project, call, in_process):
    (good, bad), flags, job = candidates(project), given(project), without_trainer(project)
    forms = [word for name in ("junit", "sarif", "markdown") for word in ("--also", name)]
    result = call("audit", job, "--model", good, *flags, *forms, "--json")
    assert (result.code, result.json["verdict"], result.json["claim"]) == (0, "erased", "audited")
    run = project / "without"
    report = json.loads((run / "report.json").read_text())
    assert (report["plan"]["references"], len(report["control"]["references"])) == (6, 6)
    assert all(seed < 0 for seed in report["control"]["references"])
    assert any("All 6 retrained models were made elsewhere" in line for line in report["limits"])
    (line,) = [line for line in report["costs"] if "made elsewhere (6)" in line["what"]]
    assert line["cost"] == {"trained": 0.0, "read": 0.0}
    assert "made elsewhere, made elsewhere" in (run / "report.html").read_text()
    for name in ("html", "json", "junit", "sarif", "markdown"):
        assert (run / FORMATS[name].file).is_file(), name
    result = call("audit", job, "--model", bad, *flags, "--json")
    assert (result.code, result.json["verdict"]) == (1, "not erased")
    assert len(result.json["attempts"]) == 2, "the same run: another attempt, at half the error rate"


def test_the_job_file_may_name_the_references(project, call, in_process):
    good, _ = candidates(project)
    names = [flag.name for flag in given(project)[1::2]]
    job = without_trainer(project, f"given_references = {json.dumps(names)}\n")
    assert call("audit", job, "--model", good, "--json").json["verdict"] == "erased"
    planned = call("plan", job, "--json").json
    assert (planned["references"], planned["choosing_references"]) == (6, 0)
    assert not [line for line in planned["advice"] if "no references" in line]


def test_given_references_stand_in_for_trained_ones(project, call, in_process):
    good, _ = candidates(project)
    result = call("audit", project / "job.toml", "--model", good, *given(project, 2), "--json")
    assert result.code == 0
    report = json.loads((project / "run" / "report.json").read_text())
    seeds = report["control"]["references"]
    assert (len(seeds), sum(seed < 0 for seed in seeds)) == (6, 2), "the trainer makes the other four"
    assert any(line.startswith("2 of the 6 retrained models") for line in report["limits"])
    assert any("references for judging (4)" in line["what"] for line in report["costs"])


def test_two_are_too_few_and_it_says_so(project, call, in_process):
    good, _ = candidates(project)
    job = without_trainer(project)
    result = call("audit", job, "--model", good, *given(project, 2), "--json")
    assert (result.code, result.json["verdict"]) == (1, "inconclusive")
    assert any("3 references or more" in step["why"] for step in result.json["next"])
    report = json.loads((project / "without" / "report.json").read_text())
    assert {f["result"]["because"] for f in report["attempts"][0]["audits"][0]["findings"]} == {
        "needs 3 retrained references or more, there are 2"
    }
    assert any("Only 2 references were given: 3 or more are needed" in line for line in report["plan"]["advice"])


def test_a_reference_that_saw_a_forgotten_record_is_refused_before_any_work(project, call, in_process):
    (good, _), flags, job = candidates(project), given(project), without_trainer(project)
    manifests.write(flags[3], tiny.training())
    result = call("audit", job, "--model", good, *flags, "--json")
    assert result.code == 5
    (problem,) = result.json["error"]["problems"]
    assert (problem["what"], problem["found"]) == (
        "a reference was trained on forgotten records",
        "24 of 24 by its manifest",
    )
    assert "zebra" not in result.out + result.err
    assert not (project / "without").exists()
