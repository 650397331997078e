"""California housing (csv with a header) and the MAGIC gamma telescope (csv without one)."""

from pathlib import Path

import numpy as np

from core.datasets.csv_rows import csv_rows
from core.datasets.prepared import Array
from core.errors import DataInvalid

COLUMNS = (
    "longitude",
    "latitude",
    "housing_median_age",
    "total_rooms",
    "total_bedrooms",
    "population",
    "households",
    "median_income",
)
OCEAN = ("<1H OCEAN", "INLAND", "ISLAND", "NEAR BAY", "NEAR OCEAN")


def housing(path: Path) -> dict[str, Array]:
    """Arrays of the housing file; an empty cell is NaN."""
    (_, header), *rows = csv_rows(path)
    missing = {*COLUMNS, "median_house_value", "ocean_proximity"} - set(header)
    if missing:
        raise DataInvalid(f"{path} has no column {', '.join(sorted(missing))}")
    place = {name: header.index(name) for name in header}
    numeric = [place[name] for name in COLUMNS]
    features, prices, ocean = [], [], []
    for line, row in rows:
        if len(row) != len(header) or row[place["ocean_proximity"]] not in OCEAN:
            raise DataInvalid(f"{path}, line {line}: not {len(header)} cells with one of {', '.join(OCEAN)}")
        try:
            features.append([float(row[column] or "nan") for column in numeric])
            prices.append(float(row[place["median_house_value"]]))
        except ValueError as error:
            raise DataInvalid(f"{path}, line {line}: {error}") from error
        ocean.append(OCEAN.index(row[place["ocean_proximity"]]))
    return {
        "housing_X": np.array(features, dtype=np.float64),
        "housing_columns": np.array(COLUMNS),
        "housing_y": np.array(prices, dtype=np.float64),
        "housing_ocean": np.array(ocean, dtype=np.uint8),
        "housing_ocean_names": np.array(OCEAN),
    }


def magic(path: Path) -> dict[str, Array]:
    """Arrays magic_X [n, 10] and magic_y (True: gamma)."""
    features, gamma = [], []
    for line, row in csv_rows(path):
        if len(row) != 11 or row[10] not in ("g", "h"):
            raise DataInvalid(f"{path}, line {line}: not ten numbers and g or h")
        try:
            features.append([float(cell) for cell in row[:10]])
        except ValueError as error:
            raise DataInvalid(f"{path}, line {line}: {error}") from error
        gamma.append(row[10] == "g")
    return {"magic_X": np.array(features, dtype=np.float32), "magic_y": np.array(gamma, dtype=np.bool_)}
