"""Off-policy searches: resumed equals straight, what they begin at, which steps they take, and what they answer."""

import dataclasses
import io
import shutil

import numpy as np
import pytest
import torch

from lightning_pz.common.known_folders import Identity
from lightning_pz.common.run_folder import RunFolder
from lightning_pz.search.algorithms import make_search
from lightning_pz.search.loop import search_until_done
from lightning_pz.search.objective import Objective
from lightning_pz.search.off_policy.mixed_replay import returns_of_steps
from lightning_pz.search.settings import OFF_POLICY, SearchSettings
from tests.search.off_policy.conftest import SMALL, SPACES, settings_of, settings_size, to_the_end, weights_of

CASES = [(algorithm, space) for algorithm in OFF_POLICY for space in SPACES]
QUICK = [("td3", "widened"), ("sac", "latent"), ("tqc", "weights")]
CASES = [pytest.param(*case, marks=[] if case in QUICK else pytest.mark.slow) for case in CASES]


@pytest.mark.parametrize("algorithm, space", CASES)
def test_resumed_equals_straight_to_the_last_bit(algorithm, space, make, problem, tmp_path):
    """Through the loop, from each state that it saved; a search of another seed goes elsewhere."""
    settings = settings_of(algorithm, space, budget=200)
    search, objective = make(settings), Objective(problem)
    straight, kept = RunFolder(tmp_path / "straight", Identity({})), []

    def keep(steps):
        if (straight.path / "state.pt").is_file():
            kept.append(shutil.copytree(straight.path, tmp_path / str(len(kept))))

    end = search_until_done(search, objective, settings, straight, keep)
    assert len(kept) > 8
    for folder in (kept[4], kept[-3]):  # between critics and actor on old data; between episodes
        np.random.seed(5)
        torch.manual_seed(6)  # what others draw changes nothing
        again = search_until_done(make(settings), Objective(problem), settings, RunFolder(folder, Identity({})))
        assert torch.equal(weights_of(again.search), weights_of(end.search))
        assert again.best.digest() == end.best.digest()
        rows = ([row[2:] for row in one.rows] for one in (again, end))
        assert np.array_equal(*rows, equal_nan=True)
        assert vars(again.search.book).keys() == vars(end.search.book).keys()
        assert again.search.book.returns == end.search.book.returns
    other = make(dataclasses.replace(settings, seed=1))
    assert not torch.equal(weights_of(to_the_end(other, other.begin())[0]), weights_of(end.search))


@pytest.mark.parametrize("replay", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("start", ["draws", "pool_best"])
def test_work_goes_on_while_old_data_are_learned_from_and_ends_where_it_said(start, replay, make, problem, tmp_path):
    """Of old data alone nothing else moves: a bar of steps would stand still to the end."""
    settings = settings_of(space="weights", start=start, replay=replay)
    given = None if start == "draws" else torch.zeros(1, settings_size(make))
    done = []
    end = search_until_done(
        make(settings, given=given), Objective(problem), settings, RunFolder(tmp_path, Identity({})), done.append
    )
    updates = 6 + 4 if replay else 0
    steps = 2 * 25 * (start == "draws") if replay == 1 else settings.budget  # episodes of 25 steps fill it
    assert settings.work(25) == updates + steps == done[-1] == end.env_steps + updates
    assert {6, 4} <= set(np.diff(done)) if replay else set(np.diff(done)) == {25}  # critics alone, then both


def test_work_of_a_search_of_few_episodes_is_theirs():
    assert SearchSettings(budget=1_000, episodes=3).work(50) == 150
    assert SearchSettings(budget=1_000, episodes=30).work(50) == 1_000
    own = SearchSettings(algorithm="sac", space="own", budget=1_000)
    assert own.work(50) == 1_000 and not own.begins_with_updates


def test_the_decoder_is_left_as_it_is_and_the_latent_moves(make, latents):
    settings = settings_of("td3", "latent")
    search = make(settings)
    before = latents.decode(torch.zeros(1, 3))
    state, _ = to_the_end(search, search.begin())
    actor = state.learner.actor
    assert torch.equal(latents.decode(torch.zeros(1, 3)), before)
    assert actor.offset is None and not torch.equal(actor.point.double(), search.starts[0].point)
    assert torch.equal(weights_of(state), latents.decode(actor.point.detach()[None])[0] + actor.base)


@pytest.mark.parametrize("algorithm", OFF_POLICY)
def test_episodes_without_noise_are_played_by_the_average_of_the_actors(algorithm, make):
    """It is the average that follows at the target rate; it is what a candidate plays, and what is adopted."""
    search = make(settings_of(algorithm, "weights", start="pool_best"), given=torch.zeros(1, settings_size(make)))
    learner = search.begin().learner
    average, rate = weights_of(search.begin()).clone(), SMALL.target_rate
    for update in range(1, 7):
        learner.update(1)
        if algorithm != "td3" or not update % 2:
            average += rate * (learner.params() - average)
    torch.testing.assert_close(learner.average(), average)
    assert not torch.equal(learner.average(), learner.params()) and learner.average().any()
    seen = []
    policy = learner.model.policy
    outputs = policy.actor.outputs
    policy.actor.outputs = lambda params, states: seen.append(params.clone()) or outputs(params, states)
    for explores, expected in ((False, learner.average()), (True, learner.params())):
        learner.play(0, explores=explores)
        assert torch.equal(seen[-1], expected)


def test_a_given_policy_is_where_each_space_begins(make, latents, weights):
    """The first answer behaves as the policy given: it is the very policy, or its anchored latent."""
    policies = weights.decode(weights.draw(1, 3))

    def anchor(decoded, params):
        return params - decoded  # exact here: no decoder can be nearer

    encoded = dataclasses.replace(latents, encode=lambda params: torch.zeros(len(params), 3, dtype=torch.double))
    for space in SPACES:
        settings = settings_of("td3", space, start="pool_best", replay=0.0)
        search = make_search(settings, Objective(make(settings_of()).problem), encoded, weights, policies, anchor)
        torch.testing.assert_close(search.incumbent(search.begin()).params, policies[0])
        assert search.cost(search.begin()) == 25  # no start is tried
        state, _ = search.step(search.begin())
        torch.testing.assert_close(search.incumbent(state).params, policies[0])


def test_with_old_data_alone_no_step_is_taken(make, problem, tmp_path):
    policies = torch.randn(1, problem.network.layout.num_params)
    settings = settings_of("td3", "weights", start="pool_best", replay=1.0, answers_at=[0], answers_by="steps")
    search = make(settings, given=policies)
    assert search.least_budget == 0
    progress = search_until_done(search, Objective(problem), settings, RunFolder(tmp_path / "run", Identity({})))
    assert progress.env_steps == 0 and progress.search.learner.model._n_updates == 10
    assert torch.equal(progress.best.params, progress.search.learner.average())
    assert not torch.equal(progress.best.params, policies[0])
    assert (tmp_path / "run" / "answers.csv").is_file()


def test_old_data_alone_resume_to_the_last_bit(make):
    """From a state in the middle of the joint updates, with returns of several steps and a tie."""
    off_policy = dataclasses.replace(SMALL, joint_updates=600)
    settings = settings_of("td3", "weights", start="pool_best", replay=1.0, off_policy=off_policy)
    given = torch.randn(1, settings_size(make), generator=torch.Generator().manual_seed(2))
    search = make(settings, given=given)
    state = search.begin()
    for _ in range(2):
        state, _ = search.step(state)
    assert state.book.joint_updates == 500 and state.book.tie == 0.1
    file = io.BytesIO()
    torch.save(search.pack(state), file)
    end, _ = to_the_end(search, state)
    file.seek(0)
    other = make(settings, given=given)
    again, _ = to_the_end(other, other.unpack(torch.load(file, weights_only=True)))
    assert end.book.joint_updates == again.book.joint_updates == 600
    assert torch.equal(weights_of(again), weights_of(end)) and not torch.equal(weights_of(end), given[0])


def test_old_data_alone_have_settings_of_their_own(problem, latents, weights, old_transitions):
    """Returns of several steps where an episode ends, and a light tie; neither beside new steps."""
    given = torch.zeros(1, weights.size)
    endless = dataclasses.replace(old_transitions, terminated=np.zeros_like(old_transitions.terminated))
    for share, old, steps, tie in (
        (1.0, old_transitions, 5, 0.1), (1.0, endless, 1, 0.1), (0.5, old_transitions, 1, 0.3), (0.5, endless, 1, 0.0)
    ):  # fmt: skip
        settings = settings_of("td3", "weights", start="pool_best", replay=share)
        search = make_search(settings, Objective(problem), latents, weights, given, old=lambda old=old: old)
        state = search.begin()
        assert state.book.tie == tie
        rewards = returns_of_steps(old, steps, 0.99)[0]
        drawn = state.learner.model.replay_buffer.batch(100).rewards
        assert np.isin(drawn.numpy(), rewards.astype(np.float32)).all()


@pytest.mark.parametrize("algorithm", ["td3", "sac", "tqc"])
@pytest.mark.parametrize("learns", [{"replay": 0.0}, {"joint_updates": 0}, {"joint_updates": 0, "critic_updates": 0}])
@pytest.mark.parametrize("enough", [20, 50, 60])  # where the start plays 50 steps
def test_critics_learn_before_the_actor_and_no_candidate_is_the_incumbent(algorithm, learns, enough, make, monkeypatch):
    from lightning_pz.search.off_policy.off_policy_learner import OffPolicyLearner

    done, played, update, play = [], [], OffPolicyLearner.update, OffPolicyLearner.play

    def updates(learner, count, *, critics_only=False):
        done.append((count, critics_only))
        update(learner, count, critics_only=critics_only)

    def plays(learner, number, *, explores):
        played.append((explores, learner.average().clone()))
        return play(learner, number, explores=explores)

    monkeypatch.setattr(OffPolicyLearner, "update", updates)
    monkeypatch.setattr(OffPolicyLearner, "play", plays)
    replay, own = learns.get("replay", 0.5), {key: value for key, value in learns.items() if key != "replay"}
    off_policy = dataclasses.replace(SMALL, enough=enough, **own)
    search = make(
        settings_of(algorithm, "weights", start="pool_best", replay=replay, off_policy=off_policy),
        given=torch.zeros(1, settings_size(make)),
    )
    state = search.begin()
    start = search.incumbent(state).params
    while state.learner.steps + search.cost(state) <= search.budget:
        state, _ = search.step(state)
    alone = sum(count for count, rests in done if rests)
    assert alone == (off_policy.critic_updates if replay else enough)
    first = next(number for number, (count, rests) in enumerate(done) if count and not rests)
    assert sum(count for count, _ in done[:first]) == alone  # all of them before the actor moves
    assert sum(count for count, _ in done) == state.learner.steps + (alone if replay else 0) - state.book.owed
    judged = [weights for explores, weights in played if not explores]
    assert all(torch.equal(weights, start) for weights in judged[:2])
    assert len(judged) > 2 and not torch.equal(judged[2], start)


def test_the_state_is_plain_data(make):
    search = make(settings_of("sac", "widened"))
    state, _ = to_the_end(search, search.begin())
    file = io.BytesIO()
    torch.save(search.pack(state), file)
    file.seek(0)
    with torch.serialization.safe_globals(list(search.state_types)):
        again = search.unpack(torch.load(file, weights_only=True))
    assert torch.equal(weights_of(again), weights_of(state))
