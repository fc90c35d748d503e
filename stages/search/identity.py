"""The identity of a study: the facts that all of its trials share. The name of the study is made from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.storages import RDBStorage

from stages.experiments.identity import digest_of
from stages.params.schema import Params
from stages.services.storage import IDENTITY, OBJECTIVE


def identity(params: Params, data: str, code: Mapping[str, str]) -> dict[str, Any]:
    """Return the facts that all trials of a study share. If one of them changes, it is another study.

    Args:
        params: The content of params.yaml.
        data: The digest of the prepared data.
        code: The digest of each piece of code that decides the result of a training, by its path.
    """
    facts = {
        "objective": f"the greatest {OBJECTIVE} on the validation split",
        "data": data,
        "code": digest_of(code),
        "space": {key: dimension.model_dump(exclude_none=True) for key, dimension in params.tune.space.items()},
        "fixed": {key: value for key, value in params.written().items() if key not in params.tune.space},
    }
    if limits := params.tune.limits.active():
        facts["limits"] = limits
    return dict(json.loads(json.dumps(facts)))  # as the storage returns it: with lists instead of tuples


def study_name(identity: Mapping[str, Any]) -> str:
    """Return the name of the study with this identity: `tune-` and six hexadecimal digits."""
    return f"tune-{hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:6]}"


def changed_facts(identity: Mapping[str, Any], storage: RDBStorage) -> list[str]:
    """Return the keys of the identity that differ from the newest other study in the storage, if there is one."""
    name = study_name(identity)
    summaries = optuna.get_all_study_summaries(storage, include_best_trial=False)
    others = [summary for summary in summaries if summary.study_name != name and IDENTITY in summary.user_attrs]
    if not others:
        return []
    newest = max(others, key=lambda summary: summary._study_id).user_attrs[IDENTITY]
    return [key for key in {**identity, **newest} if identity.get(key) != newest.get(key)]
