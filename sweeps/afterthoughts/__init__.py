"""Study: the best of a pool at rewards that no growth knew."""
