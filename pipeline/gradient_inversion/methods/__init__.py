"""The methods of gradient inversion: a file placed here adds its own, with no change elsewhere."""

from importlib import import_module
from pkgutil import iter_modules

from pipeline.gradient_inversion.method import Method

MODULES = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
METHODS: dict[str, Method] = {method.name: method for module in MODULES for method in module.METHODS}
