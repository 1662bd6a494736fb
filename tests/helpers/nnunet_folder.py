"""A result folder of nnU-Net whose network is known: it tells voxels apart by two thresholds.

Every convolution hands its middle voxel on, the lower stage is silent, and the last layer compares.
Needs the nnunetv2 package for the names of the weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

TRAINER = "nnUNetTrainer__nnUNetPlans__3d_fullres"
#: Values above the first are label 1, above the second label 2.
THRESHOLDS = (100.0, 300.0)
_SCALE = 100.0


def write_nnunet(
    folder: Path, name: str, spacing_mm: tuple[float, float, float], **changed: Any
) -> Path:
    """The folder of a data set of that name, trained on voxels of that size (slices first)."""
    results = folder / name / TRAINER
    (results / "fold_0").mkdir(parents=True)
    plans = {**_plans(name, spacing_mm), **changed}
    labels = {"background": 0, "spleen": 1, "kidney_left": 2}
    dataset = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz",
               "numTraining": 1}  # fmt: skip
    (results / "plans.json").write_text(json.dumps(plans))
    (results / "dataset.json").write_text(json.dumps(dataset))
    checkpoint = {
        "network_weights": _weights(plans),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "3d_fullres"},
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    torch.save(checkpoint, results / "fold_0" / "checkpoint_final.pth")
    return folder / name


def _weights(plans: dict[str, Any]) -> dict[str, torch.Tensor]:
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    network = get_network_from_plans(
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
        1,
        3,
        deep_supervision=False,
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for name, module in network.named_modules():
            weight = getattr(module, "weight", None)
            if name.endswith("encoder.stages.0.0.convs.0.conv"):
                weight[0, 0, 1, 1, 1] = 1.0
            elif name.endswith("decoder.stages.0.convs.0.conv"):
                weight[0, 2, 1, 1, 1] = 1.0  # after the two that come from below
            elif name.endswith("decoder.seg_layers.0"):
                low, high = (value / _SCALE for value in THRESHOLDS)
                weight[1, 0], weight[2, 0] = 1.0, 2.0
                module.bias[1], module.bias[2] = -low, -low - high
    return dict(network.state_dict())


def _plans(name: str, spacing_mm: tuple[float, float, float]) -> dict[str, Any]:
    resampling = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    function = "resample_data_or_seg_to_shape"
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres", "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2, "patch_size": [16, 16, 16],
        "median_image_size_in_voxels": [24.0, 24.0, 24.0],
        "spacing": list(spacing_mm), "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False], "batch_dice": False,
        "resampling_fn_data": function, "resampling_fn_data_kwargs": {**resampling, "order": 3},
        "resampling_fn_seg": function, "resampling_fn_seg_kwargs": {**resampling, "is_seg": True},
        "resampling_fn_probabilities": function,
        "resampling_fn_probabilities_kwargs": resampling,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": 2, "features_per_stage": [2, 2],
                "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": [[3, 3, 3], [3, 3, 3]], "strides": [[1, 1, 1], [2, 2, 2]],
                "n_conv_per_stage": [1, 1], "n_conv_per_stage_decoder": [1], "conv_bias": True,
                "norm_op": None, "norm_op_kwargs": None, "dropout_op": None,
                "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }  # fmt: skip
    spread = {"max": 1000.0, "mean": 0.0, "median": 0.0, "min": -1000.0,
              "percentile_00_5": -1000.0, "percentile_99_5": 1000.0, "std": _SCALE}  # fmt: skip
    return {
        "dataset_name": name, "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(spacing_mm),
        "original_median_shape_after_transp": [24, 24, 24],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "ExperimentPlanner", "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": spread},
    }  # fmt: skip
