"""The files of a study: trials.csv, history.csv and study.json."""

from __future__ import annotations

import csv
import io

from stages.search.next_trial import next_trial
from stages.search.summary import summary
from stages.search.tables import history, table
from tests.unit.search.studies import params_with, result, study_with


def test_the_tables_have_every_trial_and_the_history_has_the_finished_ones() -> None:
    study = study_with()
    study.add_results([result("baseline-1", "baseline", 0.5)])
    for metrics in ({"mAP50": 0.4}, {"mAP50": 0.6}):
        trial = next_trial(study)
        assert trial is not None
        study.complete(trial, metrics, 12.34)
    pruned, failed = next_trial(study), next_trial(study)
    assert pruned is not None
    assert failed is not None
    study.report(pruned, 1, 0.1)
    study.prune(pruned, 3.0)
    study.fail(failed, "out of memory", "too\nmuch")
    rows = list(csv.DictReader(io.StringIO(table(study.trials(), list(study.space.distributions)))))
    assert [row["state"] for row in rows] == ["complete", "complete", "complete", "pruned", "fail"]
    assert [row["source"] for row in rows] == ["baseline", *["sampler"] * 4]
    assert [row["mAP50"] for row in rows] == ["0.5", "0.4", "0.6", "0.1", ""]
    assert [row["best"] for row in rows] == ["0.5", "0.5", "0.6", "0.6", "0.6"]
    assert rows[1]["name"] == f"{study.name}-001"
    assert rows[3]["epochs_trained"] == "1"
    assert rows[4]["reason"] == "too much"
    assert history(study.trials()).splitlines() == [
        "number,mAP50,best",
        "0,0.5,0.5",
        "1,0.4,0.5",
        "2,0.6,0.6",
        "3,0.1,0.6",
    ]
    facts = summary(study, params_with().tune)
    assert facts["trials"] == {"complete": 3, "pruned": 1, "fail": 1}
    assert facts["start"]["mAP50"] == 0.5
    assert facts["best"]["mAP50"] == 0.6
    assert facts["importances"] == {}, "three complete trials are too few"


def test_study_json_has_an_importance_for_each_searched_key() -> None:
    study = study_with()
    for number in range(8):
        trial = next_trial(study)
        assert trial is not None
        study.complete(trial, {"mAP50": trial.params["epochs"] / 10 + number / 1000}, 1.0)
    assert summary(study, params_with().tune)["importances"].keys() == study.space.distributions.keys()
