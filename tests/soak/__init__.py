"""The soak: random networks, damaged files and faults for as long as one likes; `make soak MINUTES=60`."""
