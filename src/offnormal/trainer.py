"""The one training loop. It knows torch and a `Method`; it cannot see labels, files of data or thresholds.

For each phase, epoch, batch and update in order: evaluate the losses, clear the gradients, backward into the update's
own parameters, clip, step, record. Every epoch draws its order and its dropout from a stream named by (seed, phase,
epoch), so a run that is killed and resumed at an epoch equals the run that was not, bit for bit.
"""

from __future__ import annotations

import math
import numbers
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from offnormal import checkpoints
from offnormal.batches import Batch, Batches, Prepare
from offnormal.errors import InvalidParameter, TrainingDiverged
from offnormal.method import Generates, Losses, Method, Phase, Update
from offnormal.networks.diversity import diversity, has_collapsed
from offnormal.networks.norms import settle_norms
from offnormal.random import derive_seed, scoped

STEPS_BETWEEN_EVALUATIONS = 20
"""Held-out rows are looked at after the first epoch end that is at least this many steps after the last look."""
SECONDS_BETWEEN_CHECKPOINTS = 2.0
SECONDS_BETWEEN_REPORTS = 0.1

OnProgress = Callable[["Progress"], None]

_Seen = dict[tuple[str, str], list[Tensor]]
"""(update, term) -> its value at each step of an epoch, still on the device."""


@dataclass(frozen=True)
class Settings:
    """How to train; nothing of the paper.

    Attributes
    ----------
    batch_size : int
    seed : int
    device : str
        "cpu", "cuda", "cuda:1", …
    precision : str
        "float32" or "bfloat16" (autocast of the losses).
    compile : bool
        Compile the losses with `torch.compile` (15 to 40 seconds once; for long trainings).
    monitor : str or None
        A training term to watch for early stopping; None watches the sum of the terms on the held-out rows.
    patience : int or None
        Epochs without improvement before a phase ends; None: no early stopping.
    time_limit : float or None
        Seconds after which training ends where it is.
    checkpoint : Path or None
        Where to keep the state of the run.
    resume : bool
        Continue from `checkpoint` if it is there.
    fingerprint : str
        Names the data and hyper-parameters; a checkpoint of another fingerprint is refused.
    following : int
        Trainings like this one that come after it, the folds; for the time left.
    """

    batch_size: int
    seed: int
    device: str = "cpu"
    precision: str = "float32"
    compile: bool = False
    monitor: str | None = None
    patience: int | None = None
    time_limit: float | None = None
    checkpoint: Path | None = None
    resume: bool = False
    fingerprint: str = ""
    following: int = 0


@dataclass(frozen=True)
class FitOptions:
    """What a fit was asked for beside the data: how to report, where to keep its state, when to stop.

    `groups` are the numbers of the rows' groups, shape (rows,), whose rows are held out together.
    """

    checkpoint: Path | None = None
    resume: bool = False
    on_progress: OnProgress | None = None
    time_limit: float | None = None
    groups: NDArray[np.int64] | None = None

    @classmethod
    def checked(
        cls, checkpoint: str | Path | None, resume: bool, on_progress: OnProgress | None, time_limit: Any
    ) -> FitOptions:
        """Return the options, or raise `InvalidParameter` if the time limit is not seconds."""
        seconds = isinstance(time_limit, numbers.Real) and not isinstance(time_limit, bool) and float(time_limit) >= 0
        if time_limit is not None and not seconds:
            raise InvalidParameter(f"time_limit must be a number of seconds, at least 0, or None; got {time_limit!r}.")
        return cls(Path(checkpoint) if checkpoint else None, resume, on_progress, time_limit)

    def at(self, places: NDArray[np.int64]) -> FitOptions:
        """Return the options for these of the rows."""
        return self if self.groups is None else replace(self, groups=self.groups[places])


@dataclass(frozen=True)
class Progress:
    """Where a training is; sent a few times a second.

    Attributes
    ----------
    stage : str
        "final", or "fold 2 of 5".
    epoch, batch : int
        Counted from 1.
    rows_per_second, eta_seconds : float
        Of this phase, and until all phases and the trainings that follow, the folds, are done at this speed; the
        estimate takes every epoch to come, so early stopping can only shorten it.
    terms : dict
        Means of the loss terms over the latest twenty steps.
    """

    stage: str
    phase: str
    epoch: int
    epochs: int
    batch: int
    batches: int
    rows_per_second: float
    eta_seconds: float
    terms: dict[str, float]


@dataclass
class Training:
    """What happened.

    Attributes
    ----------
    history : list of dict
        One record per epoch: phase, epoch, seconds, rows_per_second, terms {name: mean}, held_out {name: mean} or None;
        of a method with a generator also its `diversity` (`networks/diversity.py`).
    collapsed : bool
        The generator ended with hardly any diversity.
    stopped : str
        "completed", "early stopping" or "time limit".
    best_epoch : dict
        Phase -> the epoch whose weights were kept.
    steps : int
        Optimizer steps taken.
    seconds : float
        Of all parts of a resumed run together.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    stopped: str = "completed"
    best_epoch: dict[str, int] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0
    collapsed: bool = False


def usable_device(name: str) -> str:
    """Return the device that `name` stands for; "auto" is the fastest there is.

    Raises
    ------
    InvalidParameter
        If it is no device, or not one of this machine.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if torch.device(name).type not in ("cpu", "cuda"):
            raise InvalidParameter(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:1'; got {name!r}.")
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InvalidParameter(f"device {name!r} is not available here; use 'auto' or 'cpu'.") from error
    return name


def train(
    method: Method,
    rows: Tensor,
    settings: Settings,
    *,
    held_out: Tensor | None = None,
    prepare: Prepare | None = None,
    stage: str = "final",
    on_progress: OnProgress | None = None,
) -> Training:
    """Train `method` on `rows`, then let it summarize them. Leaves it in evaluation mode on `settings.device`.

    Parameters
    ----------
    method : Method
    rows : Tensor, shape (n, …)
    settings : Settings
    held_out : Tensor, shape (m, …), or None
        Unlabeled rows for early stopping; no gradient ever sees them.
    prepare : callable or None
        Some rows, on the device -> model input (b, *shape); None: they are it.
    stage : str
        Named in the progress.
    on_progress : callable or None

    Raises
    ------
    TrainingDiverged
        If a loss term stops being finite.
    """
    device = torch.device(settings.device)
    method.to(device)
    ordered = Batches(rows.to(device), settings.batch_size, prepare=prepare)
    watched = None if held_out is None else Batches(held_out.to(device), settings.batch_size, prepare=prepare)
    run = _Run(method, ordered, settings, watched, stage, on_progress)
    phases = tuple(method.phases())
    if phases:
        run.planned = tuple(phase.epochs for phase in phases)
        run.restore(phases)
        for number, phase in enumerate(phases):
            if number >= run.position.phase and run.training.stopped != "time limit":
                run.phase(number, phase)
        run.finish(len(phases))
    method.eval()
    if phases:
        with torch.no_grad(), scoped(settings.seed, "norms", device=device):
            settle_norms(method, partial(_one_pass, ordered, phases[-1]))
    with torch.no_grad(), scoped(settings.seed, "summarize", device=device):
        method.summarize(ordered)
    return run.training


def _one_pass(batches: Batches, phase: Phase) -> None:
    """Evaluate every loss of a phase on every batch."""
    for batch in batches:
        for update in phase.updates:
            update.losses(batch)


@dataclass
class _Position:
    """Where a run stands: the phase, its finished epochs, and what early stopping remembers."""

    phase: int = 0
    epoch: int = 0
    best: float = math.inf
    best_epoch: int = 0


class _Run:
    """The moving parts of one training."""

    def __init__(
        self,
        method: Method,
        ordered: Batches,
        settings: Settings,
        held_out: Batches | None,
        stage: str,
        on_progress: OnProgress | None,
    ) -> None:
        self.method, self.settings, self.stage, self.on_progress = method, settings, stage, on_progress
        self.batches = ordered.reordered(derive_seed(settings.seed, "batches"))
        self.held_out = held_out
        self.training = Training()
        self.position = _Position()
        self.planned: tuple[int, ...] = ()  # epochs of each phase
        self.best_state: dict[str, Tensor] = {}
        self.optimizers: dict[str, Optimizer] = {}
        self.schedulers: dict[str, LRScheduler] = {}
        self._restored = False
        self._started = self._saved = self._reported = time.perf_counter()
        self._seconds_before = 0.0

    # --- a phase, an epoch, a step ------------------------------------------------------------------------------

    def phase(self, number: int, phase: Phase) -> None:
        """Run one phase from wherever the position says it is."""
        if not self._restored:
            self._enter(number, phase)
        self._restored = False
        evaluate_every = math.ceil(STEPS_BETWEEN_EVALUATIONS / len(self.batches))
        losses = {u.name: torch.compile(u.losses) if self.settings.compile else u.losses for u in phase.updates}
        while self.position.epoch < phase.epochs and not self._exhausted(phase):
            epoch = self.position.epoch
            self.method.train()
            record = self._epoch(phase, epoch, losses)
            if isinstance(self.method, Generates):
                record["diversity"] = self._diversity(self.method, phase, epoch)
            for scheduler in self.schedulers.values():
                scheduler.step()
            self.position.epoch = epoch + 1
            if (epoch + 1) % evaluate_every == 0 or epoch + 1 == phase.epochs:
                self._watch(phase, record)
            self.training.history.append(record)
            self._save(every=SECONDS_BETWEEN_CHECKPOINTS)
            if self.training.stopped == "time limit":
                break
        self._leave(phase)

    def _enter(self, number: int, phase: Phase) -> None:
        self.position = _Position(phase=number)
        self.best_state = {}
        self.optimizers = {u.name: u.optimizer(u.params) for u in phase.updates}
        self.schedulers = {u.name: u.scheduler(self.optimizers[u.name]) for u in phase.updates if u.scheduler}
        if phase.begin is not None:
            self.method.eval()
            with torch.no_grad(), scoped(self.settings.seed, "begin", phase.name, device=self.settings.device):
                phase.begin(self.batches)

    def _leave(self, phase: Phase) -> None:
        if self.best_state:
            self.method.load_state_dict(self.best_state)
            self.training.best_epoch[phase.name] = self.position.best_epoch
        else:
            self.training.best_epoch[phase.name] = self.position.epoch
        if phase.end is not None:
            with torch.no_grad():
                phase.end()
            if isinstance(self.method, Generates) and self.training.history:  # of the weights that are kept
                self.training.history[-1]["diversity"] = self._diversity(self.method, phase, self.position.epoch)

    def _epoch(self, phase: Phase, epoch: int, losses: Mapping[str, Losses]) -> dict[str, Any]:
        """Take one pass over the batches; return its record."""
        started = time.perf_counter()
        seen: _Seen = {}
        self.batches.epoch = epoch
        done = rows = 0
        with scoped(self.settings.seed, phase.name, epoch, device=self.settings.device):
            fresh = {u.name: self._fresh(u, epoch) for u in phase.updates if u.fresh_batch}
            for number, batch in enumerate(self.batches):
                for update in phase.updates:
                    if (epoch * len(self.batches) + number) % update.every == 0:
                        own = next(fresh[update.name]) if update.fresh_batch else batch
                        for name, term in self._step(update, losses[update.name], own).items():
                            seen.setdefault((update.name, name), []).append(term.detach())
                if phase.after_batch is not None:
                    with torch.no_grad():
                        phase.after_batch(batch)
                done, rows = number + 1, rows + len(batch.x)
                self._report(phase, epoch, done, rows, started, seen)
                if self._time_is_up():
                    self.training.stopped = "time limit"
                    break
        seconds = time.perf_counter() - started
        return {
            "phase": phase.name,
            "epoch": epoch + 1,
            "seconds": seconds,
            "rows_per_second": rows / max(seconds, 1e-9),
            "terms": self._means(phase, epoch, seen),
            "held_out": None,
        }

    def _fresh(self, update: Update, epoch: int) -> Iterator[Batch]:
        own = self.batches.reordered(derive_seed(self.settings.seed, "batches", update.name))
        own.epoch = epoch
        return iter(own)

    def _step(self, update: Update, losses: Losses, batch: Batch) -> Mapping[str, Tensor]:
        with self._autocast():
            terms = losses(batch)
            total = sum(terms.values(), start=torch.zeros((), device=batch.x.device))
        optimizer = self.optimizers[update.name]
        optimizer.zero_grad(set_to_none=True)
        total.backward(inputs=list(update.params))  # type: ignore[no-untyped-call]
        if update.clip_norm is not None:
            nn.utils.clip_grad_norm_(update.params, update.clip_norm)
        optimizer.step()
        self.training.steps += 1
        return terms

    def _autocast(self) -> Any:
        if self.settings.precision == "bfloat16":
            return torch.autocast(torch.device(self.settings.device).type, torch.bfloat16)
        return nullcontext()

    # --- watching -------------------------------------------------------------------------------------------------

    def _means(self, phase: Phase, epoch: int, seen: _Seen) -> dict[str, float]:
        """Turn the epoch's terms into means; the only place where numbers leave the device."""
        values = {key: torch.stack(terms).double().cpu() for key, terms in seen.items()}
        broken = {key: int((~torch.isfinite(v)).int().argmax()) for key, v in values.items() if not v.isfinite().all()}
        if broken:
            (update, term), _ = min(broken.items(), key=lambda item: item[1])
            raise TrainingDiverged(phase.name, update, term, epoch + 1)
        return {self._term_name(phase, update, term): float(v.mean()) for (update, term), v in values.items()}

    @staticmethod
    def _term_name(phase: Phase, update: str, term: str) -> str:
        return term if len(phase.updates) == 1 else f"{update}/{term}"

    def _watch(self, phase: Phase, record: dict[str, Any]) -> None:
        """Evaluate the held-out rows and remember the best weights, as a copy."""
        if self.held_out is not None:
            record["held_out"] = self._evaluate(phase)
        if self.settings.patience is None:
            return
        if self.settings.monitor is not None:
            value = record["terms"][self.settings.monitor]
        elif record["held_out"] is not None:
            value = sum(record["held_out"].values())
        else:
            return
        if value < self.position.best:
            self.position.best, self.position.best_epoch = value, self.position.epoch
            self.best_state = {name: tensor.detach().clone() for name, tensor in self.method.state_dict().items()}

    def _diversity(self, method: Generates, phase: Phase, epoch: int) -> float | None:
        """Return how far rows of the generator differ, held against the first batch of the epoch."""
        self.method.eval()
        with torch.no_grad(), scoped(self.settings.seed, "diversity", phase.name, epoch, device=self.settings.device):
            rows = next(iter(self.batches)).x
            return diversity(method.generate(rows), rows)

    def _evaluate(self, phase: Phase) -> dict[str, float]:
        if self.held_out is None:
            return {}
        self.method.eval()
        totals: dict[str, float] = {}
        with torch.no_grad(), scoped(self.settings.seed, "held-out", device=self.settings.device), self._autocast():
            for batch in self.held_out:
                for update in phase.updates:
                    for term, value in update.losses(batch).items():
                        name = self._term_name(phase, update.name, term)
                        totals[name] = totals.get(name, 0.0) + float(value) / len(self.held_out)
        return totals

    def _exhausted(self, phase: Phase) -> bool:
        patience = self.settings.patience
        if patience is None or not self.best_state or self.position.epoch - self.position.best_epoch < patience:
            return False
        self.training.stopped = "early stopping"
        return True

    def _time_is_up(self) -> bool:
        limit = self.settings.time_limit
        return limit is not None and time.perf_counter() - self._started + self._seconds_before >= limit

    def _report(
        self,
        phase: Phase,
        epoch: int,
        done: int,
        rows: int,
        started: float,
        seen: _Seen,
    ) -> None:
        now = time.perf_counter()
        if self.on_progress is None or (now - self._reported < SECONDS_BETWEEN_REPORTS and done < len(self.batches)):
            return
        self._reported = now
        speed = rows / max(now - started, 1e-9)
        epochs = (1 + self.settings.following) * sum(self.planned) - sum(self.planned[: self.position.phase]) - epoch
        left = epochs * self.batches.n_rows - rows
        latest = {self._term_name(phase, u, t): float(torch.stack(v[-20:]).mean()) for (u, t), v in seen.items()}
        self.on_progress(
            Progress(
                self.stage, phase.name, epoch + 1, phase.epochs, done, len(self.batches), speed, left / speed, latest
            )
        )

    # --- keeping and restoring ------------------------------------------------------------------------------------

    def finish(self, phases: int) -> None:
        """Record the time and keep the finished state."""
        self.training.seconds = self._seconds_before + time.perf_counter() - self._started
        self.training.collapsed = has_collapsed(self.training.history, self.training.steps)
        self.position = _Position(phase=phases)
        self.best_state, self.optimizers, self.schedulers = {}, {}, {}
        self._save(every=0.0)

    def _save(self, every: float) -> None:
        now = time.perf_counter()
        if self.settings.checkpoint is None or now - self._saved < every:
            return
        self._saved = now
        self.training.seconds = self._seconds_before + now - self._started
        checkpoints.write(
            self.settings.checkpoint,
            checkpoints.State(
                fingerprint=self.settings.fingerprint,
                position=vars(self.position),
                training=vars(self.training),
                method=self.method.state_dict(),
                best=self.best_state,
                optimizers={name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
                schedulers={name: scheduler.state_dict() for name, scheduler in self.schedulers.items()},
            ),
        )

    def restore(self, phases: tuple[Phase, ...]) -> None:
        """Continue from the checkpoint, if there is one and it was asked for."""
        path = self.settings.checkpoint
        if path is None or not self.settings.resume or not path.exists():
            return
        state = checkpoints.read(path, self.settings.fingerprint, self.method.state_dict())
        self.method.load_state_dict(state.method)
        self.position = _Position(**state.position)
        self.training = Training(**state.training)
        self._seconds_before = self.training.seconds
        self.best_state = {name: tensor.to(self.settings.device) for name, tensor in state.best.items()}
        if self.position.phase < len(phases):
            phase = phases[self.position.phase]
            for update in phase.updates:
                optimizer = update.optimizer(update.params)
                if update.scheduler is not None:
                    self.schedulers[update.name] = update.scheduler(optimizer)
                    self.schedulers[update.name].load_state_dict(state.schedulers[update.name])
                optimizer.load_state_dict(state.optimizers[update.name])
                self.optimizers[update.name] = optimizer
            self._restored = True
