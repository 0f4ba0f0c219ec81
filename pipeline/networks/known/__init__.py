"""The backbones: each file here holds the records of one or more, and nothing else needs to know of them.

torch is imported when a network is built, so that checking an experiment does not wait for it.
"""

from importlib import import_module
from pkgutil import iter_modules

from pipeline.networks.record import Record

MODULES = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
RECORDS: dict[str, Record] = {record.name: record for module in MODULES for record in module.RECORDS}
