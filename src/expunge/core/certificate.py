"""What a certificate states: the predicate of an in-toto Statement. Everything in it is public.

Attestation formats: in-toto Statement v1 and DSSE v1 (github.com/in-toto/attestation,
github.com/secure-systems-lab/dsse).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from expunge.core.level import Level
from expunge.core.verdict import Verdict

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://expunge.dev/unlearning/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"

OF_SIGNATURES = "A signature shows who stands for which bytes, no more."
STANDARD_LIMITS = (
    "All of this is conditional on the training configuration, which was chosen with the data in.",
    "Requests are assumed not to depend on models that were released before.",
    OF_SIGNATURES,
)
"""What no certificate shows, whatever the method; every one of them says so."""


@dataclass(frozen=True, kw_only=True)
class Predicate:
    """The content of a certificate of erasure.

    Attributes:
        development_key: signed with a key that was made for trying out; worth nothing to a third party.
        run: identity of the run.
        request: public parts of the request.
        manifests: salted Merkle roots by part (``forget``, ``retain``, ``holdout``), in hex.
        buckets: padded number of leaves by part; the true numbers are not public.
        model_before / model_after: model digests; files of the new model are the statement's subjects.
        files_before: SHA-256 of every file of the original, by name.
        method, guarantee, config, seeds, environment: how it was done.
        claim: what is claimed, and ``statement`` in plain words; ``limits`` and ``not_covered``.
        verdict, policy, policy_digest, checks: the audit: per check the decision, value, interval, margin
            and the reference mean, as text.
        controls: what the audit said of the original.
        attempts: one line per attempt this run directory saw.
        evidence: for a guarantee that stands alone, its argument.
        destroyed / kept: state that held forgotten data, by relative path: unlinked, or kept.
        report_digest: SHA-256 of the report record.
    """

    certificate: str
    issued: str
    expunge: str
    development_key: bool
    run: str
    request: Mapping[str, str]
    manifests: Mapping[str, str]
    buckets: Mapping[str, int]
    model_before: str
    model_after: str
    files_before: Mapping[str, str]
    method: str
    guarantee: Level
    config: Mapping[str, object]
    seeds: Mapping[str, int]
    environment: Mapping[str, str]
    claim: Level
    statement: str
    limits: tuple[str, ...]
    not_covered: tuple[str, ...]
    verdict: Verdict
    policy: str
    policy_digest: str
    checks: tuple[Mapping[str, str], ...]
    controls: tuple[Mapping[str, str], ...]
    attempts: tuple[str, ...]
    evidence: tuple[str, ...]
    destroyed: tuple[str, ...]
    kept: tuple[str, ...]
    report_digest: str
