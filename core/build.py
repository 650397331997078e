"""From spec to functions: one `match` for each union."""

from functools import partial
from pathlib import Path
from typing import NamedTuple, assert_never

import torch

from core.bilevel.algorithms import (
    averaged,
    carried_forward,
    continued,
    joint,
    joint_from_graphs,
    nested,
    nested_from_graph,
    real_time,
)
from core.bilevel.problem import Algorithm
from core.bilevel.projections import in_order
from core.inner import build_inner
from core.measuring import measuring, measuring_steps
from core.methods import build_method, same_method
from core.models.classifier import classifier
from core.models.conv4 import conv4
from core.models.linear import linear
from core.models.mlp import mlp, mlp_representation
from core.models.model import Model, Representation
from core.models.residual import residual
from core.outer import build_optimizer
from core.problems import class_features, plugin_instances
from core.problems.artifacts import Artifacts, learned, no_artifacts
from core.problems.cross_validation import cross_validated
from core.problems.hyper_cleaning import hyper_cleaning
from core.problems.hyper_representation import hyper_representation
from core.problems.initialization import initialization
from core.problems.inner import Inner
from core.problems.instance import Context, Instance
from core.problems.learned_data import learned_data
from core.problems.learned_optimizer import learned_optimizer
from core.problems.linear_representation import linear_representation
from core.problems.multiclass_transfer import multiclass_transfer
from core.problems.quadratic import quadratic
from core.problems.random_quadratics import random_quadratics
from core.problems.regularization import regularization
from core.spec import Experiment, algorithms, datasets, learned_problems, models, problems
from core.spec.multiclass_transfer import MulticlassTransfer
from core.spec.plugins import PluginModel, PluginProblem, code_of
from core.spec.shortcuts import replays
from core.spec.sizes import features, scores
from core.spec.stochastic import Stochastic
from core.stochastic import build_stochastic


class Built(NamedTuple):
    """An experiment as functions."""

    instance: Instance
    algorithm: Algorithm


def build(spec: Experiment, *, device: str, data_dir: Path, artifacts: Artifacts = no_artifacts) -> Built:
    """Loads the data and binds every part of the spec; `artifacts` are the files of other experiments.

    Raises:
        DataMissing: the data set is not in `data_dir`.
        ReferenceInvalid: another experiment has not what the spec asks of it.
        ProblemInvalid: the code of an installed package gives another problem than was agreed on.
    """
    context = make_context(spec, device=device, data_dir=data_dir, artifacts=artifacts)
    inner = build_inner(spec.algorithm)
    instance = build_instance(spec.problem, inner, context)
    return Built(instance, build_algorithm(spec, instance, inner, context))


def make_context(spec: Experiment, *, device: str, data_dir: Path, artifacts: Artifacts = no_artifacts) -> Context:
    """Where and with what the experiment runs."""
    dtype = torch.float64 if spec.resources.precision == "float64" else torch.float32
    network = torch.bfloat16 if spec.resources.precision == "bf16" else dtype
    return Context(spec.seed, dtype, torch.device(device), data_dir, spec.evaluation.episodes, network, artifacts)


def build_instance(spec: problems.Problem, inner: Inner, context: Context) -> Instance:
    """The problem with its data."""
    match spec:
        case problems.Quadratic():
            return quadratic(spec, inner, context)
        case problems.RandomQuadratics():
            return random_quadratics(spec, inner, context)
        case problems.Regularization() | problems.HyperCleaning():
            model = build_model(spec.model, spec.dataset.features, scores(spec), context.dtype)
            if isinstance(spec, problems.Regularization):
                stated = regularization if spec.folds is None else cross_validated
                return stated(spec, model, inner, context)
            return hyper_cleaning(spec, model, inner, context)
        case problems.HyperRepresentation():
            return hyper_representation(spec, representation_of(spec, context), inner, context)
        case MulticlassTransfer():
            below, classes = representation_of(spec, context), spec.dataset.class_counts()[0]
            model_of_all = classifier(below, features(spec), classes, dtype=context.dtype)
            return multiclass_transfer(spec, model_of_all, inner, context)
        case problems.Initialization():
            return initialization(spec, representation_of(spec, context), inner, context)
        case problems.LinearRepresentation():
            source = learned(spec, context.artifacts)
            network = None if source is None else representation_of(source.problem, context)
            return linear_representation(spec, class_features.load(spec, context, source, network), inner, context)
        case learned_problems.LearnedOptimizer():
            return learned_optimizer(spec, _fitted(spec.tasks, context.dtype), inner, context)
        case learned_problems.LearnedData():
            model = build_model(spec.model, spec.dataset.features, scores(spec), context.dtype)
            return learned_data(spec, model, inner, context)
        case PluginProblem():
            return plugin_instances.checked(spec, code_of(spec)(spec, inner, context), context)
        case _:
            assert_never(spec)


def _fitted(tasks: learned_problems.Quadratics | learned_problems.Classification, dtype: torch.dtype) -> Model | None:
    """The model that tasks fit, where they fit one."""
    if isinstance(tasks, learned_problems.Quadratics):
        return None
    return build_model(tasks.model, tasks.dataset.features, tasks.dataset.classes, dtype)


def build_model(spec: models.TableModel, features: int, scores: int, dtype: torch.dtype) -> Model:
    """A ground model for feature vectors."""
    match spec:
        case models.Linear():
            return linear(features, scores, bias=spec.bias, dtype=dtype)
        case models.Mlp():
            return mlp(features, spec.hidden, scores, activation=spec.activation, dtype=dtype)
        case PluginModel():
            made: Model = code_of(spec)(spec, features, scores, dtype)
            return made
        case _:
            assert_never(spec)


def representation_of(spec: problems.FewShot, context: Context) -> Representation:
    """The network of a few-shot problem, for the images of its data set."""
    return build_representation(spec.model, spec.dataset, context.dtype)


def build_representation(
    spec: models.Representation, images: datasets.ClassesOfImages, dtype: torch.dtype
) -> Representation:
    """A network that makes features of the data set's images."""
    match spec:
        case models.Conv4():
            return conv4(
                spec.filters,
                channels=images.channels,
                downsample=spec.downsample,
                norm_scale=spec.norm_scale,
                dtype=dtype,
            )
        case models.Residual():
            return residual(
                spec.blocks, hidden=spec.hidden, features=spec.features, channels=images.channels, dtype=dtype
            )
        case models.Mlp():
            pixels = images.channels * images.side**2
            return mlp_representation(pixels, spec.hidden, activation=spec.activation, dtype=dtype)
        case _:
            assert_never(spec)


def build_algorithm(spec: Experiment, instance: Instance, inner: Inner, context: Context) -> Algorithm:
    """What the loop calls once a hyperiteration."""
    chosen = spec.algorithm
    methods, project = partial(build_method, inner=inner, context=context), in_order(instance.project)
    if isinstance(chosen, Stochastic):
        assert instance.finite_sum is not None  # core.spec.checks refuses the others
        plain = build_stochastic(chosen, instance.finite_sum, project, seed=spec.seed)
        plain = plain._replace(step=torch.no_grad()(plain.step))  # as methods are: nothing differentiates a step
        return measuring_steps(spec, chosen, plain, instance.at, methods)
    optimizer = build_optimizer(chosen.optimizer, chosen.hyperiterations)
    graphs = context.device.type == "cuda" and replays(spec)
    match chosen:
        case algorithms.Nested():
            if graphs:
                same = same_method(spec, inner, context)
                plain = nested_from_graph(instance.at, same, optimizer, project, steps=chosen.steps)
            else:
                measured = continued(measuring(spec, methods), unrolls=instance.unrolls)
                plain = nested(instance.at, measured, optimizer, project, steps=chosen.steps)
            return plain if chosen.averaging is None else averaged(plain, decay=chosen.averaging)
        case algorithms.RealTime():
            forward_mode = isinstance(chosen.hypergradient, algorithms.Forward)
            going_on = measuring(spec, (lambda spec: carried_forward) if forward_mode else methods)
            return real_time(instance.at, going_on, optimizer, project, interval=chosen.interval)
        case algorithms.Joint():
            descending = joint_from_graphs if graphs else joint
            return descending(instance.at, optimizer, project, interval=chosen.interval)
        case _:
            assert_never(chosen)
