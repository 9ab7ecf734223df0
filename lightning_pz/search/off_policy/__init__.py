"""TD3, SAC and TQC whose actor is a decoded policy, and whose replay begins with what a pool's growth saw."""
