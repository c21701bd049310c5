"""Pages that show results: one file each, which loads nothing from anywhere."""
