"""Do the tests between conditions keep their level where nothing differs, and do they detect real differences?

Each draw is a simulated study of people with their own levels, whose frames are autocorrelated; values are skewed, as
probabilities are. Each test is compared with a t test over frames, to show why frames must not be treated as
independent.

python benchmarks/summarize_null.py [--draws 2000] [--studies 2000]
"""

import argparse
import time

import numpy as np
import pandas as pd
import scipy.stats

import mftn
from mftn.analysis import permutation
from mftn.analysis.conditions import Units
from mftn.analysis.mixed import fit
from mftn.labels import EXPRESSIONS

PERMUTATIONS, FRAMES, LEVEL = 999, 100, 0.05


def courses(rng: np.random.Generator, people: int, draws: int) -> np.ndarray:
    """Probabilities (people, FRAMES, draws): skewed, and changing slowly over time."""
    noise = rng.normal(0, 1, (people, FRAMES, draws))
    for frame in range(1, FRAMES):
        noise[:, frame] = 0.95 * noise[:, frame - 1] + np.sqrt(1 - 0.95**2) * noise[:, frame]
    return 1 / (1 + np.exp(2.5 - noise))


def naive(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """p-values (draws,) of Welch's t test over all frames, as if each were a different person."""
    flat = [values.reshape(-1, values.shape[-1]) for values in (a, b)]
    return np.asarray(scipy.stats.ttest_ind(*flat, equal_var=False).pvalue)


def designs(draws: int, effect: float, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By design, the p-values (draws,) of the test and of the t test over frames. The effect shifts people's logits."""
    rng = np.random.default_rng(seed)

    def group(people: int, shift: float, own: np.ndarray | None = None) -> np.ndarray:
        own = rng.normal(0, 1, (people, 1, draws)) if own is None else own
        base = courses(rng, people, draws)
        return 1 / (1 + np.exp(-(np.log(base / (1 - base)) + own + shift)))

    def spread_group(people: int, shift: float, spread: float) -> np.ndarray:
        return 0.3 + 0.1 * shift + spread * (rng.normal(0, 1, (people, 1, draws)) + courses(rng, people, draws))

    def test(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return permutation.groups(a.mean(1), b.mean(1), PERMUTATIONS, seed), naive(a, b)

    own = rng.normal(0, 1, (16, 1, draws))
    one, other = group(16, effect, own), group(16, 0, own)
    found = {"within 16 people": (permutation.pairs(one.mean(1), other.mean(1), PERMUTATIONS, seed), naive(one, other))}
    found["8 and 20 people"] = test(group(8, effect), group(20, 0))
    found["14 and 14 people, spread 2 to 1"] = test(spread_group(14, effect, 0.1), spread_group(14, 0, 0.05))
    found["8 and 20 people, spread 2 to 1"] = test(spread_group(8, effect, 0.1), spread_group(20, 0, 0.05))
    three = [group(10, effect * k) for k in range(3)]
    found["3 groups of 10"] = (
        permutation.any_groups([g.mean(1) for g in three], PERMUTATIONS, seed)[1],
        naive(three[0], three[2]),
    )
    own = rng.normal(0, 1, (12, 1, draws))
    three = [group(12, effect * k, own) for k in range(3)]
    found["3 conditions within 12 people"] = (
        permutation.any_pairs([g.mean(1) for g in three], PERMUTATIONS, seed)[1],
        naive(three[0], three[2]),
    )
    return found


def mixed(draws: int, effect: float, seed: int, within: bool) -> np.ndarray:
    """p-values (draws,) of the mixed model over 12 people with four stretches each; NaN where it does not converge.

    People differ in their level and, with `within`, in their response to the condition.
    """
    rng = np.random.default_rng(seed)
    people = np.repeat(np.arange(12), 4)
    high = np.tile([0, 0, 1, 1], 12) if within else people % 2
    names, levels = people.astype(str).astype(object), high.astype(str).astype(object)
    p = np.full(draws, np.nan)
    for draw in range(draws):
        response = effect + (rng.normal(0, 1, 12)[people] if within else 0)
        values = rng.normal(0, 1, 12)[people] + response * high + rng.normal(0, 0.7, 48)
        units = Units(names, levels, values[:, None], np.ones(48))
        units = units.averaged() if within else units
        model = fit(units.values[:, 0], list(units.levels), list(units.people), within)
        if model is not None:
            variance = model.covariance[0, 0] + model.covariance[1, 1] - 2 * model.covariance[0, 1]
            t = (model.means[1] - model.means[0]) / np.sqrt(variance)
            p[draw] = 2 * scipy.stats.t.sf(abs(t), model.freedom)
    return p


def study(rng: np.random.Generator, effect: float) -> pd.DataFrame:
    """A table of faces: 14 recordings of 20 s at 5 frames per second; every other person is treated."""
    base = courses(rng, 14, 8) + 0.02
    base = base * np.exp(rng.normal(0, 0.5, (14, 1, 8)))
    base[1::2, :, 1] *= np.exp(effect)
    base[:, :, 0] += 1
    values = (base / base.sum(axis=2, keepdims=True)).reshape(-1, 8)
    frame = pd.DataFrame(values, columns=[f"p_{name}" for name in EXPRESSIONS])
    frame["source"] = np.repeat([f"P{number}.mp4" for number in range(14)], FRAMES)
    frame["time"], frame["track"] = np.tile(np.arange(FRAMES) / 5, 14), 1
    away = rng.random(len(frame)) < 0.1
    frame.loc[away, [f"p_{name}" for name in EXPRESSIONS]] = np.nan
    return frame


def end_to_end(studies: int, effect: float, seed: int) -> tuple[float, float, float]:
    """Run the whole analysis, from tables of faces to conditions, and compute the shares of p ≤ 0.05.

    Returns:
        The share over the eight expressions, for happiness only, and of studies with any corrected p ≤ 0.05.
    """
    rng = np.random.default_rng(seed)
    sources = [f"P{number}.mp4" for number in range(14)]
    groups = pd.DataFrame({"source": sources, "group": ["control", "treated"] * 7})
    settings = mftn.Settings(permutations=PERMUTATIONS)
    p, corrected = [], []
    for _ in range(studies):
        found = mftn.summarize(study(rng, effect), people="one", groups=groups, settings=settings).conditions
        found = found[found["signal"] != "valence_index"]
        p.append(found["p"].to_numpy())
        corrected.append(found["p_holm"].min())
    each = np.array(p) <= LEVEL
    return float(each.mean()), float(each[:, 1].mean()), float((np.array(corrected) <= LEVEL).mean())


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--studies", type=int, default=2000)
    options = parser.parse_args()
    start = time.process_time()
    for effect, title in ((0.0, "nothing differs"), (1.2, "an effect of 1.2 logits")):
        print(f"{title}: share of p ≤ {LEVEL} over {options.draws:,} draws")
        print(f"  {'design':<40} {'test':>8} {'over frames':>12}")
        for name, (p, over_frames) in designs(options.draws, effect, 11).items():
            print(f"  {name:<40} {(p <= LEVEL).mean():8.1%} {(over_frames <= LEVEL).mean():12.1%}", flush=True)
        for within in (True, False):
            p = mixed(options.draws, effect, 11, within)
            name = f"mixed model, {'within' if within else 'between'} 12 people"
            print(f"  {name:<40} {(p <= LEVEL).mean():8.1%} {'':>12} {np.isnan(p).sum()} did not converge", flush=True)
        if options.studies:
            each, happiness, any_corrected = end_to_end(options.studies, effect, 11)
            print(f"  end to end, {options.studies:,} studies: {each:.1%} of the expressions, {happiness:.1%} of")
            print(f"    happiness, {any_corrected:.1%} of studies with any after Holm's correction", flush=True)
    print(f"{time.process_time() - start:.0f} s of CPU time")


if __name__ == "__main__":
    main()
