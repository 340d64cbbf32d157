"""The packer: send jobs that can wait through the provider's batches."""

from worker.packing.packer import Packer
from worker.packing.packer_parts import PackerParts, Patience

__all__ = ["Packer", "PackerParts", "Patience"]
