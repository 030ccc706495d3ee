"""torchvision's architectures, the large ones with fewer or narrower layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from validation.benchmarks._torchvision import models  # torchvision itself does not load before that has

CNBlockConfig = models.convnext.CNBlockConfig

CLASSES = 10
_ten = {"num_classes": CLASSES}


def plain(features: nn.Module, channels: int) -> nn.Module:
    """Return convolutions with a classifier for small images."""
    end = [nn.Flatten(), nn.Dropout(), nn.Linear(channels, 32), nn.ReLU(), nn.Linear(32, CLASSES)]
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), *end)


def of(make: Callable[..., nn.Module], **options: Any) -> Callable[[], nn.Module]:
    return partial(make, **_ten, **options)


VISION: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "SqueezeNet 1.1": (of(models.squeezenet1_1), (3, 32, 32)),
    "ShuffleNetV2 x0.5": (of(models.shufflenet_v2_x0_5), (3, 32, 32)),
    "MobileNetV3-small": (of(models.mobilenet_v3_small), (3, 32, 32)),
    "MobileNetV2": (of(models.mobilenet_v2), (3, 32, 32)),
    "MNASNet 0.5": (of(models.mnasnet0_5), (3, 32, 32)),
    "EfficientNet-B0": (of(models.efficientnet_b0), (3, 32, 32)),
    "RegNetY-400MF": (of(models.regnet_y_400mf), (3, 32, 32)),
    "VisionTransformer": (
        of(models.VisionTransformer, image_size=32, patch_size=8, num_layers=2, num_heads=4, hidden_dim=32,
           mlp_dim=64), (3, 32, 32)),
    "Swin": (
        of(models.SwinTransformer, patch_size=[2, 2], embed_dim=16, depths=[2, 2], num_heads=[2, 4],
           window_size=[4, 4]), (3, 32, 32)),
    "ConvNeXt": (
        of(models.ConvNeXt, block_setting=[CNBlockConfig(16, 32, 1), CNBlockConfig(32, None, 2)]), (3, 32, 32)),
    "VGG-11": (lambda: plain(models.vgg11().features, 512), (3, 32, 32)),
    "AlexNet": (lambda: plain(models.alexnet().features, 256), (3, 64, 64)),
    "ResNet-18": (of(models.resnet18), (3, 32, 32)),
    "GoogLeNet": (of(models.googlenet, aux_logits=False, init_weights=False), (3, 32, 32)),
    "DenseNet-121": (of(models.densenet121), (3, 32, 32)),
    "Inception-v3 stem": (
        lambda: nn.Sequential(
            *list(models.inception_v3(aux_logits=False, init_weights=False).children())[:8],
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, CLASSES)), (3, 75, 75)),
}  # fmt: skip
