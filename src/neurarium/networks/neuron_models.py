"""Single neurons as differential equations, under any current: how they fire, and when.

Currents are (time, ...): many neurons, each under a current of its own, are simulated together.
Times are in ms, potentials in mV; units of current are each model's own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["Trace", "adex", "hodgkin_huxley", "izhikevich", "lif"]

Slope = Callable[[Tensor, Tensor], Tensor]
Fire = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Trace:
    """What a simulated neuron did.

    Attributes:
        dt: length of a step.
        voltage: at the end of each step; after the reset, where the model has one.
        spikes: whether it fired in the step.
        states: other variables of the model by name.
    """

    dt: float
    voltage: Float[Tensor, " time *neurons"]
    spikes: Bool[Tensor, " time *neurons"]
    states: dict[str, Tensor] = field(default_factory=dict)

    def spike_times(self, *neuron: int) -> Float[Tensor, " spikes"]:
        """When one neuron fired: the ends of those steps."""
        own: Any = (slice(None), *neuron)
        fired = self.spikes[own].nonzero().flatten()
        return self.dt * (fired.double() + 1)

    def rate(self) -> Float[Tensor, "*neurons"]:
        """Spikes per unit of time."""
        return self.spikes.sum(0) / (self.dt * len(self.spikes))


@torch.no_grad()
def lif(
    current: Float[Tensor, " time *neurons"],
    dt: float = 0.1,
    tau: float = 10.0,
    resistance: float = 1.0,
    threshold: float = 1.0,
    rest: float = 0.0,
    reset: float = 0.0,
    refractory: float = 0.0,
) -> Trace:
    r"""Leaky integrate and fire: a leaking capacitor that is emptied when it is full.

    $$\tau \dot v = -(v - v_r) + R I; \qquad v \ge \vartheta:\; \text{spike},\; v \leftarrow
      v_{\text{reset}} \text{ for a time } t_{\text{ref}}$$

    Each step is the exact solution for a current that is constant within it. Under a constant
    current beyond $\vartheta / R$ and with $v_r = v_{\text{reset}} = 0$ the rate is
    $[t_{\text{ref}} + \tau \ln\frac{RI}{RI - \vartheta}]^{-1}$.

    Args:
        dt: length of a step; spikes are at the ends of steps.
        tau: time constant.
        refractory: $t_{\text{ref}}$, to a whole number of steps.

    Source: Lapicque (1907); Gerstner, Kistler, Naud & Paninski (2014), Neuronal Dynamics,
    section 1.3.
    """
    _check(dt=dt, tau=tau)
    decay, wait = math.exp(-dt / tau), round(refractory / dt)
    v = torch.full_like(current[0], rest)
    waiting = torch.zeros_like(v)
    voltage, spikes = [], []
    for i in current.unbind(0):
        goal = rest + resistance * i
        v = torch.where(waiting > 0, v, goal + decay * (v - goal))
        fired = v >= threshold
        v = torch.where(fired, reset, v)
        waiting = torch.where(fired, float(wait), (waiting - 1).clamp(min=0))
        voltage.append(v)
        spikes.append(fired)
    return Trace(dt, torch.stack(voltage), torch.stack(spikes))


@torch.no_grad()
def hodgkin_huxley(
    current: Float[Tensor, " time *neurons"],
    dt: float = 0.05,
    capacitance: float = 1.0,
    g_sodium: float = 120.0,
    g_potassium: float = 36.0,
    g_leak: float = 0.3,
    e_sodium: float = 50.0,
    e_potassium: float = -77.0,
    e_leak: float = -54.4,
) -> Trace:
    r"""The squid's giant axon: channels that voltage opens and closes make the spike by themselves.

    $$C \dot V = I - g_{Na} m^3 h (V - E_{Na}) - g_K n^4 (V - E_K) - g_L (V - E_L), \qquad
      \dot y = \alpha_y(V) (1 - y) - \beta_y(V)\, y, \quad y \in \{m, h, n\}$$

    In the modern sign, with rest near -65 mV, from where it starts; currents in µA/cm². A spike is
    an upward crossing of 0 mV. A step of 2.3 µA/cm² is answered by one spike, one beyond about 6.3
    by endless firing, at once at some 50 per second.

    Source: Hodgkin & Huxley (1952), A quantitative description of membrane current and its
    application to conduction and excitation in nerve, J. Physiology 117; Gerstner, Kistler, Naud &
    Paninski (2014), Neuronal Dynamics, section 2.2.
    """

    def slope(state: Tensor, i: Tensor) -> Tensor:
        v, gates = state[0], state[1:]
        m, h, n = gates
        opening, closing = _gates(v)
        sodium = g_sodium * m**3 * h * (v - e_sodium)
        potassium = g_potassium * n**4 * (v - e_potassium)
        dv = (i - sodium - potassium - g_leak * (v - e_leak)) / capacitance
        return torch.cat([dv[None], opening * (1 - gates) - closing * gates])

    v = torch.full_like(current[0], -65.0)
    opening, closing = _gates(v)
    start = torch.cat([v[None], opening / (opening + closing)])
    states, _ = _simulate(current, dt, start, slope, lambda s: (s[0] >= math.inf, s))
    voltage = states[:, 0]
    before = torch.cat([v[None], voltage[:-1]])
    named = dict(zip("mhn", states[:, 1:].unbind(1), strict=True))
    return Trace(dt, voltage, (before < 0) & (voltage >= 0), named)


@torch.no_grad()
def izhikevich(
    current: Float[Tensor, " time *neurons"],
    dt: float = 0.1,
    a: float = 0.02,
    b: float = 0.2,
    c: float = -65.0,
    d: float = 8.0,
) -> Trace:
    r"""Two equations with the firing patterns of twenty kinds of cortical neurons.

    $$\dot v = 0.04 v^2 + 5 v + 140 - u + I, \qquad \dot u = a (b v - u); \qquad
      v \ge 30:\; v \leftarrow c,\; u \leftarrow u + d$$

    The constants are those of regular spiking; fast spiking has a = 0.1, d = 2, chattering c = -50,
    d = 2. It starts at rest, for b = 0.2 at -70 mV.

    Source: Izhikevich (2003), Simple model of spiking neurons, IEEE Trans. Neural Networks 14(6).
    """
    peak = 30.0

    def slope(state: Tensor, i: Tensor) -> Tensor:
        v, u = state[0].clamp(max=peak), state[1]  # beyond, it runs to infinity within a step
        return torch.stack([0.04 * v * v + 5 * v + 140 - u + i, a * (b * v - u)])

    def fire(state: Tensor) -> tuple[Tensor, Tensor]:
        fired = state[0] >= peak
        v, u = state
        return fired, torch.stack([torch.where(fired, c, v), torch.where(fired, u + d, u)])

    # The lower root of 0.04 v² + (5 - b) v + 140; without one there is no rest.
    discriminant = (5 - b) ** 2 - 0.16 * 140
    rest = (b - 5 - math.sqrt(discriminant)) / 0.08 if discriminant >= 0 else c
    start = torch.stack([torch.full_like(current[0], rest), torch.full_like(current[0], b * rest)])
    states, spikes = _simulate(current, dt, start, slope, fire)
    return Trace(dt, states[:, 0], spikes, {"u": states[:, 1]})


@torch.no_grad()
def adex(
    current: Float[Tensor, " time *neurons"],
    dt: float = 0.1,
    capacitance: float = 281.0,
    g_leak: float = 30.0,
    e_leak: float = -70.6,
    threshold: float = -50.4,
    sharpness: float = 2.0,
    tau_w: float = 144.0,
    a: float = 4.0,
    b: float = 80.5,
    reset: float = -70.6,
    peak: float = 20.0,
) -> Trace:
    r"""Adaptive exponential integrate and fire: a soft threshold, and spikes that tire it.

    $$C \dot v = -g_L (v - E_L) + g_L \Delta_T e^{(v - V_T)/\Delta_T} - w + I, \qquad
      \tau_w \dot w = a (v - E_L) - w; \qquad v \ge \text{peak}:\; v \leftarrow v_r,\;
      w \leftarrow w + b$$

    Currents in pA, capacitance in pF, conductances in nS. Without adaptation (a = b = 0) it fires
    for ever beyond $I = g_L (V_T - E_L - \Delta_T)$ and rests below.

    Args:
        sharpness: $\Delta_T$; towards 0 the threshold becomes that of `lif`.

    Source: Brette & Gerstner (2005), Adaptive exponential integrate-and-fire model as an effective
    description of neuronal activity, J. Neurophysiology 94.
    """
    _check(sharpness=sharpness, tau_w=tau_w, capacitance=capacitance)

    def slope(state: Tensor, i: Tensor) -> Tensor:
        v, w = state[0].clamp(max=peak), state[1]  # beyond, the exponential overflows
        upswing = g_leak * sharpness * torch.exp((v - threshold) / sharpness)
        leak = g_leak * (v - e_leak)
        return torch.stack([(upswing - leak - w + i) / capacitance, (a * (v - e_leak) - w) / tau_w])

    def fire(state: Tensor) -> tuple[Tensor, Tensor]:
        v, w = state
        fired = v >= peak
        return fired, torch.stack([torch.where(fired, reset, v), torch.where(fired, w + b, w)])

    v = torch.full_like(current[0], e_leak)
    states, spikes = _simulate(current, dt, torch.stack([v, torch.zeros_like(v)]), slope, fire)
    return Trace(dt, states[:, 0], spikes, {"w": states[:, 1]})


# The shared body: Runge and Kutta's fourth order between spikes


def _simulate(
    current: Tensor, dt: float, state: Tensor, slope: Slope, fire: Fire
) -> tuple[Tensor, Tensor]:
    """States (time, variable, ...) and spikes, the current constant within each step."""
    _check(dt=dt)
    states, spikes = [], []
    for i in current.unbind(0):
        k1 = slope(state, i)
        k2 = slope(state + dt / 2 * k1, i)
        k3 = slope(state + dt / 2 * k2, i)
        k4 = slope(state + dt * k3, i)
        fired, state = fire(state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
        states.append(state)
        spikes.append(fired)
    return torch.stack(states), torch.stack(spikes)


def _gates(v: Tensor) -> tuple[Tensor, Tensor]:
    """Opening and closing rates of the gates m, h and n, per ms."""
    opening = torch.stack(
        [_linoid(v + 40, 1.0), 0.07 * torch.exp(-(v + 65) / 20), _linoid(v + 55, 0.1)]
    )
    closing = torch.stack(
        [
            4 * torch.exp(-(v + 65) / 18),
            torch.sigmoid((v + 35) / 10),
            0.125 * torch.exp(-(v + 65) / 80),
        ]
    )
    return opening, closing


def _linoid(x: Tensor, scale: float) -> Tensor:
    """(x / 10) / (1 - e^(-x/10)), which is 1 at 0, where it would be 0/0."""
    y = x / 10
    near = y.abs() < 1e-4
    return scale * torch.where(near, 1 + y / 2, y / -torch.expm1(-torch.where(near, 1.0, y)))


def _check(**positive: float) -> None:
    for name, value in positive.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
