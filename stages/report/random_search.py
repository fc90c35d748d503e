"""Random search at equal cost, predicted: what points drawn from the whole space would have given.

No random search runs beside a study. A model that is fitted to the trials, of many to the newest, predicts it, and
leave-one-out tells the error of that model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.decision.evidence import Evidence
from stages.params.space import Dimension
from stages.report.best_so_far import Band, band
from stages.search.distributions import distribution
from stages.search.encoding import Encoding, Floats
from stages.search.forecast import Forecast, Observations

COSTS = {"epochs": 1, "imgsz": 2}  # the keys that decide the time of a training, and their exponents
SEARCHES = 300  # predicted searches: enough for a stable 5th and 95th percentile
POOL = 2000  # points of the space from which the searches draw
FEWEST = 3  # complete trials for leave-one-out
MOST = 60  # observations of the model: more of them would take seconds, and the report has no use for them


@dataclass(frozen=True)
class Model:
    """A model of the results in the search space.

    Attributes:
        values: The predicted mAP50 of POOL points drawn from the space, shape (POOL,).
        noise: The standard deviation of a single result around that.
        epochs, seconds: The cost of these points, shape (POOL,).
        error: The root mean square of the errors if each complete trial is predicted from all others, in mAP50; None
            with fewer than FEWEST of them.
        spread: The standard deviation of the complete trials, which is the error of a model that knows nothing.
    """

    values: Floats
    noise: float
    epochs: Floats
    seconds: Floats
    error: float | None
    spread: float

    def searches(self, costs: Floats, total: float, marks: Sequence[float]) -> Band:
        """Return the best value so far of SEARCHES random searches.

        Args:
            costs: The cost of each point of the pool: `seconds`, or `epochs` in any unit.
            total: The cost at which a search ends.
            marks: Further costs of the band.
        """
        random = np.random.default_rng(0)
        count = math.ceil(2 * total / costs.mean()) + 1
        drawn = random.integers(0, POOL, (SEARCHES, count))
        values = np.clip(self.values[drawn] + random.normal(0, self.noise, drawn.shape), 0, 1)
        return band(costs[drawn], values, total, marks)


def fit(evidence: Evidence) -> Model:
    """Fit the model to the trials of a study, of which at least one is complete and says its seconds."""
    fixed, start = evidence.study["fixed"], evidence.start
    dimensions = {key: Dimension.model_validate(values) for key, values in evidence.study["space"].items()}
    encoding = Encoding(
        {
            key: distribution(dimension, dimension.is_whole() and isinstance(start.get(key), int))
            for key, dimension in dimensions.items()
        }
    )
    observed = _observed(evidence, encoding)
    forecast = Forecast(observed, encoding.is_category)
    rows = encoding.random(np.random.default_rng(0), POOL)
    costs = relative_costs(rows, encoding)
    trained = [row for row in evidence.complete if row.seconds is not None]
    own = relative_costs(np.array([encoding.row(row.point) for row in trained]), encoding)
    second = max(1e-6, float(np.median([(row.seconds or 0.0) / cost for row, cost in zip(trained, own, strict=True)])))
    epochs = encoding.numbers("epochs", rows) if "epochs" in dimensions else np.full(POOL, float(fixed["epochs"]))
    ends = observed.values[observed.shares >= 1]
    values = np.concatenate([forecast.at(part)[0] for part in np.array_split(rows, 8)])
    error = _leave_one_out(observed, encoding) if len(ends) >= FEWEST else None
    return Model(values, forecast.noise, epochs, second * costs, error, float(np.std(ends)))


def relative_costs(rows: Floats, encoding: Encoding) -> Floats:
    """Return the time of trainings relative to each other, shape (n,)."""
    costs = np.ones(len(rows))
    for key in COSTS.keys() & set(encoding.keys):
        costs *= encoding.numbers(key, rows) ** COSTS[key]
    return costs


def _observed(evidence: Evidence, encoding: Encoding) -> Observations:
    """Return what the complete and the pruned trials have reached; of many trials, the newest.

    At least half of them are complete ones, if there are so many: these tell the error of the model.
    """
    measured: list[tuple[Floats, float, float]] = []
    for row in evidence.trials:
        epochs = row.point.get("epochs", evidence.study["fixed"].get("epochs"))
        if row.is_complete and row.value is not None:
            measured.append((encoding.row(row.point), 1.0, row.value))
        elif row.state == "pruned" and row.value is not None and row.epochs:
            measured.append((encoding.row(row.point), min(row.epochs / epochs, 1.0), row.value))
    ends = [number for number, (_, share, _) in enumerate(measured) if share >= 1][-MOST // 2 :]
    others = [number for number in range(len(measured)) if number not in ends][-(MOST - len(ends)) :]
    rows, shares, values = zip(*(measured[number] for number in sorted([*ends, *others])), strict=True)
    return Observations(np.array(rows), np.array(shares), np.array(values))


def _leave_one_out(observed: Observations, encoding: Encoding) -> float:
    errors = []
    for index in np.flatnonzero(observed.shares >= 1):
        others = np.arange(len(observed.values)) != index
        rest = Observations(observed.rows[others], observed.shares[others], observed.values[others])
        predicted = Forecast(rest, encoding.is_category).at(observed.rows[index : index + 1])[0][0]
        errors.append(predicted - observed.values[index])
    return float(np.sqrt(np.mean(np.square(errors))))
