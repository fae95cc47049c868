"""The real run tables: in the folder that BAYESCALE_DATA names, by default one that lies beside the checkout."""

import os
from pathlib import Path

from bayescale.datasets import data_folder

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
if not os.environ.get("BAYESCALE_DATA") and BESIDE.is_dir():
    os.environ["BAYESCALE_DATA"] = str(BESIDE)


def folder() -> Path:
    """Folder of the real tables; FileNotFoundError without one."""
    found = data_folder()
    if found is None:
        raise FileNotFoundError("BAYESCALE_DATA names no folder with the public tables")
    return found
