"""The old name of `visionq.devstack`, kept for one release."""

import sys
import warnings
from importlib import import_module

from visionq import devstack

warnings.warn("visionq.sandbox is now visionq.devstack", DeprecationWarning, stacklevel=2)
sys.modules[__name__] = devstack
# Else Python would load each of them once more under its old name.
for _name in ("ports", "redis_server", "sample_pictures", "simulator"):
    sys.modules[f"{__name__}.{_name}"] = import_module(f"visionq.devstack.{_name}")
