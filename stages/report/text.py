"""The decision report in Markdown: every number with its n, and with the name of the run that it comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.base.formatting import duration, markdown_table, plain, words
from stages.decision.confirmation import Confirmation, Repeat
from stages.decision.evidence import Evidence, Row
from stages.decision.significance import Noise, judge
from stages.decision.verdict import Decision, Standing, in_words
from stages.detector.as_is import AsIs
from stages.params.space import Point, same
from stages.report import figures
from stages.report.best_so_far import Band, Curve, curve, random_orders
from stages.report.importance import Influence, influences, luck_share

SHOWN = 40  # trials in the table; the best of more
EPOCHS, SECONDS = "epochs x images", "seconds of training"


@dataclass(frozen=True)
class Subject:
    """What a report is of.

    Attributes:
        evidence: The study and what it is compared with.
        data: The content of data/prepared/summary.json.
        source: `data.source` of params.yaml.
        model: `model` of params.yaml.
        commit: That the run started from.
        hardware, versions: What made the results.
        as_is: The pretrained model without training, if the trainings started from one.
        done: What was trained again, if anything was.
        decision: What that decides.
        staging: What became of it in the registry, in sentences.
        tested: Metrics of the model in the workspace on the test split.
        missing: What could not be read or done, a line each, beside what the evidence says.
    """

    evidence: Evidence
    data: Mapping[str, Any]
    source: str
    model: str
    commit: str
    hardware: str
    versions: str
    as_is: AsIs | None
    done: Confirmation | None
    decision: Decision | None
    staging: str
    tested: Mapping[str, float]
    missing: Sequence[str] = field(default_factory=list)

    @property
    def noise(self) -> Noise | None:
        return self.done.noise() if self.done else None


@dataclass(frozen=True)
class Report:
    """A report: its text, and its figures as PNG by the name of the file."""

    text: str
    figures: dict[str, bytes]


def report(subject: Subject) -> Report:
    """Write the report of a study with at least one complete trial."""
    drawn: dict[str, bytes] = {}
    parts = [
        _summary(subject),
        _context(subject),
        _runs(subject.evidence, subject.as_is),
        _progress(subject, drawn),
        _influence(subject, drawn),
        _confirmation(subject, drawn),
        _recommendation(subject, drawn),
        _limits(subject),
    ]
    return Report("\n\n".join("\n".join(lines) for lines in parts if lines) + "\n", drawn)


# The parts, in order --------------------------------------------------------------------------------------------------


def _summary(subject: Subject) -> list[str]:
    evidence, decision = subject.evidence, subject.decision
    best = evidence.best
    assert best is not None
    lines = ["# Decision", ""]
    if decision is not None and decision.gain is not None:
        lines.append(f"**Best against baseline, test split: {in_words(decision.gain)}.**")
    elif same(best.point) == same(evidence.start):
        lines.append("**The study found nothing better than what it started from.**")
    elif subject.done is not None and subject.done.failed:
        lines.append("**Not decided: repeats with other seeds are lacking (see Confirmation).**")
    else:
        lines.append("**Not decided: nothing was trained again with other seeds, so what is told below may be luck.**")
    lines.append("")
    if decision is not None and decision.over_as_is is not None:
        lines.append(
            f"- What training adds: the best beside {subject.model} as it is, without training, test split: "
            f"{in_words(decision.over_as_is)}."
        )
    if decision is not None and decision.recommended is not None:
        chosen = decision.recommended
        lines.append(
            f"- To take: {_named(chosen)} ({words(chosen.setting.point)}): mAP50 {_mean(chosen)} on "
            f"the test split, {chosen.seconds:.0f} s of training, {_one(chosen.ms_per_image)} ms an image."
        )
    lines.append(f"- Staging: {subject.staging}")
    if evidence.is_small:
        count = len(evidence.finished)
        lines.append(
            f"- The study is too small: it has trained {count} trial{'s' if count != 1 else ''}; with fewer than ten "
            "the sampler has hardly begun to learn. `dvc exp run tune -S tune.trials=...` goes on with it."
        )
    return lines


def _named(standing: Standing) -> str:
    role = standing.setting.role
    return "the model as it is, without training" if role == "as is" else f"the {role} setting"


def _mean(standing: Standing) -> str:
    found = standing.tested
    if not found.n:
        return f"{found.mean:.3f}"
    if not math.isfinite(found.low):
        return f"{found.mean:.3f} (n = 1)"
    return f"{found.mean:.3f} (95 % interval {found.low:.3f} to {found.high:.3f}, n = {found.n})"


def _context(subject: Subject) -> list[str]:
    study, data = subject.evidence.study, subject.data
    counts = "; ".join(
        f"{split} {part['images']} images, {part['boxes']} boxes" for split, part in data.get("splits", {}).items()
    )
    rows = [
        ("study", f"{study['name']}, a run of this name in MLflow, its trials beneath it"),
        ("data", f"{subject.source}, digest {study['data'][:12]}"),
        ("splits", counts or "not known"),
        ("model", subject.model if subject.as_is is None else f"{subject.model}, {_kept(subject.as_is)}"),
        ("baseline", f"what the study started from: {words(subject.evidence.start)}"),
        ("searched by", "mAP50 on the validation split, of the epoch that was best, one seed"),
        ("judged by", "mAP50 on the test split, other seeds"),
        ("sampler, pruner", f"{study.get('sampler', '?')}, {study.get('pruner', '?')}"),
        ("not searched", words(study["fixed"])),
        (
            "in the workspace",
            f"models/best.pt of params.yaml: mAP50 {subject.tested['mAP50']:.3f} on the test split, n = 1",
        ),
        ("this report", f"made at commit {subject.commit}; code of training {study['code']}"),
        ("made on", subject.hardware),
        ("made with", subject.versions),
    ]
    return ["## Context", "", *markdown_table(("what", "which"), rows)]


def _kept(as_is: AsIs) -> str:
    return f"whose rows of {', '.join(as_is.kept)} are kept (head {plain(as_is.head)})"


def _runs(evidence: Evidence, as_is: AsIs | None) -> list[str]:
    keys = evidence.keys
    values = [row.value or 0.0 for row in [*evidence.complete, *evidence.compared]]
    best = max([*values, *([as_is.validated] if as_is is not None else [])], default=0.0)
    lines = [
        "## The runs",
        "",
        "mAP50 is that of the validation split unless it says test. A name is that of a run in MLflow and of a row in "
        "`make compare` and `dvc exp show -A` (which lists a baseline as its commit); stopped and failed trials are in "
        "MLflow alone. Best in bold.",
        "",
        f"Baseline and grid, {len(evidence.compared)} runs"
        + (", after the model as it is, without training:" if as_is is not None else ":"),
        "",
    ]
    compared = sorted(evidence.compared, key=lambda row: (row.source != "baseline", -(row.value or 0.0)))
    head = ("run", "kind", *keys, "mAP50", "test mAP50", "seconds")
    cells = [
        [row.name, row.source, *(plain(row.point[key]) for key in keys), _bold(row.value, best), _three(row.tested),
         _whole(row.seconds)]
        for row in compared
    ]  # fmt: skip
    if as_is is not None:
        point = [str(as_is.imgsz) if key == "imgsz" else "-" for key in keys]
        first = [as_is.name, "as is", *point, _bold(as_is.validated, best), _three(as_is.tested), "0"]
        cells = [first, *cells]
    lines += markdown_table(head, cells) if cells else ["None."]
    if evidence.apart:
        others = "; ".join(f"{row.name} ({words(keys_)}, mAP50 {_three(row.value)})" for row, keys_ in evidence.apart)
        lines += ["", f"Compared with nothing here, because other keys differ: {others}."]
    trials = evidence.trials
    shown = trials
    if len(trials) > SHOWN:
        shown = sorted(trials, key=lambda row: (not row.is_complete, -(row.value or 0.0)))[:SHOWN]
    counts = {state: sum(row.state == state for row in trials) for state in ("complete", "pruned", "fail", "running")}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    lines += [
        "",
        f"The study, {len(trials)} trials ({told})" + (f"; the best {SHOWN}:" if len(shown) < len(trials) else ":"),
    ]
    head = ("trial", "run", "from", "state", "epochs", *(key for key in keys if key != "epochs"), "mAP50", "seconds")
    rest = [key for key in keys if key != "epochs"]
    rows = []
    for row in shown:
        epochs = plain(row.point.get("epochs", row.epochs))
        if row.state == "pruned" and row.epochs is not None:
            epochs = f"{row.epochs} of {epochs}" if "epochs" in row.point else f"{row.epochs}"
        state = f"{row.state}: {row.reason}" if row.reason else row.state
        value = _bold(row.value, best) if row.is_complete else _three(row.value)
        point = [plain(row.point[key]) for key in rest]
        rows.append([str(row.number), row.name, row.source, state, epochs, *point, value, _whole(row.seconds)])
    lines += ["", *markdown_table(head, rows)]
    if len(shown) < len(trials):
        lines += ["", "All of them are in reports/study/trials.csv."]
    return lines


def _progress(subject: Subject, drawn: dict[str, bytes]) -> list[str]:
    evidence = subject.evidence
    lines = ["## Optuna, the grid and random order", ""]
    own, grid = evidence.finished, [row for row in evidence.grid if row.value is not None and row.cost]
    if not own:
        return [*lines, "The study has trained no trial itself: there is nothing to compare."]
    images = int(subject.data.get("splits", {}).get("train", {}).get("images", 0))
    start = evidence.named(evidence.start)
    sets = {"Optuna": own, **({"grid": grid} if grid else {})}
    curves: dict[str, dict[str, Curve]] = {}
    bands: dict[str, Band] = {}
    marks: dict[str, dict[str, float]] = {}
    for cost in (EPOCHS, SECONDS):
        curves[cost] = {name: curve(_costs(rows, cost, images), _values(rows)) for name, rows in sets.items()}
        whole = float(curves[cost]["Optuna"].cost[-1])
        marks[cost] = {"the whole grid": float(curves[cost]["grid"].cost[-1])} if grid else {}
        marks[cost] |= {"half of the study": whole / 2, "the whole study": whole}
        bands[cost] = random_orders(_costs(own, cost, images), _values(own), list(marks[cost].values()))
    drawn["progress.png"] = figures.progress(curves, bands, start.value if start else None)
    lines += [
        "![the best so far over what it cost](figures/progress.png)",
        "",
        f"The best mAP50 on the validation split for an equal cost. Optuna: the {len(own)} trials that the study has "
        f"trained (n = 1 each), in the order they were asked for. Grid: {len(grid)} points in the order they were "
        f"run. Random order: the study's own trials, shuffled 300 times (mean, and where 90 of 100 orders lie).",
        "",
    ]
    rows = []
    for cost in (EPOCHS, SECONDS):
        for name, spent in marks[cost].items():
            random = bands[cost].at(spent)
            between = f"{random[1]:.3f} ({random[0]:.3f} to {random[2]:.3f})" if random else "-"
            found = [_found(curves[cost].get(one), spent) for one in ("Optuna", "grid")]
            rows.append([cost, f"{spent:,.0f} ({name})", *found, between])
    lines += markdown_table(("cost", "spent", "Optuna", "grid", "random order"), rows)
    if learnt := _learnt(evidence):
        lines += [
            "",
            f"The grid was run with {words(learnt)}, which the study had found: it did not start from where the study "
            "did, and its line is no measure of what a grid finds alone.",
        ]
    known = [row for row in evidence.complete if not row.is_own]
    if known:
        lines += [
            "",
            f"The study knows {len(known)} runs that it has not trained itself, and learns from them; neither their "
            "cost nor their values are counted as Optuna's here. Where it knew a grid from the start it does not go "
            "there again, and its own line may stay beneath.",
        ]
    return lines


def _learnt(evidence: Evidence) -> Point:
    """What every point of the grid has from the best of the study, and not from its start."""
    best = evidence.best
    if best is None or not best.is_own or not evidence.grid:
        return {}
    return {
        key: value
        for key, value in best.point.items()
        if value != evidence.start.get(key) and all(row.point[key] == value for row in evidence.grid)
    }


def _found(known: Curve | None, spent: float) -> str:
    """The best for a cost; where there was no more to spend, with what it was."""
    value = known.at(spent) if known is not None else None
    if known is None or value is None:
        return "-"
    end = float(known.cost[-1])
    return f"{value:.3f} (ended at {end:,.0f})" if spent > end * (1 + 1e-6) else f"{value:.3f}"


def _costs(rows: Sequence[Row], cost: str, images: int) -> list[float]:
    return [float((row.epochs or 0) * max(images, 1) if cost == EPOCHS else row.seconds or 0.0) for row in rows]


def _values(rows: Sequence[Row]) -> list[float]:
    return [row.value or 0.0 for row in rows]


def _influence(subject: Subject, drawn: dict[str, bytes]) -> list[str]:
    evidence, noise = subject.evidence, subject.noise
    rows = evidence.complete
    found = influences(rows, evidence.study["space"], evidence.keys, noise)
    lines = ["## What each parameter does", ""]
    drawn["slices.png"] = figures.slices(evidence, noise)
    lines += ["![each trial over each searched key](figures/slices.png)", ""]
    if any(one.importance is not None for one in found):
        drawn["importance.png"] = figures.importance(found)
        lines += ["![importance, and the difference between groups](figures/importance.png)", ""]
    cells = [
        [
            one.key,
            f"{one.importance:.2f}" if one.importance is not None else "-",
            f"{one.difference:.3f}",
            _three(one.seeds),
            _three(one.chance),
            _reading(one),
            ", ".join(f"{group.label}: {group.mean:.3f} (n = {group.n})" for group in one.groups),
        ]
        for one in found
    ]
    head = (
        "key",
        "importance",
        "best group minus worst",
        "seeds alone",
        "seeds and other keys",
        "reading",
        "mean mAP50 of the groups",
    )
    lines += [f"Of {len(rows)} complete trials:", "", *markdown_table(head, cells)]
    lines += [
        "",
        "Seeds alone, and seeds and other keys: what the difference would stay below in 95 of 100 cases if nothing "
        "else made it (the second by shuffling the trials over the groups).",
    ]
    for one in found:
        if one.key in ("epochs", "imgsz"):
            lines += ["", _told(one)]
    lines.append("")
    share = luck_share(rows, noise)
    if noise is None or share is None:
        lines.append(
            "How much of this seeds alone could make is not known: nothing was trained again with other seeds."
        )
    else:
        lines.append(
            f"Between seeds mAP50 varies with a standard deviation of {noise.sd:.3f} ({noise.freedom} degrees of "
            f"freedom, from the repeats below): that alone is {100 * share:.0f} % of the variance between the "
            f"trials. A trial within {noise.margin():.3f} of another may be as good."
        )
    return lines


def _reading(one: Influence) -> str:
    if len(one.groups) < 2:
        return "one value only"
    if one.seeds is not None and one.difference <= one.seeds:
        return "seeds alone could make it"
    if one.chance is not None and one.difference <= one.chance:
        return "chance could make it"
    return "more than chance"


def _told(one: Influence) -> str:
    """epochs and imgsz in words: they are what a training costs."""
    if len(one.groups) < 2:
        return f"{one.key}: all complete trials have {one.groups[0].label if one.groups else 'none'}."
    first, last = one.groups[0], one.groups[-1]
    return (
        f"{one.key}: from {first.label} (n = {first.n}) to {last.label} (n = {last.n}) the mean changes by "
        f"{last.mean - first.mean:+.3f}; between the best and the worst group: {_reading(one)}."
    )


def _confirmation(subject: Subject, drawn: dict[str, bytes]) -> list[str]:
    done, decision = subject.done, subject.decision
    lines = ["## Confirmation", ""]
    if done is None or decision is None or not done.repeats:
        failed = _failed(done)
        return [*lines, "Nothing was trained again with other seeds: `tune.confirm_seeds` says how many.", *failed]
    drawn["confirmation.png"] = figures.confirmation(done, decision)
    lines += [
        "![trained again with other seeds](figures/confirmation.png)",
        "",
        "Settings trained again with seeds that the search has not seen, on the test split, which it has not seen "
        "either:",
        "",
    ]
    rows = [
        [standing.setting.role, words(standing.setting.point),
         standing.setting.found or ("not run before" if standing.tested.n else "no training"),
         _three(standing.setting.validated), str(standing.tested.n), f"{standing.tested.mean:.3f}",
         _range(standing.tested.low, standing.tested.high) if standing.tested.n else "no seed plays a part",
         f"{standing.seconds:.0f}", _one(standing.ms_per_image)]
        for standing in decision.standings.values()
    ]  # fmt: skip
    head = ("setting", "values", "found in run", "mAP50 there, validation", "seeds", "test mAP50", "95 % interval",
            "seconds", "ms an image")  # fmt: skip
    lines += [*markdown_table(head, rows), ""]
    rows = [_repeat(one) for one in done.repeats]
    lines += [*markdown_table(("setting", "run", "seed", "mAP50", "test mAP50", "seconds"), rows), ""]
    compared = [("best minus baseline", decision.gain)] if decision.gain else []
    compared += [("best minus as is", decision.over_as_is)] if decision.over_as_is else []
    compared += [
        (f"{role} minus best", standing.to_best)
        for role, standing in decision.standings.items()
        if role == "cheapest" and standing.to_best is not None
    ]
    rows = [
        [name, str(found.n), f"{found.mean:+.3f}", _range(found.low, found.high, "+"), judge(found)]
        for name, found in compared
    ]
    if rows:
        lines += [*markdown_table(("difference", "n", "mean", "95 % interval", "verdict"), rows), ""]
    if decision.gain is not None:
        lines.append(f"Verdict: the best is {in_words(decision.gain)} than the baseline."
                     if decision.verdict != "not distinguishable"
                     else f"Verdict: best and baseline are {in_words(decision.gain)}.")  # fmt: skip
    elif "baseline" in {setting.role for setting in done.settings}:
        lines.append("Best and baseline have no seed in common that was trained to its end: there is no verdict.")
    else:
        lines.append("The best is the baseline itself: there is no difference to judge.")
    if decision.detectable is not None and decision.gain is not None:
        lines.append(
            f"With {decision.gain.n} seeds and this spread (standard deviation of the paired differences "
            f"{decision.gain.sd:.3f}) a true difference of {decision.detectable:.3f} would have been found in 80 of "
            "100 cases; a smaller one easily stays unseen."
        )
    return lines + _failed(done)


def _failed(done: Confirmation | None) -> list[str]:
    if done is None or not done.failed:
        return []
    told = [f"- {name} is lacking: {why}" for name, why in done.failed.items()]
    return ["", *told, "", "`python -m stages.tune` tries these again."]


def _repeat(one: Repeat) -> list[str]:
    return [one.role, one.name, str(one.seed), f"{one.validated:.3f}", f"{one.tested:.3f}", f"{one.seconds:.0f}"]


def _recommendation(subject: Subject, drawn: dict[str, bytes]) -> list[str]:
    decision = subject.decision
    drawn["tradeoff.png"] = figures.tradeoff(subject.evidence, decision, subject.noise)
    lines = ["## Recommendation for staging", "", "![what a training costs and gives](figures/tradeoff.png)", ""]
    if decision is None or decision.recommended is None:
        return [*lines, "None: what was not trained again cannot be told from luck.", "", f"Staging: {subject.staging}"]
    chosen, model = decision.recommended, decision.model
    if subject.as_is is not None and chosen.setting.role == "as is":
        return [*lines, *_taken_as_it_is(decision, subject.as_is), "", f"Staging: {subject.staging}"]
    lines += [f"{_why(decision, chosen)}", "", "```yaml"]
    lines += [f"{key}: {plain(value)}" for key, value in chosen.setting.point.items()]
    lines += [
        "```",
        "",
        f"mAP50 on the test split {_mean(chosen)}; {chosen.seconds:.0f} s of training and {_one(chosen.ms_per_image)} "
        "ms an image (the fastest of the repeats).",
    ]
    if model is not None:
        lines.append(
            f"The model is that of {model.name} (seed {model.seed}), the best of these on the validation split: "
            f"test mAP50 {model.tested:.3f} (n = 1). `dvc exp apply {model.name}` takes it into the workspace."
        )
    return [*lines, "", f"Staging: {subject.staging}"]


def _taken_as_it_is(decision: Decision, as_is: AsIs) -> list[str]:
    """Return the recommendation to take the pretrained model without training."""
    over = decision.over_as_is
    how = f": the best is {in_words(over)}" if over is not None else ""
    return [
        f"The model as it is: no training is distinguishably better on the test split{how}. It costs nothing.",
        "",
        "```yaml",
        f"model: {as_is.model}",
        f"head: {plain(as_is.head)}",
        f"imgsz: {as_is.imgsz}",
        "```",
        "",
        f"mAP50 on the test split {as_is.tested:.3f}, {as_is.ms_per_image:.1f} ms an image. Its class rows are those "
        f"of the weights: {', '.join(as_is.kept)}. More seeds (`dvc exp run tune -S tune.confirm_seeds=...`) or "
        "more test images may still show that a training is better.",
    ]


def _why(decision: Decision, chosen: Standing) -> str:
    """The reason for the recommendation."""
    role = chosen.setting.role
    best = decision.standings["best"]
    if role == "best":
        others = [
            f"{_named(one)} is {'worse' if judge(one.to_best) == 'worse' else 'no cheaper'}"
            for one in decision.standings.values()
            if one.to_best is not None
        ]
        return f"The best setting{': ' + ', '.join(others) if others else ''}."
    assert chosen.to_best is not None
    saved = 100 * (1 - chosen.seconds / best.seconds)
    cost = f"costs {saved:.0f} % less" if saved > 0 else "costs as much"
    return (
        f"The {role} setting: it {cost} than the best ({chosen.seconds:.0f} s against {best.seconds:.0f} s) and is not "
        f"distinguishably worse ({chosen.to_best.mean:+.3f}, 95 % interval "
        f"{_range(chosen.to_best.low, chosen.to_best.high, '+')}, {chosen.to_best.n} seeds). The lower end of that is "
        f"what it may cost: `dvc exp run tune -S tune.confirm_seeds={2 * chosen.to_best.n}` narrows it, and keeps the "
        "repeats that there are."
    )


def _limits(subject: Subject) -> list[str]:
    evidence = subject.evidence
    test = subject.data.get("splits", {}).get("test", {}).get("images", "?")
    spent = sum(row.seconds or 0.0 for row in evidence.finished)
    again = sum(one.seconds for one in subject.done.repeats) if subject.done else 0.0
    lines = [
        "## What this report does not show",
        "",
        f"- Other pictures: the intervals are over seeds, with one and the same test split of {test} images. A split "
        "of other images would move every number.",
        "- The search's own numbers are one seed each, and the best of many: they are too high. Only the "
        "confirmation is not.",
        "- Random order shuffles points that the sampler has chosen; points drawn at random might be worse, and a "
        "stopped trial counts with what it had reached.",
        "- More seeds after a look at these: each further look is a further chance that luck is called better (three "
        "looks: about 6 of 100 instead of 2 or 3). Settle their number beforehand where it matters.",
        "- Interactions: the groups of one key differ in the other keys too.",
        "- Times are those of this machine with other trainings beside them, and vary with what else it does. The "
        f"study has cost {duration(spent)} of training, the confirmation {duration(again)}.",
    ]
    lacking = [*evidence.missing, *subject.missing]
    others = evidence.study.get("left_out", {}).get("other data or code", 0)
    if others:
        lines.append(f"- {others} experiments were made from other data or other code and are left out.")
    if lacking:
        lines += ["", "## What is missing", "", *(f"- {line}" for line in lacking)]
    return lines


def _three(value: float | None) -> str:
    return f"{value:.3f}" if value is not None else "-"


def _one(value: float | None) -> str:
    return f"{value:.1f}" if value is not None else "-"


def _whole(value: float | None) -> str:
    return f"{value:.0f}" if value is not None else "-"


def _bold(value: float | None, best: float) -> str:
    return f"**{value:.3f}**" if value is not None and value == best else _three(value)


def _range(low: float, high: float, sign: str = "") -> str:
    return f"{low:{sign}.3f} to {high:{sign}.3f}" if math.isfinite(low) else "none from one seed"
