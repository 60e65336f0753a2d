"""Problems on a device: one made in Python, which refuses to compute with tensors of the processor, in its own process.

It computes with the processor's kernels: what is right there is equal in every bit. No GPU was at hand.
"""

import pickle
from dataclasses import replace

import pytest
import torch
from sklearn.naive_bayes import GaussianNB
from torch.nn.attention import SDPBackend

from expunge.conformance import methods, problems
from expunge.core import registry
from expunge.core.errors import InvalidProblem, UsageError
from expunge.core.method import Need
from expunge.core.model import ModelSource
from expunge.core.problem import Problem
from expunge.data.table import TableRecords
from expunge.engine import device
from expunge.engine.runtime import attend_by, attended
from expunge.models.adapted import AdaptedModel
from expunge.workflow import plan
from tests.support import elsewhere
from tests.support import languages as L
from tests.support.people import FEATURES, fitted, people

TEXTS = (
    "npo",
    "simnpo",
    "rmu",
    "wga",
    "undial",
    "whp",
    "idk_dpo",
    "scrub",
    "retrain",
    "ssd",
    "eu_k",
    "sga",
    "tau",
    "pdu",
)
META = torch.device("meta")
"""A device that no problem is computed on here: for what is done before anything is computed."""


@pytest.fixture(autouse=True)
def any_order_again():
    kernels = attended()
    yield
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.use_deterministic_algorithms(False)  # a problem that comes from another process keeps it on
    attend_by(kernels)


def test_the_device_refuses_tensors_of_the_processor_as_a_gpu_does():
    assert elsewhere.run("refuses") == [
        "expected all tensors on one device (aten::add)",
        "away:0",
        "away:0",
        "away:0",
    ]


@pytest.mark.parametrize("part", [0, 1])
def test_methods_on_classifiers_end_on_a_device_where_they_end_on_the_processor(part):
    names = [name for name in registry.names("methods") if _of_networks(registry.load("methods", name))][part::2]
    assert len(names) > 15
    assert elsewhere.run("forgotten", "classes", *names) == {name: [["away"], 0.0] for name in names}


def _of_networks(method):
    """Whether a method is for networks with classes, and for more than recorded trainings and shards."""
    recorded = method.needs & {Need.LEDGER, Need.SHARDS}
    return not recorded and method.name != "native" and methods._kind(method) != {"language": True}


def test_methods_on_texts_end_on_a_device_where_they_end_on_the_processor():
    assert elsewhere.run("forgotten", "language", *TEXTS) == {name: [["away"], 0.0] for name in TEXTS}


@pytest.mark.parametrize(
    ("kind", "method", "policy"), [("classes", "finetune", "standard"), ("language", "npo", "language")]
)
def test_an_audit_on_a_device_finds_what_one_on_the_processor_finds(kind, method, policy):
    here, there = elsewhere.run("judged", kind, method, policy)
    assert here[0]
    assert here[0] == there[0]
    assert (here[1], here[3]) == (there[1], there[3])  # the model's digest, and the files it is saved in
    assert (here[2], there[2]) == (None, "away")


@pytest.mark.slow
def test_workers_that_share_a_device_find_what_one_process_finds_on_the_processor():
    """Those that train references, one or both as they come to it, and the one that audits: all on the device."""
    here, there, answered = elsewhere.run("spawned")
    assert here[0]
    assert here[:2] == there[:2]
    assert there[2:] == ["fresh process", "away"]
    assert len(answered) >= 2
    assert set(answered) == {"away"}


def test_references_are_trained_as_one_on_a_device_as_well():
    assert elsewhere.run("stacked") == [True, "away", 0.0]


def test_a_model_and_a_trainer_may_lie_and_train_where_they_like():
    here, *others = elsewhere.run("strewn")
    assert here
    assert others == [here, here]


def test_a_run_that_was_cut_short_on_a_device_goes_on_to_the_same_bits():
    saved, apart = elsewhere.run("resumed")
    assert saved
    assert apart == 0.0


def test_devices_are_named_as_torch_names_them():
    said = elsewhere.run("named", "", "cpu", "away", "away:0", "away:1", "cuda", "away:-1", "away:x", "cpu:0")
    assert said == ["cpu", "cpu", "away:0", "away:0", *["cpu or away:0"] * 5]


def test_a_device_that_is_not_there_is_told_with_those_that_are():
    if torch.accelerator.is_available():
        pytest.skip("there is a device here")
    with pytest.raises(UsageError) as caught:
        device.device_of("cuda")
    assert (caught.value.obstacles[0].found, caught.value.obstacles[0].expected) == ("'cuda'", "cpu")


def test_a_problem_for_the_processor_stays_what_it_is():
    problem = problems.problem()
    assert device.placed(problem, torch.device("cpu")) is problem


def test_what_is_recorded_kept_in_shards_or_no_network_stays_on_the_processor():
    for problem in (problems.problem(ledger=True), problems.problem(shards=3), _of_a_table()):
        assert device.stays(problem)
        assert device.placed(problem, META) is problem


def _of_a_table():
    records = TableRecords(people(), label="income", id="person", features=FEATURES)
    return Problem(model=fitted(GaussianNB(), people()), train=records, forget=["p0-001"])


def test_a_problem_is_the_same_one_on_a_device_and_crosses_to_other_processes_as_what_it_was():
    problem = problems.problem()
    there = device.placed(problem, META)
    assert there.spec == problem.spec
    assert {p.device for p in there.source.open().parameters()} == {META}
    assert device.placed(there, META) is there
    again = pickle.loads(pickle.dumps(there))
    assert type(again) is type(there)
    assert again.device == META
    assert again.spec == problem.spec
    assert type(again.source.at_home) is type(problem.source)
    assert type(again.trainer.at_home) is type(problem.trainer)


def test_adapters_on_a_base_say_what_they_rest_on_wherever_they_lie(tmp_path):
    source = AdaptedModel(L.adapted(tmp_path))
    problem = Problem(model=source, train=L.records(), task="causal_lm", forget=["kaba-town"])
    there = device.placed(problem, META).source
    assert there.rests_on == source.rests_on
    bare = there.bare()
    assert {p.device for p in bare.parameters()} == {META}
    assert bare.state_dict().keys() == source.bare().state_dict().keys()
    assert device.placed(problems.problem(), META).source.bare() is None


def test_a_placed_source_leaves_nothing_to_its_class_that_the_one_at_home_says():
    set_when_made = {"name", "rests_on"}
    said = {name for name in vars(ModelSource) if not name.startswith("_")} - {"accepts", "gradients", *set_when_made}
    assert said <= vars(device.PlacedSource).keys()


def test_a_trainer_of_somebody_else_stays_what_it_is_and_its_models_are_moved():
    plain = problems.problem()
    given = {name: getattr(plain, name) for name in ("model", "train", "forget", "holdout")}
    there = device.placed(Problem(**given, trainer=made), META)
    assert there.trainer is made
    assert there.model is plain.model, "or nobody would see that a trainer returns the original itself"
    model = made(there.records, seed=1)
    assert device.settled(plain, model) is model
    assert {p.device for p in device.settled(there, model).parameters()} == {META}
    assert device.settled(there, "no network") == "no network"


def made(records, *, seed):
    torch.manual_seed(seed)
    return torch.nn.Linear(4, 3)


def test_what_stands_for_the_model_of_a_problem_on_a_device_lies_there_too():
    there = device.placed(problems.problem(), META)
    model = problems.problem().source.open()
    for other in (model, there.source):
        source = replace(there, model=other).source
        assert {p.device for p in source.open().parameters()} == {META}
        assert not isinstance(source.at_home, device.PlacedSource)


def test_what_is_wrong_with_a_problem_is_told_at_once_wherever_it_is_to_be_computed(monkeypatch):
    monkeypatch.setattr(device, "device_of", lambda name: META)
    with pytest.raises(InvalidProblem) as caught:
        plan(Problem(model=3, train=4, forget=["x"]))
    assert len(caught.value.obstacles) == 2


def test_a_model_is_taken_to_the_device_that_nobody_has_to_name(monkeypatch):
    monkeypatch.setattr(device, "device_of", lambda name: META if not name else None)
    model = torch.nn.Linear(4, 3)
    source = device.PlacedSource.adopt(model)
    assert next(source.open().parameters()).device == META
    assert source.digest() == registry.adopt("models", model).digest()


def test_tied_weights_stay_tied_when_a_model_comes_home_to_be_saved():
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    model[1].weight = model[0].weight
    held = model[0].weight
    with device.home(model) as at_home:
        assert at_home[0].weight is at_home[1].weight is held


def test_kernels_add_in_one_order_while_a_device_works_and_as_before_afterwards():
    problem = problems.problem()
    with device.steady(problem):
        assert not torch.are_deterministic_algorithms_enabled()
    with device.steady(device.placed(problem, META)):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert not torch.are_deterministic_algorithms_enabled()


def test_attention_adds_in_one_order_while_a_device_works_and_as_before_afterwards():
    """Where torch only warns, the backward passes of its fast kernels add in any order."""
    some = torch.ones(1, 1, 8, 8, requires_grad=True)

    def chosen():
        return SDPBackend(torch._fused_sdp_choice(some, some, some))

    before = chosen()
    with device.steady(device.placed(problems.problem(), META)):
        assert chosen() == SDPBackend.MATH
    assert chosen() == before != SDPBackend.MATH
