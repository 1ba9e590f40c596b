"""Modes for the time of a training."""

import torch
from bitsback.common.modes import gradients, modes_kept, training_mode
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2))


def modes(model):
    return [module.training for module in model.modules()]


def test_a_network_that_came_in_eval_mode_trains_in_training_mode():
    model = Model()
    model.net.eval()
    with training_mode(model):
        assert all(modes(model))
    assert modes(model) == [True, False, False, False]


def test_a_mode_that_was_said_stays():
    model = Model()
    model.net[1].eval()
    with training_mode(model):
        assert modes(model) == [True, True, True, False]
    model.eval()
    with training_mode(model):
        assert not any(modes(model))


def test_modes_come_back_each_as_it_was():
    model = Model()
    model.net[1].eval()
    with modes_kept(model):
        model.eval()
    assert modes(model) == [True, True, True, False]


def test_gradients_are_on_whatever_the_caller_set():
    for context in (torch.no_grad, torch.inference_mode):
        with context(), gradients():
            assert torch.ones(1, requires_grad=True).mul(2).requires_grad
            assert not torch.ones(1).is_inference()
