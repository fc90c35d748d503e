"""The decision report in Markdown: decision.md.j2 filled in. Every number has its n and the name of its run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.decision.confirmation import Confirmation
from stages.decision.evidence import Evidence
from stages.decision.resampling import DRAWS
from stages.decision.verdict import Decision, larger_uncertainty
from stages.detector.as_is import AsIs
from stages.params.space import same
from stages.report import equal_cost, figures, importance, repeats, runs, tradeoff
from stages.report.random_search import SEARCHES
from stages.report.template import environment


@dataclass(frozen=True)
class ReportInputs:
    """The facts that a report is made from.

    Attributes:
        evidence: The study and the runs that it is compared with; at least one trial is complete.
        data: The content of data/prepared/summary.json.
        source: `data.source` of params.yaml.
        model: `model` of params.yaml.
        commit: The commit that the run started from.
        hardware: The machine, as text.
        versions: The packages, as text.
        as_is: The pretrained model without training; None if the trainings did not start from one.
        confirmation: The repeats; None if none were asked for.
        decision: The decision; None without repeats.
        staging: The outcome in the model registry, as sentences.
        tested: The metrics of the model in the workspace on the test split.
        missing: Problems that are not in `evidence.missing`, one line each.
    """

    evidence: Evidence
    data: Mapping[str, Any]
    source: str
    model: str
    commit: str
    hardware: str
    versions: str
    as_is: AsIs | None
    confirmation: Confirmation | None
    decision: Decision | None
    staging: str
    tested: Mapping[str, float]
    missing: Sequence[str] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """A report: its text, and its figures as PNG by file name."""

    text: str
    figures: dict[str, bytes]


def render(inputs: ReportInputs) -> Report:
    """Return the report of a study with at least one complete trial."""
    pictures: dict[str, bytes] = {}
    facts = {
        "inputs": inputs,
        "evidence": inputs.evidence,
        "study": inputs.evidence.study,
        "as_is": inputs.as_is,
        "confirmation": inputs.confirmation,
        "decision": inputs.decision,
        "recommended": inputs.decision.recommended if inputs.decision else None,
        "missing": [*inputs.evidence.missing, *inputs.missing],
        "other_experiments": inputs.evidence.study.get("left_out", {}).get("other data or code", 0),
        "splits": inputs.data.get("splits", {}),
        "test_images": inputs.data.get("splits", {}).get("test", {}).get("images", "?"),
        **_run_facts(inputs),
        **_cost_facts(inputs, pictures),
        **_effect_facts(inputs, pictures),
        **_confirmation_facts(inputs, pictures),
    }
    return Report(environment().get_template("decision.md.j2").render(facts), pictures)


def _run_facts(inputs: ReportInputs) -> dict[str, Any]:
    evidence, shown = inputs.evidence, runs.shown_trials(inputs.evidence)
    assert evidence.best is not None
    return {
        "best_is_baseline": same(evidence.best.point) == same(evidence.start),
        "compared_table": runs.compared_table(evidence, inputs.as_is),
        "trials_table": runs.trials_table(evidence, shown, runs.best_value(evidence, inputs.as_is)),
        "shown": len(shown),
        "state_counts": runs.state_counts(evidence),
        "second_seed": evidence.second_seed,
    }


def _cost_facts(inputs: ReportInputs, pictures: dict[str, bytes]) -> dict[str, Any]:
    evidence = inputs.evidence
    own_trials = evidence.finished
    facts = {
        "own_trials": own_trials,
        "grid": evidence.grid_with_cost,
        "searches": SEARCHES,
        "reused": sum(not row.is_own for row in evidence.complete),
        "grid_uses": equal_cost.grid_values_from_study(evidence),
        "study_seconds": sum(row.seconds or 0.0 for row in own_trials),
    }
    if not own_trials:
        return facts
    images = int(inputs.data.get("splits", {}).get("train", {}).get("images", 0))
    costs, start = equal_cost.compare(evidence, images), evidence.training_at(evidence.start)
    pictures["progress.png"] = figures.progress(costs.curves, costs.bands, start.value if start else None)
    return {**facts, "cost_table": costs.table(), "random_search": costs.model}


def _effect_facts(inputs: ReportInputs, pictures: dict[str, bytes]) -> dict[str, Any]:
    evidence, noise = inputs.evidence, inputs.confirmation.noise() if inputs.confirmation else None
    effects = importance.effects_of(evidence.complete, evidence.keys, evidence.study.get("importances", {}), noise)
    has_importances = any(effect.importance is not None for effect in effects)
    pictures["slices.png"] = figures.slices(evidence, noise)
    if has_importances:
        pictures["importance.png"] = figures.importance(effects)
    return {
        "noise": noise,
        "has_importances": has_importances,
        "effects_table": importance.effects_table(effects),
        "effect_sentences": [effect.sentence() for effect in effects if effect.key in ("epochs", "imgsz")],
        "seed_share": importance.seed_share(evidence.complete, noise),
    }


def _confirmation_facts(inputs: ReportInputs, pictures: dict[str, bytes]) -> dict[str, Any]:
    confirmation, decision = inputs.confirmation, inputs.decision
    noise = confirmation.noise() if confirmation else None
    pictures["tradeoff.png"] = tradeoff.tradeoff(inputs.evidence, decision, noise)
    if confirmation is None or decision is None or not confirmation.repeats:
        return {"repeats": [], "larger_uncertainty": "", "confirmation_seconds": 0.0}
    pictures["confirmation.png"] = figures.confirmation(confirmation, decision)
    recommended = decision.recommended
    return {
        "repeats": confirmation.repeats,
        "draws": DRAWS,
        "larger_uncertainty": larger_uncertainty(decision.gain) if decision.gain else "",
        "roles": repeats.ROLES,
        "confirmation_seconds": sum(repeat.seconds for repeat in confirmation.repeats),
        "has_baseline": any(setting.role == "baseline" for setting in confirmation.settings),
        "settings_table": repeats.settings_table(decision),
        "repeats_table": repeats.repeats_table(confirmation),
        "differences_table": repeats.differences_table(decision),
        "reason": repeats.reason(decision, recommended) if recommended and recommended.setting.role != "as is" else "",
    }
