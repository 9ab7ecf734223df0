"""What an environment is: its specification, its simulators, its tasks."""
