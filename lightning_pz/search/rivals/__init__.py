"""PPO, DQN, SAC, TD3, DDPG, TQC and CrossQ from Stable-Baselines3, by its defaults or by RL Zoo's published settings."""
