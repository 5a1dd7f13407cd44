"""The operators: one file each, with its integer definition and what it tells the planner."""
