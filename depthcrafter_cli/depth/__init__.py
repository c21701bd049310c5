"""Disparity as numbers and colours: ranges, normalisation, colormaps. numpy and matplotlib only."""
