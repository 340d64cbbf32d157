"""The packer: jobs that can wait go through the provider's batches, at half the price."""

from worker.packing.packer import Packer, PackerParts

__all__ = ["Packer", "PackerParts"]
