"""How much of what the pool can do the latent space can do: recovery with intervals, tables, figures, video."""
