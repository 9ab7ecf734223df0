"""Which policy an off-policy search answers with: among starts, after candidates, and where a dropped one goes back to."""

import dataclasses

import numpy as np
import pytest
import torch

from lightning_pz.search.loop import check_budget
from tests.search.off_policy.conftest import SMALL, SPACES, settings_of, settings_size, to_the_end, weights_of


def test_the_best_of_the_starts_plays_first_and_old_data_come_before_the_actor_moves(make):
    settings = settings_of("td3", "weights", starts=3)
    search = make(settings)
    check_budget(search, settings)
    state = search.begin()
    for _ in range(3):
        state, generation = search.step(state)
        assert generation.episodes == 1 and generation.steps == 25
    best = int(np.argmax(state.book.tried))
    assert torch.equal(search.incumbent(state).params, search.starts[best].base)
    state, generation = search.step(state)
    assert generation.steps == 25 and not state.book.is_measured
    state, generation = search.step(state)
    assert generation.steps == 25 and state.book.is_measured and len(state.book.returns) == 2
    state, generation = search.step(state)
    assert generation.steps == 0 and state.book.critic_updates == 6 and generation.returns.size == 0
    assert torch.equal(weights_of(state), search.starts[best].base)  # the actor rested
    state, generation = search.step(state)
    assert generation.steps == 0 and not torch.equal(weights_of(state), search.starts[best].base)
    # Still the start: no episode has said that another is better.
    while state.book.joint_updates < 4:
        state, generation = search.step(state)
    assert torch.equal(search.incumbent(state).params, search.starts[best].base)
    state, taken = to_the_end(search, state)
    assert state.learner.steps == 300 == 125 + sum(one.steps for one in taken)


@pytest.mark.parametrize("space, each, replay", [("weights", 1, 0.5), ("latent", 2, 0.5), ("widened", 1, 1.0)])
def test_while_starts_are_tried_the_answer_is_the_best_so_far(space, each, replay, make, monkeypatch):
    """By own episodes, the mean of a start's; an unfinished start is none, and before any is the first is the answer."""
    from lightning_pz.search.off_policy.off_policy_learner import OffPolicyLearner

    returns = iter([5.0, 3.0, 9.0, 2.0, 8.0, 0.0, 1.0, 1.0])
    play = OffPolicyLearner.play
    rigged = lambda learner, number, *, explores: (play(learner, number, explores=explores)[0], next(returns))  # noqa: E731
    monkeypatch.setattr(OffPolicyLearner, "play", rigged)
    search = make(settings_of("td3", space, starts=4, start_episodes=each, replay=replay, budget=900))
    state, answers = search.begin(), []
    begun = [weights_at(search, start) for start in search.starts]
    for _ in range(4 * each):
        now = search.incumbent(state).params
        answers += [[number for number, one in enumerate(begun) if torch.allclose(one, now)]]
        state, _ = search.step(state)
    best = {1: [0, 0, 0, 2], 2: [0, 0, 0, 0, 1, 1, 1, 1]}[each]  # 5, 3, 9, 2; or 4, 5.5, 4, 1
    assert answers == [[one] for one in best]
    assert torch.allclose(search.incumbent(state).params, begun[{1: 2, 2: 1}[each]])


def weights_at(search, start):
    decoded = 0 if start.point is None else search.recipe.decode(start.point.float()[None])[0].detach()
    return start.base + decoded


@pytest.mark.parametrize("space", SPACES)
def test_the_actor_goes_back_to_the_incumbent_itself(space, make, monkeypatch):
    """Not to the actor of then, which was ahead of its average; a latent alone cannot, but its next candidate is the incumbent."""
    from lightning_pz.search.off_policy.off_policy_learner import OffPolicyLearner

    small = dataclasses.replace(SMALL, tie=0.3)
    search = make(settings_of("td3", space, starts=1, off_policy=small, budget=700))
    play, went = OffPolicyLearner.play, []
    go_back = OffPolicyLearner.go_back
    # The first candidate is better than the start, and what comes then is worse.
    values = iter([1.0, 1.0, 1.0, 5.0, 5.0] + 400 * [-9.0])
    monkeypatch.setattr(
        OffPolicyLearner, "play", lambda learner, number, *, explores: (
            play(learner, number, explores=explores)[0], 0.0 if explores else next(values)
        ),
    )  # fmt: skip

    def watched(learner, *place):
        go_back(learner, *place)
        went.append((learner.params().clone(), learner.average().clone()))

    monkeypatch.setattr(OffPolicyLearner, "go_back", watched)
    state, _ = to_the_end(search, search.begin())
    incumbent = search.incumbent(state).params
    assert went and not torch.allclose(incumbent, weights_at(search, search.starts[0]))
    for actor, average in went:
        assert torch.equal(average, incumbent)
        if space != "latent":
            torch.testing.assert_close(actor, incumbent, rtol=0, atol=1e-6)


def test_the_answer_is_never_a_policy_that_own_episodes_put_below_the_start(make, monkeypatch):
    """With returns that fall the start stays the answer; with returns that rise the candidate follows it."""
    from lightning_pz.search.off_policy.off_policy_learner import OffPolicyLearner

    play = OffPolicyLearner.play
    for sign in (-1, 1):
        settings = settings_of("td3", "weights", start="pool_best")
        search = make(settings, given=torch.zeros(1, settings_size(make)))
        count = iter(range(1000))

        def rigged(learner, number, *, explores, count=count, sign=sign):
            return play(learner, number, explores=explores)[0], float(sign * next(count))

        monkeypatch.setattr(OffPolicyLearner, "play", rigged)
        state, _ = to_the_end(search, search.begin())
        is_start = not search.incumbent(state).params.any()
        assert is_start == (sign < 0)
