"""The packer: send jobs that can wait through the provider's batches."""

from worker.packing.packer import Packer, PackerParts

__all__ = ["Packer", "PackerParts"]
