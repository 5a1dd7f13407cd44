"""What every training needs, whatever its task."""
