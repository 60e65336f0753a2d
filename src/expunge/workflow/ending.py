"""The end of a run: the report, the model that ships, its certificate, and the state that is destroyed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import expunge
from expunge.audit import annex
from expunge.audit import needed as wanting
from expunge.audit.judge import leak_decisions
from expunge.certify import dsse, keys, statement
from expunge.certify.build import build_certificate
from expunge.certify.verify import verify
from expunge.core import registry, wording
from expunge.core.digest import BASE_FILE, keyed, salted_levels, tree_digests
from expunge.core.errors import ForeignRun, Obstacle, Tampered
from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.core.plan import Plan
from expunge.core.problem import Problem
from expunge.core.report import Attempt, CostLine, Report
from expunge.core.serial import canonical, plain
from expunge.core.storage import storing, write_file, write_folder
from expunge.core.suppression import FILTERS
from expunge.core.verdict import Decision, Verdict, control_has_power
from expunge.engine import base, copies, device
from expunge.engine.answering import answers
from expunge.engine.energy import usage_of
from expunge.engine.given import adopt
from expunge.engine.references import STAGE
from expunge.engine.runs import Artefact, RunDirectory
from expunge.engine.runtime import environment
from expunge.numerics.equivalence import MIN_REFERENCES
from expunge.render import formats
from expunge.render.card import card
from expunge.workflow.heirs import attempt_folder, deliver, erases, stale, succeed
from expunge.workflow.settings import Result, Settings
from expunge.workflow.stages import EXTERNAL, Forgotten, Stages
from expunge.workflow.tuning import found

FINAL = "final"
CARD = "README.md"
"""The card of a model that transformers or peft opens: written when it ships."""
_MANIFEST = "private/manifest.json"


@dataclass(frozen=True)
class Shipped:
    """The final report and the artefact that ships; stored before anything is destroyed."""

    report: Report
    artefact: Artefact


def finish(stages: Stages, settings: Settings, plan: Plan, notes: Sequence[str], *, tried: Sequence[int]) -> Result:
    """Write the report and, where a claim is reached, model and certificate.

    ``tried`` are the numbers of the attempts that this command is about: the verdict is on the one that ships, else on
    the last that was judged; where none of them was, on the last judged in this run directory before. A model that was
    made elsewhere never ships: how it was made is not known.
    """
    if not tried and stages.attempts():
        notes = [*notes, "This command tried nothing: the verdict is that of an earlier one in this run directory"]
    report = _report(stages, settings, plan, notes, tried)
    ours = any(one.audits for one in report.attempts if one.number in tried)
    return replace(_finished(stages, settings, report, tried), judged=ours)


def _finished(stages: Stages, settings: Settings, report: Report, tried: Sequence[int]) -> Result:
    if report.shipped is None:
        for attempt in report.attempts:
            if attempt.claim is Level.SUPPRESSED and attempt.number in tried:
                deliver(stages.run, attempt.number)
        return _write(stages, settings, report)
    artefact = stages.read(f"attempt-{report.shipped.number}", Forgotten).artefact
    assert artefact is not None
    return ship(stages, settings, stages.run.stage(FINAL, lambda: Shipped(report, artefact), Shipped))


def ship(stages: Stages, settings: Settings, shipped: Shipped) -> Result:
    """Write model, report and certificate, then destroy; killed anywhere, it can be repeated."""
    run = stages.run
    model = run.folder / "model"
    if not model.exists():
        source = run.open_artefact(shipped.artefact)
        write_folder(model, lambda folder: _copy(source, folder, shipped.report))
    as_written(model, shipped.artefact)
    result = _write(stages, settings, shipped.report)
    attempt = shipped.report.shipped
    if attempt is not None and not settings.keep:
        succeed(stages.problem, run, run.folder / attempt_folder(attempt.number) / "ledger")
    run.destroy(*shipped.report.destroyed)
    return result


def _report(stages: Stages, settings: Settings, plan: Plan, notes: Sequence[str], tried: Sequence[int]) -> Report:
    problem, run = stages.problem, stages.run
    salt = run.secret(annex.SECRET)
    control, attempts = stages.looked(), stages.attempts()
    # A command that tried nothing has nothing new to say: what was found before stands.
    ours = [attempt for attempt in attempts if attempt.number in tried] or list(attempts)
    chosen = next((attempt for attempt in ours if erases(attempt)), None)
    chosen = chosen or next((attempt for attempt in ours if attempt.claim is not None), None)
    judged = next((one for one in (*([chosen] if chosen else []), *reversed(ours)) if one.audits), chosen)
    judged = judged or next((one for one in reversed(attempts) if one.audits), ours[-1] if ours else None)
    outcome = judged.audits[-1].verdict if judged and judged.audits else None
    level = chosen.claim if chosen else None
    shipped = chosen if chosen and chosen.method != EXTERNAL and erases(chosen) else None
    # Fewer are not looked at, nor any where nothing is audited.
    compared = stages.references if control is not None and stages.references >= MIN_REFERENCES else 0
    findings = control.findings if control is not None else ()
    leaks = leak_decisions(findings)
    blind = any(leak is not Decision.NOT_MEASURED for leak in leaks) and not control_has_power(leaks)
    basis = [f.check for f in findings if f.check in wording.BLIND_ALONE]
    held = _holds_forgotten(run)
    destroyed = held if shipped and not settings.keep else []
    rows = (run.folder / annex.PATH).exists()
    cut, looks = len(problem.forget_view.cut), sum(bool(attempt.audits) for attempt in attempts)
    private = [
        *([_MANIFEST] if shipped else []),
        *(path for path in (annex.PATH, copies.PATH) if (run.folder / path).exists()),
    ]
    costs, based = _costs(stages, plan, attempts), base.start_of(problem)
    known = next((note.found for note in stages.noted if note.what == base.KNOWS), "")
    return Report(
        expunge=expunge.__version__,
        title=problem.request.reference or "Deletion request",
        run=keyed(salt, "run", run.identity).hex(),
        problem=problem.spec.committed(salt),
        request=public(problem),
        forget_count=len(problem.forget_view),
        retain_count=len(problem.retain_view),
        holdout_count=len(problem.held_out or ()),
        plan=plan,
        policy=stages.policy.name,
        policy_digest=stages.policy.digest,
        control=control,
        attempts=attempts,
        chosen=shipped.number if shipped else None,
        verdict=outcome,
        claim=level,
        statement=wording.statement(
            level, outcome, references=compared, rests_on=basis, based=based is not None, known=known
        ),
        limits=(
            *wording.limits(
                level, outcome, attempts=looks, references=compared, rests_on=basis, signed=shipped is not None
            ),
            *((wording.APART.format(base=problem.source.rests_on),) if problem.source.rests_on else ()),
            *((wording.given(len(stages.given), stages.references),) if stages.given and compared else ()),
            *(((wording.BLIND,) if compared else [wording.BLIND_ALONE[name] for name in basis]) if blind else ()),
        ),
        not_covered=(
            *wording.NOT_COVERED,
            *([] if based is None else [wording.BASE.format(base=based and f" (weights with the digest {based})")]),
            *((wording.CARRIED,) if problem.source.carries else ()),
            *((wording.CUT.format(cut=cut, count=len(problem.forget_view)),) if cut else ()),
            *((wording.COPIES,) if (run.folder / copies.PATH).exists() else ()),
            *((wording.unasked(unread),) if (unread := _unread(stages)) else ()),
            *((wording.ANNEX,) if rows else ()),
        ),
        destroyed=tuple(destroyed),
        kept=tuple(sorted({*held, *private} - set(destroyed))),
        notes=tuple(dict.fromkeys([*notes, *_seen(stages, judged), *stale(problem, chosen)])),
        model_before=stages.original().model,
        model_after=shipped.model if shipped else None,
        environment={**environment(), **device.said(problem)},
        seeds={"run": stages.seed},
        costs=costs,
        total=_share(plan, sum((line.cost for line in costs), Cost())),
        started=str(run.events[0]["at"]),
        finished=_last_work(run),
        tuned=found(stages, settings.floor),
        usage=usage_of(run.events, final=FINAL, reference=STAGE, unmeasured=run.meter.unmeasured if run.meter else {}),
    )


_OF_CLASSES = ("classes", "features", "groups", "peers")
"""What checks are made for that read classes, or the layer that tells them apart."""


def _unread(stages: Stages) -> list[str]:
    """Return the titles of the policy's checks that a regressor is not judged by, since they read classes."""
    if stages.problem.task != "regression":
        return []
    policy, asked = stages.policy, stages.policy.suite(stages.have)
    left_out = [name for name in policy.checks if name not in asked and policy.checks[name].when in _OF_CLASSES]
    return [registry.load("checks", name).title for name in left_out]


def _seen(stages: Stages, judged: Attempt | None) -> list[str]:
    """Return what was seen on the way and is worth knowing: of the trainer, the audit, and the judged model."""
    facts = stages.facts()
    notes = list(facts.notes) if facts is not None else []
    if judged is not None and judged.audits and judged.audits[-1].verdict is Verdict.INCONCLUSIVE:
        found = [finding for finding in judged.audits[-1].findings if finding.required]
        notes += [wanting.sentence(each, need) for each in found if (need := wanting.needed(each)) is not None]
    artefact = stages.read(f"attempt-{judged.number}", Forgotten).artefact if judged is not None else None
    if judged is not None and artefact is not None:
        notes += map(str, _answers(stages, artefact, where=f"model of attempt {judged.number}"))
    return notes + _odd_references(stages)


def _odd_references(stages: Stages) -> list[str]:
    """Return a note where retrained models answer everything alike: their training failed."""
    given = [adopt(stages.problem, stages.run, one) for one in stages.given]
    models = [*given, *stages.finished_references("judging")]
    odd = sum(bool(_answers(stages, one.artefact, where="reference")) for one in models)
    if not odd:
        return []
    return [
        f"{odd} of {len(models)} retrained models answer everything alike, or not in finite numbers: their training "
        "failed. They make retrained models look more unlike than they are, so that less can be told from them. Mend "
        "the trainer (a lower rate, another start), or leave them out where they were given."
    ]


def _answers(stages: Stages, artefact: Artefact, *, where: str) -> list[Obstacle]:
    model = stages.problem.source.reopen(stages.run.open_artefact(artefact))
    return answers(stages.problem, model, where=where, digest=artefact.model)


def _write(stages: Stages, settings: Settings, report: Report) -> Result:
    run = stages.run
    for name, form in formats.FORMATS.items():
        path = run.folder / form.file
        if name in (*formats.ALWAYS, *settings.also) or path.exists():  # one from an earlier command would be stale
            write_file(path, form.render(report))
    certificate = run.folder / "certificate.json"
    if report.shipped is None:
        certificate.unlink(missing_ok=True)
        return Result(run.folder, report, None, problem=stages.problem)
    key, manifests = _key(run, settings), _manifests(stages.problem)
    # Which records were which: for the controller alone, to show later what a root stands for.
    salt = run.secret(annex.SECRET)
    levels = {name: salted_levels(salt, entries) for name, entries in manifests.items()}
    if certificate.exists():
        _as_handed_out(run, certificate, key, roots={name: tree[-1][0].hex() for name, tree in levels.items()})
        return Result(run.folder, report, certificate, problem=stages.problem)
    write_file(run.folder / _MANIFEST, canonical(manifests) + b"\n", mode=0o600)
    envelope = build_certificate(
        report,
        model=run.folder / "model",
        files_before=stages.original().files,
        levels=levels,
        key=key,
    )
    write_file(certificate, envelope)
    return Result(run.folder, report, certificate, problem=stages.problem)


def _as_handed_out(run: RunDirectory, certificate: Path, key: keys.SigningKey, *, roots: Mapping[str, str]) -> None:
    """See that the certificate, and what it stands for, are still what was written.

    Raises:
        ForeignRun: another key signed it.
        Tampered: it does not verify, or the salt here does not give the roots of its manifests.
    """
    fix = "restore the file from a copy, or delete the output directory and run again"
    try:
        envelope = dsse.read(certificate.read_bytes())
    except dsse.BadEnvelope as error:
        what = "the certificate is not what was written"
        raise Tampered(what, where=certificate.name, found=str(error), expected="a whole one", fix=fix) from error
    signers = [each.key_id for each in envelope.signatures]
    if key.key_id not in signers:
        raise ForeignRun(
            "this run is certified already, by another key",
            where=certificate.name,
            found=f"key {signers[0][:16]}",
            expected=f"key {key.key_id[:16]}",
            fix="use the key it was certified with; a certificate that was handed out is never replaced",
        )
    public, report = key.private.public_key(), run.folder / formats.FORMATS["json"].file
    found = verify(certificate, model=run.folder / "model", key=public, report=report, allow_development=True)
    for part in found.parts:
        if not part.ok:
            raise Tampered(
                "the certificate of this run does not verify any more",
                where=part.name,
                found=part.found,
                expected=part.expected,
                fix=fix,
            )
    if dict(statement.read(envelope.payload).predicate.manifests) != roots:
        raise Tampered(
            "the salt of this run does not give the roots of its certificate any more",
            where=f"private/{annex.SECRET}",
            found="other bytes",
            expected="those by which the manifests were salted: nothing else shows later what a root stands for",
            fix=fix,
        )


def as_written(model: Path, artefact: Artefact, *, was: str = "was judged") -> None:
    """See that the model that ships is the one that was written there; its card was written for it since.

    Raises:
        Tampered: a file of it is missing, other, or one too many.
    """
    found = tree_digests(model)
    for name in sorted({*found, *artefact.files} - ({CARD} if _library(model) else set())):
        if found.get(name) != artefact.files.get(name):
            more = name not in artefact.files
            restore = "restore the file from a copy, or delete the output directory and run again"
            raise Tampered(
                f"the model of this run is not the one that {was}",
                where=f"{model.name}/{name}",
                found="missing" if name not in found else "a file more" if more else "other bytes",
                expected="what the run wrote there",
                fix="take the file out" if more else restore,
            )


def _manifests(problem: Problem) -> dict[str, Any]:
    sets = {"forget": problem.forget_view, "retain": problem.retain_view, "holdout": problem.held_out}
    return {name: plain(records.manifest.entries) for name, records in sets.items() if records is not None}


def _key(run: RunDirectory, settings: Settings) -> keys.SigningKey:
    if settings.key is not None:
        return keys.load_private(Path(settings.key))
    path = run.folder / "private" / "development-key"
    if not path.exists():
        keys.generate(path, development=True)
    key = keys.load_private(path)
    write_file(run.folder / "development-key.pub", key.public_pem)
    return key


def _costs(stages: Stages, plan: Plan, attempts: Sequence[Attempt]) -> tuple[CostLine, ...]:
    lines: list[tuple[str, Cost]] = []
    facts = stages.facts()
    if facts is not None:
        lines.append(("checking the trainer", facts.cost))
    for purpose, words in (("judging", "references for judging"), ("choosing", "references for choosing"),
                           ("fresh", "fresh references for a second look")):  # fmt: skip
        if purpose == "judging" and stages.given:
            lines.append((f"references made elsewhere ({len(stages.given)}), not counted here", Cost()))
        done = stages.finished_references(purpose)
        if done:
            lines.append((f"{words} ({len(done)})", sum((r.cost for r in done), Cost())))
    if (control := stages.looked()) is not None:
        lines.append(("audit of the original and the outputs of the references", control.cost))
    lines += [(f"tuning: {one.title} ({one.trials} trials)", one.cost) for one in found(stages, plan.floor)]
    for attempt in attempts:
        lines.append((f"attempt {attempt.number}: {attempt.title}", attempt.outcome.cost))
        if attempt.claim is not Level.SUPPRESSED:
            lines.append((f"audit of attempt {attempt.number}", sum((a.cost for a in attempt.audits), Cost())))
    return tuple(CostLine(what=what, cost=cost, share=_share(plan, cost)) for what, cost in lines)


def _share(plan: Plan, cost: Cost) -> float | None:
    return cost.share_of(plan.retraining) if plan.retraining else None


def public(problem: Problem) -> dict[str, str]:
    """Return what of a request may be shown to others."""
    names = ("reference", "ground", "received", "due")
    return {name: getattr(problem.request, name) for name in names if getattr(problem.request, name)}


def _holds_forgotten(run: RunDirectory) -> list[str]:
    """Return what in the run directory was made with the forgotten records in it, and exists."""
    numbers = [int(event["number"]) for event in run.events if event["event"] == "attempt"]
    attempts = [f"artefacts/attempt-{number}" for number in numbers]
    names = ["artefacts/original", *attempts, "attempts", "checkpoints", *FILTERS, "private/outputs"]
    return [name for name in names if (run.folder / name).exists()]


def _last_work(run: RunDirectory) -> str:
    """Return when the last stage finished, so that the same run gives the same report whenever it is written."""
    work = [event for event in run.events if event["event"] == "finished" and event["stage"] != FINAL]
    return str(work[-1]["at"] if work else run.events[0]["at"])


def _copy(source: Path, folder: Path, report: Report) -> None:
    with storing(folder):
        shutil.copytree(source, folder, dirs_exist_ok=True)
    if library := _library(folder):
        write_file(folder / CARD, card(report, library=library).encode())


def _library(folder: Path) -> str:
    """Return what opens a model and shows its card; nothing where none is written."""
    if (folder / BASE_FILE).is_file():
        return "peft"
    return "transformers" if (folder / "config.json").is_file() else ""
