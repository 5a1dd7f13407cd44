"""Boards, project folders, the cross compiler, and what is read out of its results."""
