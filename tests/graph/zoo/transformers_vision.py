"""Vision architectures of transformers, from small configurations (nothing is downloaded)."""

from typing import Any

import torch
import transformers
from torch import Tensor, nn

from tests.graph.zoo.entry import Network


class Logits(nn.Module):
    """The model behind one tensor in, one tensor out."""

    def __init__(self, model: nn.Module, output: str) -> None:
        super().__init__()
        self.model, self.output = model, output

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = getattr(self.model(x), self.output)
        return logits


def pretrained(model: str, config: str, output: str = "logits", **settings: Any) -> nn.Module:
    """A model of transformers with five classes, its weights at the scale of trained ones.

    The library starts weights at 0.02 and layer scales near nothing, so that a fresh network is almost constant.
    """
    network: nn.Module = getattr(transformers, model)(getattr(transformers, config)(num_labels=5, **settings))
    with torch.no_grad():
        for value in network.parameters():
            if value.ndim > 1 and value.shape[0] > 1:
                nn.init.normal_(value, std=(value[0].numel()) ** -0.5)
            else:
                value.add_(0.2 * torch.randn_like(value))
    return Logits(network, output)


def vision(
    family: str,
    name: str,
    prefix: str,
    size: int = 32,
    *,
    head: str = "ForImageClassification",
    dynamo: tuple[int, ...] = (),
    legacy: tuple[int, ...] = (),
    failing: tuple[int, ...] = (),
    **settings: Any,
) -> Network:
    """``{prefix}ForImageClassification`` on RGB images of size x size."""

    def build() -> nn.Module:
        return pretrained(prefix + head, prefix + "Config", **settings)

    return Network(family, name, build, (3, size, size), dynamo, legacy, failing=failing)


VIT: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
VIT |= {"intermediate_size": 24, "patch_size": 8}

# fmt: off
NETWORKS = [
    vision("ResNet", "resnet_transformers", "ResNet", embedding_size=8, hidden_sizes=[8, 8, 12, 12],
        depths=[1, 1, 1, 1], layer_type="bottleneck", dynamo=(20,), legacy=(14,)),
    vision("RegNet", "regnet_x", "RegNet", embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1],
        groups_width=4, layer_type="x", dynamo=(19,), legacy=(14,)),
    vision("RegNet", "regnet_y", "RegNet", embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1],
        groups_width=4, layer_type="y", legacy=(15,)),
    vision("ConvNeXt", "convnext", "ConvNext", hidden_sizes=[8, 8, 12, 12], depths=[1, 1, 1, 1], dynamo=(21,),
        legacy=(16,)),
    vision("ConvNeXtV2", "convnextv2", "ConvNextV2", hidden_sizes=[8, 8, 12, 12], depths=[1, 1, 1, 1],
        dynamo=(22,), legacy=(17,)),
    vision("PoolFormer", "poolformer", "PoolFormer", hidden_sizes=[8, 8, 12, 12], depths=[1, 1, 1, 1],
        dynamo=(23,), legacy=(18,)),
    vision("MobileNetV1", "mobilenet_v1", "MobileNetV1", depth_multiplier=0.05, legacy=(16,)),
    vision("MobileNetV1", "mobilenet_v1_tf", "MobileNetV1", depth_multiplier=0.05, tf_padding=True,
        legacy=(13,)),
    vision("MobileNetV2", "mobilenet_v2", "MobileNetV2", depth_multiplier=0.1, legacy=(15,)),
    vision("MobileNetV2", "mobilenet_v2_tf", "MobileNetV2", depth_multiplier=0.1, tf_padding=True,
        legacy=(14,)),
    vision("EfficientNet", "efficientnet", "EfficientNet", image_size=32, width_coefficient=0.05, hidden_dim=64,
        in_channels=[32, 16], out_channels=[16, 24], kernel_sizes=[3, 5], strides=[1, 2], num_block_repeats=[1, 1],
        expand_ratios=[1, 2], depth_coefficient=1.0, dynamo=(19,), legacy=(15,)),
    vision("ViT", "vit", "ViT", image_size=32, dynamo=(18,), legacy=(14,), **VIT),
    vision("ViT", "vit_eager", "ViT", image_size=32, dynamo=(21,), legacy=(13,), attn_implementation="eager",
        **VIT),
    vision("ViT", "vit_msn", "ViTMSN", image_size=32, dynamo=(22,), legacy=(16,), **VIT),
    vision("DeiT", "deit", "DeiT", image_size=32, dynamo=(19,), legacy=(14,), **VIT),
    vision("DeiT", "deit_distilled", "DeiT", image_size=32, head="ForImageClassificationWithTeacher",
        dynamo=(20,), legacy=(15,), **VIT),
    vision("DINOv2", "dinov2", "Dinov2", image_size=32, dynamo=(20,), legacy=(18,), **VIT),
    vision("DINOv2", "dinov2_registers", "Dinov2WithRegisters", image_size=32, dynamo=(21,), failing=(18,), **VIT),
    vision("BEiT", "beit", "Beit", image_size=32, dynamo=(21,), legacy=(19,), use_relative_position_bias=True,
        attn_implementation="eager", **VIT),
    vision("BEiT", "data2vec_vision", "Data2VecVision", image_size=32, dynamo=(18,), legacy=(17,),
        use_shared_relative_position_bias=True, attn_implementation="eager", **VIT),
    vision("Swin", "swin", "Swin", image_size=32, patch_size=2, embed_dim=8, depths=[2, 2], num_heads=[1, 2],
        window_size=4, legacy=(17,), failing=(20,)),
    vision("Swin", "swin_v2", "Swinv2", image_size=32, patch_size=2, embed_dim=8, depths=[2], num_heads=[2],
        window_size=4, dynamo=(21,), legacy=(18,)),
    vision("LeViT", "levit", "Levit", size=64, image_size=64, hidden_sizes=[16, 24, 32],
        num_attention_heads=[1, 2, 2], depths=[1, 1, 1], key_dim=[8, 8, 8], dynamo=(22,), legacy=(14,)),
    vision("MobileViT", "mobilevit", "MobileViT", size=64, image_size=64, hidden_sizes=[16, 20, 24],
        neck_hidden_sizes=[8, 8, 12, 12, 16, 16, 24], num_attention_heads=2, mlp_ratio=1.0, dynamo=(20,), legacy=(18,)),
    vision("MobileViT", "mobilevit_v2", "MobileViTV2", size=64, image_size=64, width_multiplier=0.1,
        base_attn_unit_dims=[16, 20, 24], n_attn_blocks=[1, 1, 1], dynamo=(21,), failing=(19,)),
    vision("BiT", "bit", "Bit", embedding_size=8, hidden_sizes=[32, 32, 32, 32], depths=[1, 1, 1, 1],
        num_groups=4, dynamo=(18,), legacy=(14,)),
    vision("HGNet", "hgnet_v2", "HGNetV2", stem_channels=[3, 8, 8], embedding_size=8, hidden_sizes=[8, 8, 12,
        12], depths=[1, 1, 1, 1], stage_in_channels=[8, 8, 8, 12], stage_mid_channels=[8, 8, 8, 8],
        stage_out_channels=[8, 8, 12, 12], stage_num_blocks=[1, 1, 1, 1], stage_downsample=[False, True, True,
        True], stage_light_block=[False, False, True, True], stage_kernel_size=[3, 3, 5, 5],
        stage_numb_of_layers=[2, 2, 2, 2], dynamo=(19,), legacy=(16,)),
    vision("SegFormer", "segformer", "Segformer", hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2], sr_ratios=[4, 2, 1, 1], dynamo=(22,), legacy=(17,)),
    vision("PVT", "pvt", "Pvt", image_size=32, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2], sequence_reduction_ratios=[4, 2, 1, 1], mlp_ratios=[2, 2, 2, 2],
        dynamo=(20,), legacy=(16,)),
    vision("PVT", "pvt_v2", "PvtV2", image_size=32, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2], sr_ratios=[4, 2, 1, 1], mlp_ratios=[2, 2, 2, 2], dynamo=(23,),
        legacy=(19,)),
    vision("CvT", "cvt", "Cvt", embed_dim=[8, 12, 16], num_heads=[1, 2, 2], depth=[1, 2, 3], dynamo=(21,),
        legacy=(15,)),
    vision("FocalNet", "focalnet", "FocalNet", image_size=32, embed_dim=8, hidden_sizes=[8, 16], depths=[1,
        1], focal_levels=[2, 2], focal_windows=[3, 3], dynamo=(23,), legacy=(16,)),
    vision("SwiftFormer", "swiftformer", "SwiftFormer", size=32, image_size=32, depths=[1, 1, 1, 1],
        embed_dims=[8, 8, 12, 16], dynamo=(19,), legacy=(17,)),
    vision("TextNet", "textnet", "TextNet", image_size=[32, 32], stem_out_channels=8, hidden_sizes=[8, 8, 8,
        12, 12], conv_layer_kernel_sizes=[[[3, 3]], [[3, 3], [1, 3]], [[3, 1]], [[3, 3]]],
        conv_layer_strides=[[1], [2, 1], [2], [2]], dynamo=(22,), legacy=(13,)),
    vision("CLIP", "clip", "CLIP", dynamo=(19,), legacy=(14,), vision_config={"image_size": 32,
        "num_attention_heads": 2, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 24,
        "patch_size": 8}),
    vision("SigLIP", "siglip", "Siglip", dynamo=(21,), legacy=(16,), vision_config={"image_size": 32,
        "num_attention_heads": 2, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 24,
        "patch_size": 8}),
    vision("Hiera", "hiera", "Hiera", image_size=[32, 32], patch_size=[3, 3], patch_stride=[4, 4], embed_dim=8,
        patch_padding=[1, 1], depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], query_stride=[2, 2], masked_unit_size=[8, 8],
        dynamo=(21,), legacy=(18,)),
    vision("I-JEPA", "ijepa", "IJepa", image_size=32, dynamo=(18,), legacy=(20,), **VIT),
]
# fmt: on
