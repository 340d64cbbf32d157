"""The old name of `visionq.devstack`, kept for one release."""

import sys
import warnings

from visionq import devstack

warnings.warn("visionq.sandbox is now visionq.devstack", DeprecationWarning, stacklevel=2)
sys.modules[__name__] = devstack
