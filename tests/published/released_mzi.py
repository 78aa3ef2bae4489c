"""The published mesh network written out in plain tensors, and files in the released layout."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

N = 64
PLACES = (N, N // 2)
ERRORS = ("d_theta", "d_phi", "e_l", "e_r")
SHAPES = {
    "conv1": (6, 1, 5, 5),
    "conv2": (16, 6, 5, 5),
    "fc1": (120, 400),
    "fc2": (64, 120),
    "norm1": 6,
    "norm2": 16,
    "norm3": 120,
}


def random_model(seed: int) -> dict[str, np.ndarray]:
    """Random parameters and batch-norm statistics, in the released layout."""
    rng = np.random.default_rng(seed)
    model: dict[str, np.ndarray] = {}
    for name, shape in SHAPES.items():
        if isinstance(shape, tuple):
            scale = np.prod(shape[1:]) ** -0.5
            model[f"{name}.weight"] = scale * rng.standard_normal(shape)
            model[f"{name}.bias"] = 0.1 * rng.standard_normal(shape[0])
        else:
            model[f"{name}.weight"] = rng.uniform(0.5, 1.5, shape)
            model[f"{name}.bias"] = 0.1 * rng.standard_normal(shape)
            model[f"{name}.running_mean"] = 0.1 * rng.standard_normal(shape)
            model[f"{name}.running_var"] = rng.uniform(0.5, 2.0, shape)
    model = {name: array.astype(np.float32) for name, array in model.items()}
    for name in ("norm1", "norm2", "norm3"):
        model[f"{name}.num_batches_tracked"] = np.array(7)
    model["mesh.theta"] = rng.uniform(0, np.pi, PLACES)
    model["mesh.phi"] = rng.uniform(0, 2 * np.pi, PLACES)
    model["mesh.gamma"] = rng.uniform(0, 2 * np.pi, N)
    return model


def random_errors(seed: int, sigma: float = 0.15) -> dict[str, np.ndarray]:
    """Errors of a device, and the products of coupler amplitudes that the released file holds."""
    rng = np.random.default_rng(seed)
    errors = {name: sigma * rng.standard_normal(PLACES) for name in ERRORS}
    errors["e_l"][1::2, 31] = errors["e_r"][1::2, 31] = 0.0
    for name, (left, right) in {
        "epp": (1, 1),
        "enn": (-1, -1),
        "epn": (1, -1),
        "enp": (-1, 1),
    }.items():
        stripes = np.zeros((N, N))
        stripes[0::2] = np.sqrt((1 + left * errors["e_l"]) * (1 + right * errors["e_r"])).T
        errors[name] = stripes
    return errors


def coupler(e: float) -> np.ndarray:
    bar, cross = np.sqrt(1 + e), 1j * np.sqrt(1 - e)
    return np.array([[bar, cross], [cross, bar]]) / np.sqrt(2)


def mesh(model: dict[str, np.ndarray], errors: dict[str, np.ndarray]) -> np.ndarray:
    """Transfer matrix of the mesh, one interferometer after another; absent errors are zero."""
    zero = np.zeros(PLACES)
    d_theta, d_phi, e_l, e_r = (errors.get(name, zero) for name in ERRORS)
    theta, phi = model["mesh.theta"] + d_theta, model["mesh.phi"] + d_phi
    u = np.diag(np.exp(1j * model["mesh.gamma"]))
    for column in range(N):
        if column % 2:
            u[[0, N - 1]] *= -1j
        for k in range(N // 2 - column % 2):
            t, at = theta[column, k], (column, k)
            arms = np.diag(np.exp([0.5j * t, -0.5j * t]))
            out = np.diag([np.exp(1j * phi[at]), 1.0])
            top = 2 * k + column % 2
            m = out @ coupler(e_r[at]) @ arms @ coupler(e_l[at])
            u[top : top + 2] = m @ u[top : top + 2]
    return u


def outputs(
    model: dict[str, np.ndarray],
    images: torch.Tensor,
    errors: dict[str, np.ndarray] | None = None,
    *,
    batch_statistics: bool = False,
) -> torch.Tensor:
    """Normalised powers at all 64 ports, in float64."""
    w = {name: torch.from_numpy(np.array(array)).double() for name, array in model.items()}

    def norm(name: str, h: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(
            h,
            w[f"{name}.running_mean"].clone(),
            w[f"{name}.running_var"].clone(),
            w[f"{name}.weight"],
            w[f"{name}.bias"],
            training=batch_statistics,
        )

    h = F.conv2d(images.double(), w["conv1.weight"], w["conv1.bias"], padding=2)
    h = F.max_pool2d(torch.relu(norm("norm1", h)), 2)
    h = F.conv2d(h, w["conv2.weight"], w["conv2.bias"])
    h = F.max_pool2d(torch.relu(norm("norm2", h)), 2).flatten(1)
    h = norm("norm3", F.linear(h, w["fc1.weight"], w["fc1.bias"]))
    h = F.linear(h, w["fc2.weight"], w["fc2.bias"])
    field = h.to(torch.complex128) @ torch.from_numpy(mesh(model, errors or {})).T
    power = field.abs().square()
    return power / power.norm(dim=1, keepdim=True)
