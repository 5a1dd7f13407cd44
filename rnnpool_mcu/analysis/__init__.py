"""What a model would need, told without building it: its plans, and the boards it would fit."""
