"""Networks as scikit-learn estimators: pipelines, grid search, cross-validation."""

import copy
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import train_test_split
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from neurarium import networks
from neurarium.data import Data, Resident
from neurarium.data.scale import Standardize
from neurarium.learning import Backprop, Rule
from neurarium.objectives import supervised
from neurarium.training import Callback, EarlyStopping, fit, randomness

__all__ = ["NetworkClassifier", "NetworkRegressor"]

_STEPS = 1500  # enough for a small table, a second of work; large ones see ten epochs


class _NetworkEstimator(BaseEstimator):
    def __init__(
        self,
        network: Any = "MLP:hidden=100",
        *,
        loss: Any = None,
        optimizer: Any = "adamw",
        lr: float = 0.01,
        weight_decay: float = 0.01,
        schedule: Any = "one_cycle",
        rule: Rule | None = None,
        epochs: int | None = None,
        batch_size: int = 64,
        validation_fraction: float = 0.0,
        patience: int | None = None,
        callbacks: Sequence[Callback] = (),
        standardize: bool = True,
        random_state: int | None = 0,
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        self.network, self.loss, self.optimizer, self.lr = network, loss, optimizer, lr
        self.weight_decay, self.schedule, self.rule = weight_decay, schedule, rule
        self.epochs, self.batch_size = epochs, batch_size
        self.validation_fraction, self.patience = validation_fraction, patience
        self.callbacks, self.standardize = callbacks, standardize
        self.random_state, self.device, self.verbose = random_state, device, verbose

    def _train(self, x: np.ndarray, target: np.ndarray, task: Any, outputs: int) -> None:
        if self.random_state is None:
            seed = int(np.random.randint(2**31))  # noqa: NPY002 - scikit-learn's meaning of None
        elif isinstance(self.random_state, int | np.integer):
            seed = int(self.random_state)
        else:  # a RandomState, which scikit-learn allows
            seed = int(self.random_state.randint(2**31))
        rows, held_out = np.arange(len(x)), None
        if self.validation_fraction:
            stratify = target if task in ("binary", "multiclass") else None
            rows, held_out = train_test_split(
                rows, test_size=self.validation_fraction, random_state=seed, stratify=stratify
            )
        self.scale_ = Standardize.fit(torch.from_numpy(x[rows])) if self.standardize else None
        data = Data(
            self._split(x[rows], target[rows]),
            None if held_out is None else self._split(x[held_out], target[held_out]),
            task=task,
            classes=[str(c) for c in range(outputs)] if task != "regression" else None,
        )
        epochs = self.epochs
        if epochs is None:
            epochs = max(10, -(-_STEPS // cast(Resident, data.train).steps(self.batch_size)))
        callbacks = list(self.callbacks)
        if held_out is not None:
            callbacks.append(EarlyStopping(patience=self.patience))
        with randomness.isolated():
            torch.manual_seed(seed)
            module = self._network(x.shape[1:], outputs)
        self.run_ = fit(
            module,
            data,
            None if self.loss is None else supervised(self.loss),
            self.rule
            or Backprop(self.optimizer, self.lr, self.schedule, weight_decay=self.weight_decay),
            epochs=epochs,
            batch_size=self.batch_size,
            callbacks=callbacks,
            seed=seed,
            device=self.device,
            verbose=self.verbose,
        )
        self.run_.data = None  # an estimator does not carry its training rows about
        self.module_, self.history_ = self.run_.model, self.run_.history

    def _network(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        if isinstance(self.network, nn.Module):
            return copy.deepcopy(self.network)
        if isinstance(self.network, str):
            return networks.for_data(self.network, shape, outputs)
        return cast(nn.Module, self.network())

    def _split(self, x: np.ndarray, target: np.ndarray) -> Resident:
        return Resident({"input": self._prepared(x), "target": torch.from_numpy(target)})

    def _prepared(self, x: np.ndarray) -> torch.Tensor:
        value = torch.from_numpy(np.array(x))  # a copy: the caller's may be read-only
        # Scaled in double precision: a feature far from zero would lose its digits in single.
        return (value if self.scale_ is None else self.scale_(value)).float()

    def _outputs(self, x: Any) -> torch.Tensor:
        check_is_fitted(self)
        x = validate_data(self, x, reset=False, dtype=np.float64, allow_nd=True)
        return self.run_.forward(Resident({"input": self._prepared(x)}))


class NetworkClassifier(ClassifierMixin, _NetworkEstimator):
    """A neural network as a scikit-learn classifier.

    Args:
        network: "MLP:hidden=256x256", "LeNet5"... (first and last size come from the data), an
            `nn.Module` (copied) or a function that builds one. It returns logits.
        loss: name of or function from `neurarium.losses`; cross-entropy by default.
        optimizer: name, with arguments after a colon, of a torch optimizer.
        rule: a learning rule instead of backpropagation with `optimizer`, `lr`, `schedule`.
        epochs: passes over the rows; by default enough for 1,500 steps, at least ten.
        validation_fraction: share of the rows held out to keep the best epoch's weights.
        patience: epochs without improvement on those rows after which to stop.
        standardize: whether features are scaled to mean 0 and deviation 1 first.
        random_state: seed of initialization, order and dropout.

    Attributes:
        classes_: the labels, in the order of `predict_proba`'s columns.
        module_: the trained `nn.Module`.
        history_: losses by epoch.

    Example:
        >>> from sklearn.datasets import load_wine
        >>> from sklearn.model_selection import cross_val_score
        >>> X, y = load_wine(return_X_y=True)
        >>> cross_val_score(NetworkClassifier(), X, y).mean() > 0.95
        True
    """

    def fit(self, X: Any, y: Any) -> "NetworkClassifier":
        X, y = validate_data(self, X, y, dtype=np.float64, allow_nd=True)
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"a classifier needs at least two classes, y has one class: {self.classes_[0]!r}"
            )
        task = "binary" if len(self.classes_) == 2 else "multiclass"
        self._train(X, numbers.reshape(-1).astype(np.int64), task, len(self.classes_))
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        output = self._outputs(X).numpy()
        return output[:, 1] - output[:, 0] if len(self.classes_) == 2 else output

    def predict_proba(self, X: Any) -> np.ndarray:
        return self._outputs(X).double().softmax(1).numpy()

    def predict(self, X: Any) -> np.ndarray:
        numbers = self._outputs(X).argmax(1).numpy()
        return self.classes_[numbers]


class NetworkRegressor(RegressorMixin, _NetworkEstimator):
    """A neural network as a scikit-learn regressor; one target or several.

    The targets are standardized for training and given back in their own units. Arguments are those
    of `NetworkClassifier`; the default loss is the mean squared error.

    Attributes:
        module_: the trained `nn.Module`, of standardized targets.
        history_: losses by epoch.
    """

    def fit(self, X: Any, y: Any) -> "NetworkRegressor":
        X, y = validate_data(
            self, X, y, dtype=np.float64, allow_nd=True, multi_output=True, y_numeric=True
        )
        target = np.asarray(y, dtype=np.float64)
        self._one_dimensional = target.ndim == 1
        target = target.reshape(len(target), -1)
        self.target_mean_, spread = target.mean(0), target.std(0)
        self.target_std_ = np.where(spread > 0, spread, 1.0)
        scaled = ((target - self.target_mean_) / self.target_std_).astype(np.float32)
        self._train(X, scaled, "regression", scaled.shape[1])
        return self

    def predict(self, X: Any) -> np.ndarray:
        values = self._outputs(X).double().numpy() * self.target_std_ + self.target_mean_
        return values[:, 0] if self._one_dimensional else values

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
