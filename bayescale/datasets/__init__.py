"""Published training runs by name: one table inside the package, others from their authors."""

from bayescale.datasets.load import data_folder, list_datasets, load_dataset

__all__ = ["data_folder", "list_datasets", "load_dataset"]
