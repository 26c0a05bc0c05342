"""Neural models of dynamic systems from measured signals, in JAX."""

from importlib.metadata import version as _version

from tsjax_core.data.arrays import ArrayStore
from tsjax_core.data.balancing import (
    category_weights,
    file_weights,
    value_weights,
    window_attributes,
    window_values,
)
from tsjax_core.data.batches import exact_batches, limit_batches
from tsjax_core.data.csv import CSVStore
from tsjax_core.data.hdf5 import HDF5Store
from tsjax_core.data.pipeline import GrainPipeline, create_grain_dls
from tsjax_core.data.resample import ResampledStore
from tsjax_core.data.sources import FullSequenceSource, WindowedSource
from tsjax_core.data.stats import compute_norm_stats
from tsjax_core.data.weighting import weighted_source
from tsjax_core.errors import TsjaxError
from tsjax_core.experiments.describe_model import ModelInfo, describe_model
from tsjax_core.inference.initial_state import InitialState
from tsjax_core.inference.predict import estimate_state, predict, predict_stateful
from tsjax_core.inference.saved_model import load_model
from tsjax_core.inference.simulator import Simulator
from tsjax_core.judging.figures import plot_results
from tsjax_core.losses.channels import masked_loss
from tsjax_core.losses.compose import compose_losses
from tsjax_core.losses.missing import ignore_nan
from tsjax_core.losses.regression import (
    fit_percent,
    mae,
    mse,
    normalized_mae,
    normalized_mse,
    nrmse,
    rmse,
    vaf,
)
from tsjax_core.losses.regularizers import (
    activation_regularizer,
    temporal_activation_regularizer,
)
from tsjax_core.losses.robust import normalized_huber, normalized_log_cosh
from tsjax_core.losses.selection import hardest, random_length
from tsjax_core.losses.weights import time_weighted, weighted_loss
from tsjax_core.losses.window import cut_loss, skip_n
from tsjax_core.models.linear import ARX, Linear
from tsjax_core.models.parameters import Bounded, BoundedParameter
from tsjax_core.models.recurrent import GRU, LSTM, RNN
from tsjax_core.models.state import flatten_state, unflatten_state
from tsjax_core.registry.hookspecs import hookimpl
from tsjax_core.registry.registry import (
    Registry,
    get_command,
    get_loss,
    get_metric,
    get_model,
    get_plot,
    get_source,
    get_store,
    get_transform,
    installed,
    resolve,
)
from tsjax_core.training.checkpoints.checkpoints import Checkpoints
from tsjax_core.training.factory import GRULearner, LSTMLearner, RNNLearner, make_learner
from tsjax_core.training.learner import Learner
from tsjax_core.training.lr_finder import find_learning_rate
from tsjax_core.training.optimizer.averaging import average_weights
from tsjax_core.training.optimizer.groups import parameter_groups
from tsjax_core.training.optimizer.updates import (
    clip_gradients,
    clip_weights,
    skip_large,
    skip_nonfinite,
)
from tsjax_core.training.polish.options import PolishOptions
from tsjax_core.training.polish.uncertainty import ModelUncertainty, model_uncertainty
from tsjax_core.training.population.population import (
    Ensemble,
    Population,
    fit_population,
    fit_population_iter,
)
from tsjax_core.training.population.same_shape import shape_groups
from tsjax_core.training.progress import EpochResult
from tsjax_core.training.schedules import constant, flat_cos, one_cycle, warmup_cosine
from tsjax_core.training.stopping import EarlyStopping
from tsjax_core.transforms.compose import compose_transforms
from tsjax_core.transforms.evaluation import also_in_evaluation
from tsjax_core.transforms.noise import (
    add_bias,
    add_grouped_noise,
    add_noise,
    add_varying_noise,
)
from tsjax_core.transforms.probability import with_probability
from tsjax_core.transforms.truncate import truncate_schedule, vary_length
from tsjax_core.types import Buffer, Carry, FrozenMapping, NormStats, Signals
from tsjax_core.viz import plot_batch, plot_history, plot_learning_rates

__version__ = _version("tsjax-core")

__all__ = [
    "ARX",
    "GRU",
    "LSTM",
    "RNN",
    "ArrayStore",
    "Bounded",
    "BoundedParameter",
    "Buffer",
    "CSVStore",
    "Carry",
    "Checkpoints",
    "EarlyStopping",
    "Ensemble",
    "EpochResult",
    "FrozenMapping",
    "FullSequenceSource",
    "GRULearner",
    "GrainPipeline",
    "HDF5Store",
    "InitialState",
    "LSTMLearner",
    "Learner",
    "Linear",
    "ModelInfo",
    "ModelUncertainty",
    "NormStats",
    "PolishOptions",
    "Population",
    "RNNLearner",
    "Registry",
    "ResampledStore",
    "Signals",
    "Simulator",
    "TsjaxError",
    "WindowedSource",
    "activation_regularizer",
    "add_bias",
    "add_grouped_noise",
    "add_noise",
    "add_varying_noise",
    "also_in_evaluation",
    "average_weights",
    "category_weights",
    "clip_gradients",
    "clip_weights",
    "compose_losses",
    "compose_transforms",
    "compute_norm_stats",
    "constant",
    "create_grain_dls",
    "cut_loss",
    "describe_model",
    "estimate_state",
    "exact_batches",
    "file_weights",
    "find_learning_rate",
    "fit_percent",
    "fit_population",
    "fit_population_iter",
    "flat_cos",
    "flatten_state",
    "get_command",
    "get_loss",
    "get_metric",
    "get_model",
    "get_plot",
    "get_source",
    "get_store",
    "get_transform",
    "hardest",
    "hookimpl",
    "ignore_nan",
    "installed",
    "limit_batches",
    "load_model",
    "mae",
    "make_learner",
    "masked_loss",
    "model_uncertainty",
    "mse",
    "normalized_huber",
    "normalized_log_cosh",
    "normalized_mae",
    "normalized_mse",
    "nrmse",
    "one_cycle",
    "parameter_groups",
    "plot_batch",
    "plot_history",
    "plot_learning_rates",
    "plot_results",
    "predict",
    "predict_stateful",
    "random_length",
    "resolve",
    "rmse",
    "shape_groups",
    "skip_large",
    "skip_n",
    "skip_nonfinite",
    "temporal_activation_regularizer",
    "time_weighted",
    "truncate_schedule",
    "unflatten_state",
    "vaf",
    "value_weights",
    "vary_length",
    "warmup_cosine",
    "weighted_loss",
    "weighted_source",
    "window_attributes",
    "window_values",
    "with_probability",
]
