"""The heavy colour augmentation of tiles, as one change of the colours of a whole slide."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nic.tasks.augment import DARKEST, HEAVY, drawn_colours, stain_change, tone_change


@dataclass(frozen=True)
class SlideColours:
    """One change of every pixel: of its density (natural logarithm), and then of its colour.

    Tiles that are augmented each by itself would not make up the augmented slide: contrast is a distance from the mean
    of a tile, glass is told by it, and blur, noise and bending reach over its edge. Here the mean is that of the
    training's tissue, all pixels change alike, and what reaches over an edge is left out.
    density, tone: [3, 3], acting on columns of RGB. density_offset, tone_offset: [3, 1].
    """

    density: Tensor
    density_offset: Tensor
    tone: Tensor
    tone_offset: Tensor

    @classmethod
    def drawn(cls, mean: Tensor, seed: int) -> "SlideColours":
        """mean: colour of tissue from 0 to 1, [3], which contrast keeps."""
        stains, tones = drawn_colours(1, HEAVY, torch.Generator().manual_seed(seed))
        (density,), (density_offset,) = stain_change(*stains)
        hue, saturation, contrast, brightness = tones
        (tone,) = tone_change(hue, saturation)
        new_mean = tone @ (density_offset + density @ mean.cpu()[:, None].clamp(DARKEST, 1).log()).exp()
        tone_offset = new_mean * (1 - contrast) + brightness
        changes = (density, density_offset, tone * contrast, tone_offset)
        return cls(*(change.to(mean.device) for change in changes))

    def of(self, pixels: Tensor) -> Tensor:
        """Pixels [3, height, width] from 0 to 1, changed; those given are overwritten."""
        flat = pixels.view(3, -1).clamp_(DARKEST, 1).log_()
        flat = torch.addmm(self.density_offset, self.density, flat).exp_()
        return torch.addmm(self.tone_offset, self.tone, flat).clamp_(0, 1).view(pixels.shape)
