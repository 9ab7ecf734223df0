"""Every option of the commands with a value that is not its default, by the run that takes it, and who runs the others."""

STATES = {"probe": 16, "train": 24, "val": 12, "test": 12, "episodes": 4, "source": "uniform"}
PRIOR = {"initializer": "uniform", "gain": 1.5, "bias_scale": 0.5}
SMALL = {
    "env.name": "mycar", "env.id": "MountainCarContinuous-v0", "env.horizon": 30, "env.kwargs": {"goal_velocity": 0.01},
    "policy.name": "tiny", "policy.hidden": [5, 4], "policy.activation": "relu",
    "seed_everything": 3, "run_name": "mine", "data.batch_size": 16, "data.steps_per_epoch": 4, "data.states_per_step": 6,
    "data.val_share": 0.1, "data.test_share": 0.2, "data.split_seed": 1,
    "model.latent_dim": 2, "model.encoder_widths": [8], "model.decoder_widths": [8, 8],
    "data.random.candidates": 120, "data.random.neighbors": 3, "data.random.keep": 0.8, "data.random.seed": 2,
    "data.random.store": "params",
    **{f"data.random.prior.{key}": value for key, value in PRIOR.items()},
    **{f"data.random.states.{key}": value for key, value in STATES.items()},
    "trainer.max_steps": 8, "trainer.log_every_n_steps": 2,
}  # fmt: skip
GROWN = {
    "steps": 2500, "first": 40, "size": 60, "horizon": 15, "outcome": "fourier", "features": 8, "choice": "frontier",
    "emitter": "cmaes", "directions": 4, "population": 4, "generations": 4, "sigma": 0.2, "latent_rounds": 1,
    "latent_share": 0.6, "latent_dim": 2, "latent_steps": 3, "visited": 0.25, "own_states": 3, "neighbors": 4, "seed": 1,
    "threads": 1,
}  # fmt: skip
GROWN_PLAIN = GROWN | {f"prior.{k}": v for k, v in PRIOR.items()} | {f"states.{k}": v for k, v in STATES.items()}
MODEL = {
    "model.encoder": "parameters", "model.loss": "behavior_rms", "model.dropout": 0.1, "model.bottleneck": "variational",
    "model.kl_weight": 1e-2, "model.learning_rate": 2e-3, "model.weight_decay": 1e-3, "model.warmup_steps": 2,
}  # fmt: skip
CALLBACKS = {
    "checkpoint.every_n_epochs": 1, "checkpoint.save_last": True, "checkpoint.save_top_k": 2, "checkpoint.filename": "{step}", "checkpoint.enable_version_counter": False,
    "checkpoint.verbose": True,
    "checkpoint.save_on_exception": True, "checkpoint.auto_insert_metric_name": False,
    "checkpoint.save_weights_only": False, "checkpoint.mode": "min", "checkpoint.monitor": "val_fvu",
    "early_stopping.monitor": "val_fvu", "early_stopping.patience": 3, "early_stopping.min_delta": 1e-4,
    "early_stopping.mode": "min", "early_stopping.strict": True, "early_stopping.check_finite": True,
    "early_stopping.stopping_threshold": 1e-6, "early_stopping.divergence_threshold": 1e6, "early_stopping.verbose": True,
    "early_stopping.log_rank_zero_only": True,
    "probes.enabled": True, "probes.every": 1, "probes.policies": 20, "probes.latents": 4, "probes.neighbors": 3,
    "probes.extra": ["CorrInt"], "probes.seed": 4,
}  # fmt: skip
TRAINER = {
    "trainer.accelerator": "cpu", "trainer.devices": 1, "trainer.num_nodes": 1, "trainer.strategy": "auto",
    "trainer.precision": "bf16-mixed", "trainer.accumulate_grad_batches": 2,
    "trainer.check_val_every_n_epoch": 1, "trainer.detect_anomaly": True, "trainer.deterministic": True,
    "trainer.enable_autolog_hparams": False, "trainer.enable_checkpointing": True, "trainer.enable_model_summary": False,
    "trainer.enable_progress_bar": True, "trainer.gradient_clip_algorithm": "norm", "trainer.gradient_clip_val": 0.5,
    "trainer.inference_mode": False, "trainer.limit_predict_batches": 1, "trainer.limit_test_batches": 1.0,
    "trainer.limit_train_batches": 1.0, "trainer.limit_val_batches": 1.0, "trainer.max_epochs": 4,
    "trainer.max_time": "00:00:10:00", "trainer.min_epochs": 1, "trainer.min_steps": 2, "trainer.num_sanity_val_steps": 1,
    "trainer.profiler": "simple", "trainer.reload_dataloaders_every_n_epochs": 1, "trainer.sync_batchnorm": False,
    "trainer.val_check_interval": 2,
    "trainer.callbacks": [{"class_path": "lightning.pytorch.callbacks.LearningRateMonitor"}],
}  # fmt: skip
FIT = {
    "pool and network": {"decodes": "small,3-2"},
    "model": MODEL | {"trainer.benchmark": True, "trainer.max_steps": 4, "trainer.enable_model_summary": True},
    "callbacks": CALLBACKS,
    "trainer": TRAINER | {"logger": "csv"},
    "grown": {"data.recipe": "grown", **{f"data.grown.{key}": value for key, value in GROWN_PLAIN.items()}},
    "gaussian": {"policy.head": "gaussian", "policy.initial_std": 0.2, "policy.sample": True},
    "categorical": {
        "env.id": "MountainCar-v0",
        "policy.head": "categorical",
        "policy.temperature": 0.5,
    },
}
REFUSED_BY_FIT = {
    "trainer.fast_dev_run": True, "trainer.overfit_batches": 1, "trainer.barebones": True, "trainer.logger": False,
    "trainer.limit_train_batches": 3, "trainer.limit_val_batches": 0, "trainer.limit_test_batches": 0,
    "trainer.enable_checkpointing": False, "checkpoint.dirpath": "mine", "checkpoint.monitor": "train_loss",
    "checkpoint.mode": "max", "checkpoint.every_n_train_steps": 2, "checkpoint.train_time_interval": "00:00:00:01",
    "checkpoint.every_n_epochs": 2, "checkpoint.save_on_train_epoch_end": True, "early_stopping.monitor": "speed",
    "early_stopping.mode": "max", "early_stopping.check_on_train_epoch_end": True,
}  # fmt: skip
OF_FIT_ELSEWHERE = {
    "ckpt_path": "tests/jobs/test_fit.py resumes runs", "data.pool": "test_a_pool_is_collected_and_given_to_fit",
    "trainer.default_root_dir": "Lightning's own, unused: everything lies in the run folder",
    "trainer.plugins": "Lightning's own", "trainer.model_registry": "Lightning's own",
    "trainer.use_distributed_sampler": "always false: batches are drawn by this package",
    "logs": "every run here", "data.held_out": "tests/growth/test_climbs.py",
}  # fmt: skip
NO_OPTIONS = (
    "data.env",
    "data.policy",
    "data.logs",
    "data.seed",
    "data.with_params",
    "data.with_visited",
    "data.decodes",
    "model.description",
)
"""Keys of the configuration of `fit` that other options set."""
SEARCH = {
    "env": "mountaincar", "seeds": 2, "on": "local", "workers": 1, "progress": False, "task": "left", "budget": 600, "seed": 5,
    "starts": 2, "start_share": 0.5, "start_episodes": 2, "evaluate_every": 100, "evaluation_episodes": 2,
    "test_episodes": 3, "patience": 50, "checkpoint_seconds": 0.5, "episodes": 8, "answers_at": [0, 200],
    "answer_episodes": 2, "answers_by": "steps", "logger": "csv",
}  # fmt: skip
ALGORITHMS = {
    "pgpe": {
        "pgpe.population": 2, "pgpe.episodes": 2, "pgpe.sigma": 0.2, "pgpe.sigma_rate": 0.2, "pgpe.sigma_max_change": 0.3,
        "pgpe.optimizer": "clipup", "pgpe.max_speed": 0.2, "pgpe.momentum": 0.8, "behavior_step": 0.1,
        "release_decoder_at": 200,
    },
    "pgpe with Adam, widened": {
        "algorithm": "pgpe", "pgpe.population": 2, "pgpe.optimizer": "adam", "pgpe.learning_rate": 0.2, "widen": 0.5,
    },
    "parameter_pgpe": {"pgpe.population": 2},
    "cmaes": {"cmaes.population": 2, "cmaes.episodes": 2, "cmaes.sigma": 0.2},
    "bo": {"bo.policies": 3, "bo.step": 0.2},
    "random_latent": {"random_latent.population": 2, "random_latent.episodes": 2, "latents": "gaussian"},
    "gradient": {
        "gradient.policies": 2, "gradient.episodes": 2, "gradient.noise": 0.2, "gradient.discount": 0.9,
        "gradient.learning_rate": 0.2, "gradient.parameter_learning_rate": 0.02, "release_decoder_at": 200,
    },
    "ppo": {"budget": 2100}, "dqn": {"baselines.chunk": 60, "budget": 200}, "sac": {"baselines.chunk": 60, "budget": 120}, "td3": {"baselines.chunk": 60, "budget": 120},
    "ddpg": {"baselines.chunk": 60, "budget": 120},
    "td3 in weights": {
        "algorithm": "td3", "space": "weights", "replay": 0.0, "budget": 300, "off_policy.best": 3, "off_policy.random": 2,
        "off_policy.enough": 60, "off_policy.old_steps": 2, "off_policy.critic_updates": 3, "off_policy.joint_updates": 2,
        "off_policy.updates_per_step": 2, "off_policy.critics": 3, "off_policy.hidden": [8, 6], "off_policy.normalize": False,
        "off_policy.critic_rate": 1e-2, "off_policy.actor_rate": 1e-2, "off_policy.batch": 8, "off_policy.discount": 0.9,
        "off_policy.target_rate": 0.1, "off_policy.noise": 0.2, "off_policy.target_noise": 0.1,
        "off_policy.target_noise_clip": 0.3, "off_policy.tie": 0.5,
    },
    "sac in latents": {
        "algorithm": "sac", "space": "latent", "replay": 0.0, "budget": 300, "off_policy.latent_rate": 0.1,
        "off_policy.log_std": -1.0, "off_policy.temperature": 0.1,
    },
    "tqc": {"baselines.chunk": 60, "budget": 120, "hyperparameters": "zoo"}, "crossq": {"baselines.chunk": 60, "budget": 104},
}  # fmt: skip
OF_SEARCH_ELSEWHERE = {
    "checkpoint": "every run here", "logs": "every run here", "algorithm": "every run here",
    "slurm": "tests/common/executors/test_slurm.py", "pool": "test_searches_that_begin_at_a_policy",
    "start": "test_searches_that_begin_at_a_policy",
    "anchor": "test_searches_that_begin_at_a_policy", "policy": "tests/jobs/test_translate.py",
}  # fmt: skip
ENGINE = {
    "on": "local", "workers": 1, "slurm.partition": "cpu", "slurm.time": "4h", "slurm.memory": "4GB", "slurm.account": "mine",
    "slurm.qos": "low", "slurm.constraint": "avx512",
}  # fmt: skip
EVALUATE = {
    "env": "mountaincar", "policies": 8, "episodes": 2, "episode_seed": 77, "latent_seed": 3, "best": 4, "draws": 20,
    "fresh_episodes": 3, "threads": 1, "latents": "gaussian", "tasks": ["left", "standard"], "video": True, "sample": False, "logger": "csv",
}  # fmt: skip
OF_EVALUATE_ELSEWHERE = {
    "checkpoint": "every run here", "logs": "every run here", "pool": "test_options_of_evaluate",
    "elsewhere": "test_options_of_evaluate", "task": "tests/jobs/test_pool_ranking.py",
    "translate": "tests/jobs/test_translate.py", "policy": "tests/jobs/test_translate.py",
}  # fmt: skip
