"""What every training method is held against: its loss or steps, its training, what it touches.

Each check is one function. The first line of its docstring is what it found when it passes. Methods
that give a loss and methods that take their own steps have some checks of their own.
"""

from __future__ import annotations

import io
import math
from typing import Any

import torch
from torch import Tensor

from pnnbench.errors import UserError
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.bp import BP
from pnnbench.methods.nat import NAT
from pnnbench.seeds import FIRST_TRAINING_DEVICE
from pnnbench.submitting.trial import (
    BATCH_SIZE,
    EPOCHS,
    SEED,
    FaultError,
    Trial,
    check,
    differing,
    freeze_some,
    resumed,
    state_of,
)


@check("loss", "defaults", kind="loss")
def check_loss(trial: Trial) -> None:
    """The loss is a finite scalar whose gradient reaches the trained parameters."""
    workload, method = trial.workload(), trial.method()
    workload.train()
    method.attach(workload)
    method.calls = 1
    images, labels = trial.data().train_tensors()
    loss: Any = method.loss(workload, (images[:BATCH_SIZE], labels[:BATCH_SIZE]))
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not bool(torch.isfinite(loss).all()):
        raise FaultError(
            f"loss() returned {loss!r:.200}; return a tensor that holds one finite number."
        )
    if not loss.requires_grad:
        raise FaultError("loss() returned a tensor without gradient; do not detach it.")
    trained = method.trained_parameters(workload)
    gradients = [g for g in torch.autograd.grad(loss, trained, allow_unused=True) if g is not None]
    if not any(bool(g.count_nonzero()) for g in gradients):
        raise FaultError(
            "No gradient of the loss reaches trained_parameters(); compute the loss from the "
            "controls, or return from trained_parameters() what it is computed from."
        )
    if not all(bool(torch.isfinite(g).all()) for g in gradients):
        raise FaultError("The gradient of the loss is not finite on the first batch.")


@check("step", "defaults", kind="step")
def check_step(trial: Trial) -> None:
    """A step returns the loss of the batch, a finite number."""
    run = trial.train(max_steps=1)
    if not math.isfinite(run.watch.losses[0]):
        raise FaultError(
            f"step() returned {run.watch.losses[0]} on the first batch; return the loss, a finite "
            "number."
        )


@check("trains", "loss", "step")
def check_trains(trial: Trial) -> None:
    """A short training under Lightning's Trainer runs through."""
    for name, value in state_of(trial.run.workload).items():
        if not bool(torch.isfinite(value).all()):
            raise FaultError(f"After {EPOCHS} epochs {name} is not finite; lower the default lr.")


@check("controls-change", "trains")
def check_controls_change(trial: Trial) -> None:
    """Training changes the controls: of every layer, or some where a method takes its own steps."""
    before = dict(trial.workload().controls())
    after = dict(trial.run.workload.controls())
    same = [name for name in after if torch.equal(before[name], after[name])]
    if trial.cls.takes_steps():
        if len(same) == len(after):
            raise FaultError(
                "Training left every control as it was; let step() set "
                "workload.controls(trainable=True) in place."
            )
    elif same:
        raise FaultError(
            f"Training left {', '.join(same)} unchanged; a method that trains something else must "
            "program it into the controls at the end of each epoch."
        )


@check("controls-in-range", "trains")
def check_controls_in_range(trial: Trial) -> None:
    """The trained controls are in the range of the hardware."""
    before = state_of(trial.run.workload)
    projected = trial.workload()
    projected.network.load_state_dict(before, strict=False)
    projected.project_controls()
    outside = [
        n for n in differing(before, state_of(projected)) if f"network.{n}" in projected.controls()
    ]
    if outside:
        raise FaultError(
            f"{', '.join(outside)} leave the range of the hardware; call "
            "workload.project_controls() in after_step()."
        )


@check("batch-norm", "trains")
def check_batch_norm(trial: Trial) -> None:
    """Batch-norm statistics advance at most once per training step."""
    steps = len(trial.run.watch.images)
    for name, value in state_of(trial.run.workload).items():
        if name.endswith("num_batches_tracked") and int(value) > steps:
            raise FaultError(
                f"{name} is {int(value)} after {steps} steps; make extra passes inside "
                "workload.extra_pass()."
            )


@check("same-start", "trains")
def check_same_start(trial: Trial) -> None:
    """Training starts from the initial parameters that every method gets."""
    changed = differing(trial.workload().network.state_dict(), trial.run.watch.start)
    if changed:
        raise FaultError(
            f"{', '.join(changed)} differ from the initial parameters before the first step; "
            "leave them as they are in setup() and attach()."
        )


@check("same-data", "trains")
def check_same_data(trial: Trial) -> None:
    """Training meets the batches that every method gets, in their order."""
    data = trial.data()
    images, _ = data.train_tensors()
    expected = [images[i] for epoch in range(EPOCHS) for i in data.train_batches(epoch)]
    seen = trial.run.watch.images
    if len(seen) != len(expected) or any(
        not torch.equal(a, b) for a, b in zip(seen, expected, strict=True)
    ):
        raise FaultError(
            "The batches or their order were changed; take them as loss() or step() is given them."
        )


@check("detached", "trains")
def check_detached(trial: Trial) -> None:
    """The trained network gives the same outputs without the method."""
    run, fresh = trial.run, trial.workload(SEED + 1)
    images, _ = trial.data().test_tensors()
    try:
        fresh.network.load_state_dict(state_of(run.workload))
    except RuntimeError as error:
        raise FaultError(
            f"The method changed the tensors of the network: {error}. Keep auxiliary networks in "
            "the method."
        ) from error
    with torch.no_grad():
        a, b = run.workload.eval(), fresh.eval()
        same = torch.equal(a(images), b(images))
        same = same and torch.equal(a.network(images), b.network(images))
    if not same:
        raise FaultError(
            "The trained network gives other outputs than its parameters alone; remove hooks and "
            "overrides when training ends."
        )


@check("tidy", "trains")
def check_tidy(trial: Trial) -> None:
    """Nothing stays set on the network between steps."""
    left = trial.run.watch.left
    if left:
        raise FaultError(
            f"After a step the method leaves {', '.join(dict.fromkeys(left))}; undo it in "
            "'finally', as workload.operating() does."
        )


@check("reproducible", "trains")
def check_reproducible(trial: Trial) -> None:
    """The same seed gives the same bits, and another seed of the method trains too."""
    again = trial.train()
    changed = differing(state_of(trial.run.workload), state_of(again.workload))
    if changed:
        raise FaultError(
            f"Two runs with one seed differ in {', '.join(changed)}; draw random numbers from "
            "self.generator()."
        )
    trial.train(seed=12345)


@check("plain-state", "trains")
def check_plainstate_of(trial: Trial) -> None:
    """The state for the checkpoint holds tensors and plain values only."""
    file = io.BytesIO()
    try:
        torch.save(trial.run.method.state_dict(), file)
        file.seek(0)
        torch.load(file, weights_only=True)
    except Exception as error:
        raise FaultError(
            "state_dict() holds something that cannot be read safely; return tensors, numbers, "
            "texts, lists and dicts only."
        ) from error


@check("resumes", "plain-state", "reproducible")
def check_resumes(trial: Trial) -> None:
    """An interrupted training goes on to the same bits."""
    changed = differing(state_of(trial.run.workload), state_of(resumed(trial)))
    if changed:
        raise FaultError(
            f"A resumed run differs from an uninterrupted one in {', '.join(changed)}; put what "
            "the method remembers between steps into state_dict() and load_state_dict()."
        )


@check("trainer-flags", "trains", kind="loss")
def check_trainer_flags(trial: Trial) -> None:
    """Gradient clipping, accumulation and bf16 work."""
    flags: list[dict[str, Any]] = [
        {"gradient_clip_val": 0.1},
        {"accumulate_grad_batches": 2},
        {"precision": "bf16-mixed"},
    ]
    for flag in flags:
        try:
            state = state_of(trial.train(**flag).workload)
        except Exception as error:
            raise FaultError(
                f"Trainer({flag}) raises {type(error).__name__}: {error}. Keep automatic "
                "optimisation and let loss() do nothing but return the loss."
            ) from error
        if not all(bool(torch.isfinite(v).all()) for v in state.values()):
            raise FaultError(f"With Trainer({flag}) the parameters are no longer finite.")


@check("own-steps", "trains", kind="step")
def check_own_steps(trial: Trial) -> None:
    """Each batch is one step of the Trainer, and what the Trainer cannot do is refused."""
    run = trial.train(max_steps=3)
    if len(run.watch.images) != 3:
        raise FaultError(
            f"Trainer(max_steps=3) ended after {len(run.watch.images)} batches; leave the counting "
            "to the workload."
        )
    try:
        state = state_of(trial.train(precision="bf16-mixed").workload)
    except Exception as error:
        raise FaultError(
            f"Trainer(precision='bf16-mixed') raises {type(error).__name__}: {error}. Keep to the "
            "dtype of each tensor."
        ) from error
    if not all(bool(torch.isfinite(v).all()) for v in state.values()):
        raise FaultError("With Trainer(precision='bf16-mixed') parameters are no longer finite.")
    flags: list[dict[str, Any]] = [{"gradient_clip_val": 0.1}, {"accumulate_grad_batches": 2}]
    for flag in flags:
        try:
            trial.train(**flag)
        except UserError:
            continue
        raise FaultError(
            f"Trainer({flag}) is accepted, and Lightning does nothing of it where a method takes "
            "its own steps; call super().setup()."
        )


@check("frozen", "trains", "same-start")
def check_frozen(trial: Trial) -> None:
    """What is frozen keeps its bits; or it is refused."""
    workload = trial.workload()
    before = freeze_some(workload)
    try:
        trial.train(workload=workload)
    except UserError:
        return
    except Exception as error:
        raise FaultError(
            f"With {', '.join(before)} frozen, training raises {type(error).__name__}: {error}. "
            "Take workload.controls(trainable=True)."
        ) from error
    after = {**workload.controls(), **workload.digital_parameters()}
    advice = "train what workload.controls(trainable=True) gives and the digital ones likewise"
    thawed = [n for n in before if after[n].requires_grad]
    if thawed:
        raise FaultError(f"{', '.join(thawed)} was frozen and is not any more; {advice}.")
    moved = [n for n, value in before.items() if not torch.equal(after[n], value)]
    if moved:
        raise FaultError(f"{', '.join(moved)} is frozen and has moved; {advice}.")


@check("lets-go", "trains", "resumes", "detached", "tidy")
def check_lets_go(trial: Trial) -> None:
    """After training the method has let go, and the same object trains again as a fresh one."""
    run = trial.train()
    if run.workload.method is not None or hasattr(run.method, "hardware"):
        raise FaultError(
            "After training the method holds on to the workload; call super().teardown() and "
            "super().detach()."
        )
    again = trial.train(method=run.method)
    changed = differing(state_of(run.workload), state_of(again.workload))
    if changed:
        raise FaultError(
            f"A second training with the same object differs in {', '.join(changed)}; make anew in "
            "attach() what the method keeps while it trains."
        )


@check("alone", "trains")
def check_alone(trial: Trial) -> None:
    """A second training method in one Trainer is refused."""
    other: TrainingMethod = NAT() if issubclass(trial.cls, BP) else BP()
    try:
        trial.train(others=(other,))
    except UserError:
        return
    raise FaultError("A Trainer with two methods is accepted; call super().attach(workload).")


@check("access-kept", "trains", "access")
def check_access_kept(trial: Trial) -> None:
    """The method touches no more than its access allows, and no less."""
    queries = trial.run.workload.hardware_queries
    if trial.cls.access == "in_silico" and queries:
        raise FaultError("The method measures on hardware; declare access = 'in_situ'.")
    if trial.cls.access != "in_silico" and not queries:
        raise FaultError(
            f"The method declares access = {trial.cls.access!r} and no measurement was counted; "
            "measure with self.hardware.measure, or declare access = 'in_silico'."
        )


@check("counted", "trains")
def check_counted(trial: Trial) -> None:
    """The passes through the network are counted, where there are any."""
    workload, passes = trial.run.workload, trial.run.passes
    found = [("recorded for differentiation", passes.recorded, workload.gradient_evaluations)]
    if trial.cls.access == "in_silico":  # a step on hardware may make none, see `check_measures`
        found.append(("made without a gradient", passes.simulated, workload.forward_evaluations))
    for what, made, counted in found:
        if made > counted:
            raise FaultError(
                f"{made} passes were {what} and {counted} counted; call workload(x), not "
                "workload.network(x)."
            )


@check("measures", "trains", "access-kept", kind="step")
def check_measures(trial: Trial) -> None:
    """A method in situ that takes its own steps measures, and simulates nothing."""
    simulated = trial.run.passes.simulated
    if trial.cls.access != "in_silico" and simulated:
        raise FaultError(
            f"step() makes {simulated} passes through the network that are neither measured nor "
            "differentiated; measure with self.hardware.measure, or declare access = 'in_silico'."
        )


@check("hardware-closed", "trains")
def check_hardware_closed(trial: Trial) -> None:
    """What errors the hardware has stays unknown to the method."""
    if trial.run.looked_into:
        raise FaultError(
            f"The method looks into device {trial.run.looked_into[0]}, which stands for hardware; "
            "measure it with self.hardware.measure, and simulate devices of seeds below "
            f"{FIRST_TRAINING_DEVICE} or of layer.random_offsets() only."
        )


@check("test-data-unseen", "trains")
def check_test_data_unseen(trial: Trial) -> None:
    """No test data are read while the method trains."""
    if trial.run.test_data:
        raise FaultError(
            "The method reads test data while it trains; take the batch that loss() or step() is "
            "given."
        )
