"""The state of an unfinished training, in the same container as a model file. No pickle.

An optimizer's state is split: tensors go with the weights, plain numbers into the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from offnormal import container
from offnormal.errors import ModelFileError

KIND = "offnormal checkpoint"


@dataclass(frozen=True)
class State:
    """Everything a run needs to go on as if nothing had happened.

    Attributes
    ----------
    fingerprint : str
        Names the data and the hyper-parameters.
    position, training : dict
        Plain values.
    method, best : dict of Tensor
        The weights now, and the best so far (may be empty).
    optimizers, schedulers : dict of state_dict, by update
    """

    fingerprint: str
    position: dict[str, Any]
    training: dict[str, Any]
    method: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    optimizers: Mapping[str, dict[str, Any]]
    schedulers: Mapping[str, dict[str, Any]]


def write(path: Path, state: State) -> None:
    """Write the state under a temporary name and rename it, so that a kill leaves the old file or the new one."""
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for kind, named in (("method", state.method), ("best", state.best)):
        tensors.update({f"{kind}/{name}": _array(tensor) for name, tensor in named.items()})
    optimizers: dict[str, Any] = {}
    for update, content in state.optimizers.items():
        plain: dict[str, Any] = {}
        for number, values in content["state"].items():
            for key, value in values.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer/{update}/{number}/{key}"] = _array(value)
                else:
                    plain.setdefault(str(number), {})[key] = value
        optimizers[update] = {"groups": content["param_groups"], "plain": plain}
    position = {key: (None if value == float("inf") else value) for key, value in state.position.items()}
    manifest = {
        "kind": KIND,
        "fingerprint": state.fingerprint,
        "position": position,
        "training": state.training,
        "optimizers": optimizers,
        "schedulers": dict(state.schedulers),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    container.write(path, manifest, tensors)


def read(path: Path, fingerprint: str, like: Mapping[str, Tensor]) -> State:
    """Read a state back.

    Parameters
    ----------
    path : Path
    fingerprint : str
        Of the run that wants to go on.
    like : dict of Tensor
        The method's own state: names, shapes and types that must be there.

    Raises
    ------
    ModelFileError
        If the file is damaged, or belongs to other data or other hyper-parameters.
    """
    manifest, arrays = container.read(path)
    if manifest.get("kind") != KIND:
        raise ModelFileError(f"{path} is not a checkpoint of offnormal. Delete it, or train without resuming.")
    if manifest.get("fingerprint") != fingerprint:
        raise ModelFileError(
            f"The checkpoint {path} belongs to other data or other parameters than this run. "
            "Resume with the command that started it, or train anew without --resume."
        )
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    method = {name: tensors.get(f"method/{name}") for name in like}
    if any(tensor is None or tensor.shape != like[name].shape for name, tensor in method.items()):
        raise ModelFileError(f"The checkpoint {path} does not fit this method. Train anew without --resume.")
    try:
        position = dict(manifest["position"])
        position["best"] = float("inf") if position["best"] is None else position["best"]
        return State(
            fingerprint=fingerprint,
            position=position,
            training=dict(manifest["training"]),
            method={name: tensor for name, tensor in method.items() if tensor is not None},
            best={name.removeprefix("best/"): tensor for name, tensor in tensors.items() if name.startswith("best/")},
            optimizers={
                update: {"state": _optimizer_state(update, content, tensors), "param_groups": content["groups"]}
                for update, content in manifest["optimizers"].items()
            },
            schedulers=manifest["schedulers"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"The checkpoint {path} is incomplete. Train anew without --resume.") from error


def _optimizer_state(update: str, content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[int, Any]:
    state: dict[int, Any] = {int(number): dict(values) for number, values in content["plain"].items()}
    prefix = f"optimizer/{update}/"
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            number, _, key = name.removeprefix(prefix).partition("/")
            state.setdefault(int(number), {})[key] = tensor
    return state


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = tensor.detach().cpu().contiguous().numpy()
    return array
