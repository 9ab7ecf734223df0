"""The rule by which a candidate becomes the answer."""

import numpy as np
import pytest

from lightning_pz.search.off_policy.judge import holds, judge


@pytest.mark.parametrize(
    "candidate, is_enough, verdict",
    [
        ([7.0], False, "drop"),
        ([7.3], False, "play"),  # within a tenth
        ([9.0], False, "play"),
        ([9.0], True, "play"),  # one episode is never enough
        ([9.0, 8.0], False, "drop"),  # more than a tenth behind on average
        ([8.0, 12.0], True, "drop"),  # as good is not better
        ([9.0, 11.9], True, "drop"),  # 0.45 ahead, with an error of 0.55
        ([9.0, 12.0], True, "adopt"),  # 0.5 ahead, with an error of 0.5
        ([9.0, 13.0, 20.1], False, "play"),
        ([9.0, 13.0, 20.1], True, "adopt"),
    ],
)
def test_verdicts(candidate, is_enough, verdict):
    incumbent = [8.0, 12.0, 20.0]
    assert judge(incumbent, candidate, is_enough) == verdict


def test_two_episodes_are_both_won():
    generator = np.random.default_rng(0)
    for ahead in generator.normal(0.5, 1, (300, 2)):
        assert (judge([9.0, 9.0], list(9 + ahead), True) == "adopt") == (ahead.min() >= 0)


def test_an_equal_policy_is_seldom_adopted_and_a_better_one_mostly():
    """Simulated differences of so many standard deviations; four episodes."""
    generator = np.random.default_rng(0)

    def adopted(gain):
        found = 0
        for ahead in generator.normal(gain, 1, (2000, 4)):
            verdicts = [judge([9.0] * 4, list(9 + ahead[:count]), count == 4) for count in range(1, 5)]
            found += "drop" not in verdicts and verdicts[-1] == "adopt"
        return found / 2000

    assert adopted(0.0) < 0.25 and adopted(-1.0) < 0.02 and adopted(3.0) > 0.95


def test_a_candidate_holds_within_the_tolerance_whatever_the_sign():
    assert holds([100.0, 0.0], [91.0]) and not holds([100.0, 0.0], [89.0])
    assert holds([-100.0], [-109.0]) and not holds([-100.0], [-111.0])
