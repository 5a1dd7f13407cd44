"""From a Graph to a Plan: row order, rolling buffers, arena offsets, and an independent replay of them."""
