"""What a pass reads: each record of the set that leads once, the other beside it, both in one call where asked for."""

import pytest
import torch

from expunge.core.errors import UsageError
from expunge.core.problem import Problem
from expunge.core.records import View
from expunge.data.language import LanguageRecords
from expunge.data.texts import TextRecords
from expunge.engine.visits import Pass, concatenated, rows
from tests.support import languages, texts, toys


def drawn(over, problem=None, **more):
    problem = problem or toys.problem(count=50, forget=12)
    one = Pass(over, None, more.pop("batch_size", 8), **more)
    steps = list(one.batches(problem, seed=3, epoch=1))
    assert len(steps) == one.steps(problem)
    assert sum(step.visits for step in steps) <= one.visits(problem)
    return problem, steps


def ids(steps, name):
    return [i for step in steps for i in (getattr(step, name).ids if getattr(step, name) else ())]


@pytest.mark.parametrize("over", ["retain", "forget"])
def test_a_pass_over_one_set_reads_each_of_its_records_once_and_no_other(over):
    problem, steps = drawn(over)
    wanted = problem.retain_view.ids if over == "retain" else problem.forget_view.ids
    assert sorted(ids(steps, over)) == sorted(wanted)
    assert ids(steps, "forget" if over == "retain" else "retain") == []
    for step in steps:
        side = getattr(step, over)
        expected = problem.records.select(side.ids).read(range(len(side.ids)))
        assert all(torch.equal(a, b) for a, b in zip(side.batch, expected, strict=True))


def test_the_set_that_leads_is_read_once_and_the_other_beside_it():
    problem, steps = drawn("both", lead="forget", beside=5)
    assert sorted(ids(steps, "forget")) == sorted(problem.forget_view.ids)
    assert [len(step.retain.ids) for step in steps] == [5, 5]
    problem, steps = drawn("both")
    assert sorted(ids(steps, "retain")) == sorted(problem.retain_view.ids)
    rounds = ids(steps, "forget")
    assert sorted(rounds[:12]) == sorted(rounds[12:24]) == sorted(problem.forget_view.ids)
    assert rounds[:12] != rounds[12:24]  # shuffled anew


@pytest.mark.parametrize("lead", ["retain", "forget"])
@pytest.mark.parametrize("taught", ["retain", "forget", "both"])
def test_teachers_answer_the_set_that_they_are_asked_about(lead, taught):
    problem, steps = drawn("both", lead=lead, beside=5, taught=taught)
    model = problem.source.open()
    asked = [step.among(taught) for step in steps]
    for step, mine in zip(steps, asked, strict=True):
        batch = mine.units(problem.meaning, model, model)
        for name in ("retain", "forget"):
            wanted = name in (taught, "both") or taught == "both"
            assert getattr(mine, name) is (getattr(step, name) if wanted else None)
            assert (getattr(batch, name) is None) != wanted
    one = Pass("both", None, 8, lead=lead, beside=5, taught=taught)
    done = sum(step.visits for step in asked)
    assert done <= one.taught_visits(problem) <= done + 5


def test_both_sets_together_are_one_batch_told_apart():
    problem, steps = drawn("all")
    model, task = problem.source.open(), problem.meaning
    assert sorted(i for step in steps for i in step.together.ids) == sorted(problem.records.ids)
    assert {bool(step.gone.any()) and not bool(step.gone.all()) for step in steps} >= {True}
    for step in steps:
        batch = step.units(task, model, model)
        for units, side in ((batch.retain, batch.retain_side), (batch.forget, batch.forget_side)):
            expected = problem.records.select(side.ids) if side.ids else None
            if expected is None:
                assert units is None
                continue
            alone = task.units(model, expected.read(range(len(expected))))
            torch.testing.assert_close(units.loss, alone.loss)
            assert torch.equal(units.target, alone.target)
            assert units.by_record(units.loss).isfinite().all()
        gone = {i for i, go in zip(step.together.ids, step.gone, strict=True) if go}
        assert gone == set(step.together.ids) & set(problem.forget_ids)


def test_other_records_can_stand_in_for_a_set():
    problem = toys.problem(count=50, forget=12)
    noise = toys.records(9, prefix="noise", seed=5)
    _, steps = drawn("all", problem, forget=noise)
    seen = [i for step in steps for i in step.together.ids]
    assert sorted(seen) == sorted([*problem.retain_view.ids, *noise.ids])


def test_leaving_a_forgotten_record_out_moves_no_other():
    whole = toys.problem(count=50, forget=12)
    fewer = Problem(model=whole.model, train=whole.records, forget=whole.forget_ids[1:], holdout=None)
    first = [i for step in drawn("forget", whole)[1] for i in step.forget.ids if i != whole.forget_ids[0]]
    assert first == ids(drawn("forget", fewer)[1], "forget")


def test_batches_of_one_form_become_one():
    x, y = torch.arange(6).reshape(3, 2), torch.arange(3)
    whole = concatenated([({"a": x}, y), ({"a": x}, y)])
    assert torch.equal(whole[0]["a"], torch.cat([x, x]))
    assert torch.equal(whole[1], torch.cat([y, y]))


def of_two_lengths():
    """Return (records, others, all of them together): of a language model and of a text classifier."""
    prompts, answers, ids, _ = languages.facts(languages.NAMES[:4])
    longer = [f"in york , {prompt}" for prompt in prompts]
    kind = {"tokenizer": languages.tokenizer()}
    yield (
        LanguageRecords(prompts, answers, ids=ids, **kind),
        LanguageRecords(longer, answers, ids=[f"c-{name}" for name in ids], **kind),
        LanguageRecords(prompts + longer, answers * 2, **kind),
    )
    said, labels = texts.sentences(8)
    longer = [f"{text} and the new old" for text in said]
    kind = {"tokenizer": texts.tokenizer(pad_token="of")}  # not number 0
    yield (
        TextRecords(said, labels, ids=[f"t{i}" for i in range(8)], **kind),
        TextRecords(longer, labels, ids=[f"c{i}" for i in range(8)], **kind),
        TextRecords(said + longer, labels * 2, **kind),
    )


@pytest.mark.parametrize("kind", [0, 1])
def test_texts_of_other_lengths_are_joined_as_if_they_had_been_read_together(kind):
    some, others, together = list(of_two_lengths())[kind]
    view = View(some, [1, 2, 3])
    inputs, target = concatenated([view.read([0, 1]), others.read([4, 5, 6])], view.padding)
    expected, labels = together.read([1, 2, 8 + 4, 8 + 5, 8 + 6])
    assert some.read([1, 2])[0]["input_ids"].shape[1] < inputs["input_ids"].shape[1]
    assert {name: part.tolist() for name, part in inputs.items()} == {n: part.tolist() for n, part in expected.items()}
    assert target.tolist() == labels.tolist()


def test_batches_of_several_widths_are_not_joined_by_guessing():
    with pytest.raises(UsageError, match="rows of 2 and of 3 values"):
        concatenated([(torch.zeros(4, 3), torch.zeros(4)), (torch.zeros(4, 2), torch.zeros(4))])


def test_a_share_of_the_steps_is_made_and_its_records_are_counted():
    # 49 retained records in batches of 8 are seven steps, the last but one of which gives a record to the last.
    problem = toys.problem(count=61, forget=12)
    part = Pass("retain", None, 8, share=0.85)
    whole = list(Pass("retain", None, 8).batches(problem, seed=3, epoch=0))
    assert [len(step.retain.ids) for step in whole] == [8, 8, 8, 8, 8, 7, 2]  # never a single record
    assert part.steps(problem) == 5
    assert list(part.batches(problem, seed=3, epoch=0))[-1].retain.ids == whole[4].retain.ids
    assert part.visits(problem) == 40
    most = Pass("retain", None, 8, share=6 / 7)
    assert (most.steps(problem), most.visits(problem)) == (6, 47)
    assert Pass("retain", None, 8, share=0.1).visits(problem) == 0
    assert list(Pass("retain", None, 8, share=0.1).batches(problem, seed=3, epoch=0)) == []


def test_the_rate_may_follow_the_steps_of_the_pass():
    assert Pass("retain", None, 8, rate=0.5).factor(3) == 0.5
    assert Pass("retain", None, 8, rate=lambda step: 1 / (1 + step)).factor(3) == 0.25


@pytest.mark.parametrize("missing", ["retain", "forget"])
def test_a_set_may_be_left_to_the_objective(missing):
    problem, steps = drawn("both")
    model = problem.source.open()
    batch = steps[0].units(problem.meaning, model, model, unanswered=missing)
    other = {"retain": "forget", "forget": "retain"}[missing]
    assert getattr(batch, missing) is None
    assert getattr(batch, other) is not None
    assert getattr(batch, f"{missing}_side").batch is not None


def test_a_part_of_the_retained_records_is_shuffled_with_all_that_go():
    problem = toys.problem(count=50, forget=12)
    part = problem.retain_view.select(problem.retain_view.ids[5:20])
    _, steps = drawn("all", problem, retain=part)
    seen = [i for step in steps for i in step.together.ids]
    assert sorted(seen) == sorted([*part.ids, *problem.forget_ids])
    assert {i for step in steps for i, go in zip(step.together.ids, step.gone, strict=True) if go} == set(
        problem.forget_ids
    )


def test_two_teachers_of_a_mixed_batch_each_answer_their_own_records_alone():
    problem, steps = drawn("all")
    asked = []

    class Listening(toys.Mlp):
        def forward(self, x):
            asked.append((id(self), len(x)))
            return super().forward(x)

    kind, other = toys.network(Listening, seed=1), toys.network(Listening, seed=2)
    for step in steps:
        asked.clear()
        batch = step.units(problem.meaning, kind, other)
        gone = int(step.gone.sum())
        expected = [(id(kind), len(step.gone) - gone), (id(other), gone)]
        assert asked == [one for one in expected if one[1]]
        for model, units, mine in ((kind, batch.retain, ~step.gone), (other, batch.forget, step.gone)):
            if units is not None:
                torch.testing.assert_close(units.logits, model(step.together.batch[0])[mine])


def test_rows_of_a_batch_of_any_form():
    batch = ({"x": torch.arange(6).reshape(3, 2), "mask": torch.tensor([1, 2, 3])}, torch.tensor([7, 8, 9]))
    inputs, target = rows(batch, torch.tensor([True, False, True]))
    assert inputs["x"].tolist() == [[0, 1], [4, 5]]
    assert (inputs["mask"].tolist(), target.tolist()) == ([1, 3], [7, 9])


def test_of_an_order_that_goes_on_each_record_is_read_before_any_is_read_again():
    problem = toys.problem()
    count = len(problem.retain_view)
    beside = Pass("both", None, 4, lead="forget", beside=5, goes_on=True)
    share = Pass("retain", None, 5, share=0.4, goes_on=True)
    seen, flowed = [], 0
    for epoch in range(4):
        for one in (beside, share):
            steps = list(one.batches(problem, seed=3, epoch=epoch, flowed=flowed))
            read = [name for step in steps for name in step.retain.ids]
            assert len(read) == one.flow(problem) == 5 * one.steps(problem), "no batch is smaller"
            assert one.visits(problem) == sum(step.visits for step in steps)
            seen, flowed = seen + read, flowed + len(read)
    assert len(seen) > 2 * count
    for around in range(len(seen) // count):
        turn = seen[around * count : (around + 1) * count]
        assert sorted(turn) == sorted(problem.retain_view.ids)
    assert seen[:count] != seen[count : 2 * count], "each time around in another order"
    assert Pass("retain", None, 5).flow(problem) == 0


def test_no_batch_of_such_an_order_is_larger_than_all_records():
    problem = toys.problem()
    count = len(problem.retain_view)
    large = Pass("both", None, 4, lead="forget", beside=3 * count, goes_on=True)
    steps = list(large.batches(problem, seed=3, epoch=0))
    assert all(sorted(step.retain.ids) == sorted(problem.retain_view.ids) for step in steps)
    assert large.visits(problem) == sum(step.visits for step in steps)
