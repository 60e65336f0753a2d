"""Each case of the task contract catches the faults that it is for; two tasks without a fault pass all."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from expunge.conformance.run import Result, conform
from expunge.conformance.tasks import SUITE, _repadded, cuts
from expunge.core.errors import Obstacle
from expunge.core.records import Records
from expunge.core.task import Task
from expunge.data._content import digest
from expunge.data.arrays import ArrayRecords
from expunge.engine.batches import in_order
from expunge.numerics.units import Scored, Units
from expunge.tasks.classification import Classification
from tests.conformance.cases import outcome


class Sentences(Records):
    """Sentences of unequal length, each token with a label; a batch is padded to its longest."""

    def __init__(self, sentences):
        self.sentences = sentences
        self.ids = tuple(f"s{i}" for i in range(len(sentences)))
        self.subjects = (None,) * len(sentences)

    def __getitem__(self, index):
        return self.sentences[index]

    def content(self, index):
        return digest(self[index])

    def read(self, indices):
        rows = [self[i] for i in indices]

        def pad(part, value):
            return nn.utils.rnn.pad_sequence([row[part] for row in rows], batch_first=True, padding_value=value)

        mask = [torch.ones(len(row[0]), dtype=torch.long) for row in rows]
        mask = nn.utils.rnn.pad_sequence(mask, batch_first=True)
        return {"input_ids": pad(0, 0), "attention_mask": mask, "labels": pad(1, -100)}


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.drop, self.score = nn.Embedding(7, 4), nn.Dropout(0.3), nn.Linear(4, 3)

    def forward(self, input_ids, attention_mask):
        return self.score(self.drop(self.embed(input_ids)))


class Tagging(Task):
    """One unit per token that is there."""

    name = "tagging"
    title = "A label for every token"
    shortest, longest = 2, 6

    def units(self, model, batch):
        there = self.there(batch)
        logits = model(batch["input_ids"], batch["attention_mask"])
        return Scored.of(logits[there], batch["labels"][there], there.nonzero()[:, 0], len(there))

    def there(self, batch):
        return batch["attention_mask"] == 1

    def inputs(self, batch):
        read = batch["input_ids"] * batch["attention_mask"]
        return nn.functional.pad(read, (0, self.longest - read.shape[1])).double()

    def examine(self, model, records, *, where):
        return [bad for batch in in_order(records) for bad in self.bad(batch)]

    def bad(self, batch):
        return [Obstacle(what="labels")] if int(batch["labels"].max()) > 2 else []

    def trial(self, seed):
        draw = torch.Generator().manual_seed(seed)
        model = Tagger()
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.randn(p.shape, generator=draw))
        sizes = torch.randint(self.shortest, self.longest, (13,), generator=draw).tolist()
        pairs = [
            (torch.randint(7, (size,), generator=draw), torch.randint(3, (size,), generator=draw)) for size in sizes
        ]
        return model.eval(), Sentences(pairs)


class Equal(Tagging):
    """Sentences of one length: no batch has padding of its own."""

    shortest, longest = 4, 5


# --- faults ---------------------------------------------------------------------------------------------------


def units_changed(change, base=Classification):
    """A task whose units are those of ``base``, changed."""

    class Changed(base):
        def units(self, model, batch):
            return change(super().units(model, batch))

    return Changed


def before_units(act, base=Classification):
    """A task that does something else before it gives the units of ``base``."""

    class Acting(base):
        def units(self, model, batch):
            act(model, batch)
            return super().units(model, batch)

    return Acting


def inputs_changed(change):
    class Changed(Classification):
        def inputs(self, batch):
            return change(super().inputs(batch))

    return Changed


class Untitled(Classification):
    title = ""


class UnseededTrial(Classification):
    def trial(self, seed):
        return super().trial(0)


class OtherTrialEachTime(Classification):
    def trial(self, seed):
        model, records = super().trial(seed)
        return model, ArrayRecords(torch.rand_like(records.x), records.y, ids=records.ids)


class FewRecords(Classification):
    def trial(self, seed):
        model, records = super().trial(seed)
        return model, ArrayRecords(records.x[:4], records.y[:4])


class FalseAlarm(Classification):
    def examine(self, model, records, *, where):
        return [Obstacle(what="something")]


class DropsUneven(Classification):
    def units(self, model, batch):
        inputs, target = batch
        whole = max(1, len(target) // 4 * 4)
        return replace(super().units(model, (inputs[:whole], target[:whole])), batch_size=len(target))


class HalfDetached(Classification):
    """The features are computed without gradients: only the head would learn."""

    def units(self, model, batch):
        inputs, target = batch
        with torch.no_grad():
            features = model[:-1](inputs)
        return Scored.of(model[-1](features), target, torch.arange(len(target)), len(target))


class ScoresPadding(Tagging):
    def units(self, model, batch):
        shape = batch["labels"].shape
        logits = model(batch["input_ids"], batch["attention_mask"]).reshape(-1, 3)
        labels = batch["labels"].clamp_min(0).reshape(-1)
        return Scored.of(logits, labels, torch.arange(shape[0]).repeat_interleave(shape[1]), shape[0])


class ReadsPadding(Tagging):
    """Each token sees the mean of its row, the padding with it."""

    def units(self, model, batch):
        there = self.there(batch)
        hidden = model.embed(batch["input_ids"])
        logits = model.score(hidden + hidden.mean(dim=1, keepdim=True))
        return Scored.of(logits[there], batch["labels"][there], there.nonzero()[:, 0], len(there))


class ReadsPaddingEqual(ReadsPadding, Equal):
    pass


class Loudest(Scored):
    def by_record(self, values):
        return torch.stack([values[self.record == i].max() for i in range(self.batch_size)])


class SumsByRecord(Scored):
    def by_record(self, values):
        return values.new_zeros(self.batch_size).index_add(0, self.record, values)


def as_kind(kind):
    return lambda u: kind(u.loss, u.record, u.batch_size, u.logits, u.target)


class Smoothed(Classification):
    def units(self, model, batch):
        units = super().units(model, batch)
        loss = functional.cross_entropy(units.logits, units.target, reduction="none", label_smoothing=0.1)
        return replace(units, loss=loss)


class LooksAtTheFirstOnly(Classification):
    def examine(self, model, records, *, where):
        return super().examine(model, records.select(records.ids[:5]), where=where)


class NeedsTheModel(Classification):
    def examine(self, model, records, *, where):
        return super().examine(model, records, where=where) if model is not None else []


class Blind(Classification):
    def examine(self, model, records, *, where):
        for batch in in_order(records):
            assert batch
        return []


class BlindToInfinity(Classification):
    def examine(self, model, records, *, where):
        bad = any(bool(batch[0].isnan().any()) for batch in in_order(records))
        return [Obstacle(what="NaN")] if bad else []


class Talks(Classification):
    def examine(self, model, records, *, where):
        found = super().examine(model, records, where=where)
        return [replace(each, found=", ".join(records.ids)) for each in found]


def wrong_gradient(units):
    """The loss is right, its gradient is that of a mean."""
    return replace(units, loss=units.loss.detach() + (units.loss - units.loss.detach()) / units.batch_size)


def freezes(model, batch):
    next(model.parameters()).requires_grad_(False)


def nudges(model, batch):
    with torch.no_grad():
        next(model.parameters()).mul_(1.001)


def leaves_gradients(model, batch):
    if torch.is_grad_enabled():
        model(batch[0]).sum().backward()


class MovesInPlace(Classification):
    def moved(self, batch, by):
        batch[0].add_(by)
        return batch


class MovesTooFar(Classification):
    def moved(self, batch, by):
        return super().moved(batch, 2 * by)


class MovesLabels(Classification):
    def moved(self, batch, by):
        inputs, labels = super().moved(batch, by)
        return inputs, labels.flip(0)


class ExchangesInPlace(Classification):
    def exchanged(self, batch, other, where):
        batch[0][:, 0] = other[0][:, 0]
        return batch


class ExchangesNothing(Classification):
    def exchanged(self, batch, other, where):
        return batch[0].clone(), batch[1]


class ExchangesRecords(Classification):
    def exchanged(self, batch, other, where):
        return other[0].clone(), batch[1]


class ExchangesLabels(Classification):
    def exchanged(self, batch, other, where):
        return super().exchanged(batch, other, where)[0], other[1]


class OtherFeatures(Classification):
    """Features that are others where units are asked for as well."""

    def seen(self, model, batch):
        units, features = super().seen(model, batch)
        return units, None if features is None else features + 1

    def features(self, model, batch):
        return super().seen(model, batch)[1].detach()


class OtherUnits(Classification):
    """Units that are others where features are asked for as well."""

    def seen(self, model, batch):
        units, features = super().seen(model, batch)
        return Scored.of(units.logits * 2, units.target, units.record, units.batch_size), features


def features_changed(change):
    class Changed(Classification):
        def features(self, model, batch):
            return change(super().features(model, batch))

    return Changed


class LeavesAHook(Classification):
    def features(self, model, batch):
        seen = []
        list(model.modules())[-1].register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
        model(batch[0])
        return seen[-1]


class Learns(Classification):
    def features(self, model, batch):
        nudges(model, batch)
        return super().features(model, batch)


@dataclass(frozen=True)
class Fault:
    what: str
    task: type
    case: str
    said: str = ""


BATCH, WHOLE, MODEL = "batch_does_not_matter", "units_are_whole", "model_is_untouched"
MOVED, EXCHANGED, FEATURES = "moved_inputs_are_beside", "exchanged_inputs_are_beside", "features_are_rows"
FAULTS = [
    Fault("no title", Untitled, "says_what_it_is"),
    Fault("a trial without its seed", UnseededTrial, "trial_is_sound", "two seeds"),
    Fault("a trial from the global generator", OtherTrialEachTime, "trial_is_sound", "one seed"),
    Fault("a trial of four records", FewRecords, "trial_is_sound", "4 records"),
    Fault("a false alarm", FalseAlarm, "trial_is_sound", "something"),
    Fault("the last uneven batch is dropped", DropsUneven, WHOLE, "have no unit"),
    Fault("records counted from 1", units_changed(lambda u: replace(u, record=u.record + 1)), WHOLE, "outside"),
    Fault("a loss that is NaN", units_changed(lambda u: replace(u, loss=u.loss / 0 * 0)), WHOLE, "NaN"),
    Fault("one loss per batch", units_changed(lambda u: replace(u, loss=u.loss.mean())), WHOLE, "shapes"),
    Fault("a fixed batch size", units_changed(lambda u: replace(u, batch_size=13)), WHOLE, "batch_size"),
    Fault("by_record gives the largest", units_changed(as_kind(Loudest), Tagging), "losses_add_up", "sum over"),
    Fault("by_record gives sums", units_changed(as_kind(SumsByRecord), Tagging), "losses_add_up", "sum over"),
    Fault(
        "the mean over the batch", units_changed(lambda u: replace(u, loss=u.loss.mean().expand(len(u.loss)))), BATCH
    ),
    Fault("a loss over the batch's size", units_changed(lambda u: replace(u, loss=u.loss / u.batch_size)), BATCH),
    Fault("losses relative to the batch's", units_changed(lambda u: replace(u, loss=u.loss - u.loss.mean())), BATCH),
    Fault("losses of other records", units_changed(lambda u: replace(u, record=u.record.flip(0))), BATCH),
    Fault("padding is scored", ScoresPadding, "padding_does_not_matter"),
    Fault("padding is scored: other units by batch", ScoresPadding, BATCH, "other units"),
    Fault("padding is read", ReadsPadding, "padding_does_not_matter"),
    Fault("padding is read, where a batch has none of its own", ReadsPaddingEqual, "padding_does_not_matter"),
    Fault("a smoothed loss", Smoothed, "scored_loss_is_the_cross_entropy"),
    Fault(
        "the sign of the loss", units_changed(lambda u: replace(u, loss=-u.loss)), "scored_loss_is_the_cross_entropy"
    ),
    Fault(
        "a detached loss",
        units_changed(lambda u: replace(u, loss=u.loss.detach())),
        "gradients_reach_the_parameters",
        "detached",
    ),
    Fault("half of it detached", HalfDetached, "gradients_reach_the_parameters", "does not reach"),
    Fault("the gradient of a mean", units_changed(wrong_gradient), "gradients_accumulate"),
    Fault("noise on the loss", units_changed(lambda u: replace(u, loss=u.loss + torch.rand(1))), "twice_is_the_same"),
    Fault("training mode", before_units(lambda model, batch: model.train()), MODEL, "training mode"),
    Fault("training mode: dropout", before_units(lambda model, batch: model.train()), "twice_is_the_same"),
    Fault("evaluation mode", before_units(lambda model, batch: model.eval()), MODEL, "evaluation mode"),
    Fault("a parameter is frozen", before_units(freezes), MODEL, "requires_grad"),
    Fault("a parameter is changed", before_units(nudges), MODEL, "tensors"),
    Fault("gradients are left", before_units(leaves_gradients), MODEL, "left"),
    Fault("gradients off", before_units(lambda model, batch: torch.set_grad_enabled(False)), MODEL, "everybody"),
    Fault("inputs are written to", before_units(lambda model, batch: batch[0].mul_(2)), "batch_is_untouched", "1 of 2"),
    Fault(
        "something is put into the batch",
        before_units(lambda m, batch: batch.update(x=batch["labels"]), Tagging),
        "batch_is_untouched",
    ),
    Fault("inputs of whole numbers", inputs_changed(lambda rows: rows.long()), "inputs_are_rows", "int64"),
    Fault("inputs in one row", inputs_changed(lambda rows: rows.reshape(1, -1)), "inputs_are_rows", "shape"),
    Fault("inputs that differ by place", inputs_changed(lambda rows: rows.cumsum(0)), "inputs_are_rows", "place"),
    Fault(
        "inputs as the batch has them", inputs_changed(lambda rows: rows - rows.mean(0)), "inputs_are_rows", "beside"
    ),
    Fault("inputs as wide as the batch", inputs_changed(lambda rows: rows[:, : len(rows)]), "inputs_are_rows", "wide"),
    Fault("inputs with noise", inputs_changed(lambda rows: rows + torch.rand(1)), "inputs_are_rows", "again"),
    Fault("inputs that are all alike", inputs_changed(lambda rows: rows * 0), "inputs_are_rows", "same"),
    Fault("inputs that are NaN", inputs_changed(lambda rows: rows / 0 * 0), "inputs_are_rows", "NaN"),
    Fault("the batch is moved", MovesInPlace, MOVED, "itself"),
    Fault("a step twice as far", MovesTooFar, MOVED, "away from"),
    Fault("labels of other records", MovesLabels, MOVED, "labels"),
    Fault("a value is exchanged in the batch itself", ExchangesInPlace, EXCHANGED, "batch itself"),
    Fault("nothing is exchanged", ExchangesNothing, EXCHANGED, "nothing of it"),
    Fault("the whole record is exchanged", ExchangesRecords, EXCHANGED, "nearer to the others"),
    Fault("labels are exchanged, too", ExchangesLabels, EXCHANGED, "labels"),
    Fault("features in one row", features_changed(lambda rows: rows.reshape(1, -1)), FEATURES, "shape"),
    Fault("features with a gradient", features_changed(lambda rows: rows.requires_grad_()), FEATURES, "gradient"),
    Fault("features that are NaN", features_changed(lambda rows: rows / 0 * 0), FEATURES, "NaN"),
    Fault("features that are others beside units", OtherFeatures, FEATURES, "features are others"),
    Fault("units that are others beside features", OtherUnits, FEATURES, "units are others"),
    Fault("features by batch", features_changed(lambda rows: rows - rows.mean(0)), FEATURES, "its batch"),
    Fault("a hook that stays", LeavesAHook, FEATURES, "hooks"),
    Fault("a model that learns", Learns, FEATURES, "changed"),
    Fault("some records are not examined", LooksAtTheFirstOnly, "every_record_is_examined", "8 of 13"),
    Fault("nothing is examined without a model", NeedsTheModel, "every_record_is_examined", "without a model"),
    Fault("a NaN is not seen", Blind, "broken_records_are_found", "nan"),
    Fault("an infinity is not seen", BlindToInfinity, "broken_records_are_found", "inf"),
    Fault("an id is told", Talks, "broken_records_are_found", "id"),
]


@pytest.fixture(autouse=True)
def _gradients():
    yield
    torch.set_grad_enabled(True)


def tried(cls):
    return {one.case: one for one in conform("tasks", cls).tried}


@pytest.mark.parametrize("cls", [Classification, Tagging, Equal])
def test_a_task_without_a_fault_passes(cls):
    results = tried(cls)
    assert {name: one.because for name, one in results.items() if one.result is Result.FAILED} == {}
    idle = {name for name, one in results.items() if one.result is Result.NOT_APPLICABLE}
    bare = {"broken_records_are_found", MOVED, EXCHANGED, FEATURES}
    assert idle == ({"padding_does_not_matter"} if cls is Classification else bare)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_a_fault_is_caught(fault):
    result, because, _ = outcome("tasks", fault.task, fault.case)
    assert result is Result.FAILED
    assert fault.said in because
    assert not because.startswith("raised"), "seen by what the case looks for, not by accident"


def test_every_case_has_a_fault():
    assert {fault.case for fault in FAULTS} == {case.name for case in SUITE}


def test_units_without_classes_are_tried_too():
    class Squares(Classification):
        def units(self, model, batch):
            scored = super().units(model, batch)
            return Units((scored.logits**2).sum(dim=1), scored.record, scored.batch_size)

    results = tried(Squares)
    assert results["scored_loss_is_the_cross_entropy"].result is Result.NOT_APPLICABLE
    assert [one.case for one in results.values() if one.result is Result.FAILED] == []


def test_other_padding_leaves_what_counts():
    ragged, equal = (cls().trial(3)[1].read(range(13)) for cls in (Tagging, Equal))
    other = _repadded(ragged)
    there = ragged["attention_mask"] == 1
    assert torch.equal(other["attention_mask"], ragged["attention_mask"])
    assert torch.equal(other["labels"], ragged["labels"])
    assert torch.equal(other["input_ids"][there], ragged["input_ids"][there])
    assert not torch.equal(other["input_ids"], ragged["input_ids"])
    longer = _repadded(({"x": equal["input_ids"], "mask": equal["attention_mask"]}, equal["labels"][:, 0]))
    assert longer[0]["x"].shape == longer[0]["mask"].shape == (13, 6)
    assert longer[0]["mask"][:, 4:].sum() == 0
    assert torch.equal(longer[1], equal["labels"][:, 0])


def test_cuts_leave_nothing_out():
    assert list(cuts(range(8), (5, 1))) == [[0, 1, 2, 3, 4], [5], [6, 7]]
