"""Study: the best of a pool at rewards that nobody thought of while it grew."""
