"""What a table says about itself: words, marginals, and the structure of covariates and treatment."""
