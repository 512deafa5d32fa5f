"""How many dies a round wafer holds."""

import math

import numpy as np

from tapeout.cost.values import Array, positive

OFFSETS = 41
"""Grid positions tried along each axis, from a line through the centre to half a die beside it."""


def gross_dies(
    width_mm: float,
    height_mm: float,
    *,
    wafer_mm: float = 300,
    edge_mm: float = 3,
    scribe_mm: float = 0.1,
) -> int:
    """Greatest number of whole dies with their scribe lanes inside the usable radius of a wafer."""
    positive("the width of a die", width_mm)
    positive("the height of a die", height_mm)
    pitch_x, pitch_y = width_mm + scribe_mm, height_mm + scribe_mm
    radius = wafer_mm / 2 - edge_mm
    best = 0
    for shift in np.linspace(0, 0.5, OFFSETS):
        half_widths = _row_half_widths(radius, pitch_y, float(shift))
        for across in np.linspace(0, 0.5, OFFSETS):
            best = max(best, _dies_in_rows(half_widths / pitch_x, float(across)))
    return best


def gross_dies_closed(
    area_mm2: Array | float,
    *,
    wafer_mm: Array | float = 300,
    edge_mm: Array | float = 3,
    scribe_mm: Array | float = 0.1,
) -> Array:
    """Dies by area less a loss along the edge: pi d^2 / 4A - pi d / sqrt(2A), at least 0.

    A square die with its scribe lane; d is the diameter without the edge.
    """
    positive("the die area", area_mm2)
    cell_mm2 = (np.sqrt(np.asarray(area_mm2, np.float64)) + scribe_mm) ** 2
    diameter = np.asarray(wafer_mm, np.float64) - 2 * np.asarray(edge_mm, np.float64)
    dies = math.pi * diameter**2 / (4 * cell_mm2) - math.pi * diameter / np.sqrt(2 * cell_mm2)
    return np.maximum(dies, 0)


def _row_half_widths(radius: float, pitch: float, shift: float) -> Array:
    """Half the chord that a row of dies has on both of its edges, for every row that has one."""
    count = math.ceil(radius / pitch) + 1
    bottoms = (np.arange(-count, count) + shift) * pitch
    reach = np.maximum(np.abs(bottoms), np.abs(bottoms + pitch))
    inside = reach < radius
    return np.sqrt(radius**2 - reach[inside] ** 2)


def _dies_in_rows(half_widths: Array, shift: float) -> int:
    """Whole cells of width 1, with an edge at `shift`, between -w and w of every row."""
    rows = np.floor(half_widths - shift) - np.ceil(-half_widths - shift)
    return int(np.maximum(rows, 0).sum())
