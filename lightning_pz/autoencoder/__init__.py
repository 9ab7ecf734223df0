"""The behavior autoencoder: policies in, latents between, policies out."""
