"""What the models share: which weights are latent, where they stand, how names become keys."""
