"""Games: which networks play, in which phases, and what each minimises."""
