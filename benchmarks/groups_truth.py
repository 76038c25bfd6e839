"""Does `mftn evaluate --groups` find a simulated gap, and how often does it report one where there is none?

Each draw is an audit of simulated people: two groups, an expression's strength from 0 to 4 that makes an image easy or
hard, correlated images of the same person, and a gap in log odds at equal strength (0: the model treats both alike).
The report's verdict is compared with a χ² test on the shares of images.

python benchmarks/groups_truth.py [--draws 500]
"""

import argparse
import time
from dataclasses import dataclass

import numpy as np
import scipy.stats

from mftn.evaluate.groups.compare import compare
from mftn.evaluate.groups.results import GroupResults
from mftn.evaluate.groups.sheet import LabelledImages


@dataclass(frozen=True)
class Audit:
    """The parameters of a simulation.

    Attributes:
        name: Name in the table.
        people: Number of people.
        images: Number of images per person.
        share: Share of people in the first group.
        gap: Difference in log odds from the second group at equal strength.
        uneven: How many standard deviations higher the first group's strength is.
        slope: Log odds per step of strength.
        own: Standard deviation of people's own log odds.
        adjusted: Whether the model adjusts for strength.
    """

    name: str
    people: int = 100
    images: int = 1
    share: float = 0.5
    gap: float = 0.0
    uneven: float = 0.0
    slope: float = 1.0
    own: float = 0.0
    adjusted: bool = True


AUDITS = (
    Audit("alike"),
    Audit("alike, 5 images each that go together", images=5, own=1.5, slope=0.5),
    Audit("alike, 40 of 200 people", people=200, share=0.2),
    Audit("one group smiles more", uneven=1.0),
    Audit("one group smiles more, not adjusted", uneven=1.0, adjusted=False),
    Audit("one group smiles more, steep", uneven=1.0, slope=5.0),
    Audit("one group smiles more, 5 images each", images=5, own=1.5, uneven=1.0),
    Audit("gap of 1", gap=1.0),
    Audit("gap of 2", gap=2.0),
    Audit("gap of 2, one group smiles more", gap=2.0, uneven=1.0),
    Audit("gap of 1, 400 people", people=400, gap=1.0),
    Audit("gap of 1 against those who smile more, 400 people", people=400, gap=-1.0, uneven=1.0),
    Audit("gap of 1, 100 people, 5 images each", images=5, gap=1.0, own=1.0),
)


def simulate(audit: Audit, rng: np.random.Generator) -> LabelledImages:
    """Simulate one audit's images."""
    first = np.arange(audit.people) < round(audit.share * audit.people)
    people = np.repeat(np.arange(audit.people), audit.images)
    inside = first[people]
    strength = np.clip(np.round(2 + audit.uneven * (inside - 0.5) + rng.normal(0, 1, len(people))), 0, 4)
    odds = 0.5 + audit.slope * (strength - 2) + audit.gap * inside + rng.normal(0, audit.own, audit.people)[people]
    right = rng.random(len(people)) < 1 / (1 + np.exp(-odds))
    return LabelledImages(
        names=tuple(f"{number}.jpg" for number in range(len(people))),
        people=people,
        labels=np.full(len(people), "happiness"),
        right=right,
        missed=np.zeros(len(people), bool),
        groups={"group": np.where(inside, "first", "second")},
        covariates={"strength": strength} if audit.adjusted else {},
        notes=(),
    )


def shares_alone(images: LabelledImages) -> float:
    """The p-value of a χ² test of images by group and correctness."""
    inside = images.groups["group"] == "first"
    table = [[(images.right & side).sum(), (~images.right & side).sum()] for side in (inside, ~inside)]
    return 1.0 if 0 in np.sum(table, axis=0) else float(scipy.stats.chi2_contingency(table, correction=False).pvalue)


def found(results: GroupResults) -> bool:
    """Whether the report finds a difference, adjusted or not."""
    return any(one.verdict.startswith("difference") for one in results.comparisons)


def rates(audit: Audit, draws: int, seed: int) -> tuple[float, float, float]:
    """Shares of draws in which the report finds a difference, χ² does, and the odds ratio's interval covers the truth.

    The last is NaN if people have their own odds, because a population-level model then has a different odds ratio.
    """
    rng = np.random.default_rng(seed)
    called, naive, covered = [], [], []
    for _ in range(draws):
        images = simulate(audit, rng)
        results = compare(images)
        called.append(found(results))
        naive.append(shares_alone(images) <= 0.05)
        test = results.comparisons[0].adjusted
        if test and not audit.own:
            covered.append(test.interval[0] <= np.exp(audit.gap) <= test.interval[1])
    return float(np.mean(called)), float(np.mean(naive)), float(np.mean(covered)) if covered else float("nan")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=500)
    options = parser.parse_args()
    start = time.process_time()
    print(f"{'audit':<52} {'difference called':>18} {'χ² of images':>13} {'interval holds truth':>21}")
    for audit in AUDITS:
        called, naive, covered = rates(audit, options.draws, 1)
        print(f"{audit.name:<52} {called:18.1%} {naive:13.1%} {covered:21.1%}", flush=True)
    print(f"{options.draws} draws each, {time.process_time() - start:.0f} s of CPU time")


if __name__ == "__main__":
    main()
