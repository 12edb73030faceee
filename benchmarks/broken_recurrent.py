"""Family 14, broken: what is replaced in which file, and the tests that must notice."""

CELLS = "src/neurarium/layers/recurrent"
AS_LAYER, MORE = "tests/layers/test_recurrent.py", "tests/layers/test_recurrent_more.py"
AS_CELL = "tests/layers/test_cells.py"
HEADS = ("src/neurarium/networks/sequence.py", "tests/networks/test_sequence.py")
WINDOWS = (
    "src/neurarium/learning/backpropagation_through_time.py",
    "tests/learning/test_backpropagation_through_time.py",
)
ONLINE = (
    "src/neurarium/learning/real_time_recurrent.py", "tests/learning/test_real_time_recurrent.py"
)  # fmt: skip
SLOPES = ("src/neurarium/objectives/through_time.py", "tests/objectives/test_through_time.py")
PROFESSOR = (
    "src/neurarium/learning/professor_forcing.py",
    "tests/learning/test_professor_forcing.py",
)
SAMPLING = (
    "src/neurarium/training/callbacks/scheduled_sampling.py",
    "tests/training/test_scheduled_sampling.py",
)
ECHO = ("src/neurarium/networks/echo_state.py", "tests/networks/test_echo_state.py")
READOUT = ("src/neurarium/learning/ridge_readout.py", "tests/networks/test_echo_state.py")
LINEAR = (f"{CELLS}/linear.py", MORE)
THEORY = ("src/neurarium/networks/theory.py", "tests/networks/test_theory.py")
PROGRAMS = (
    "src/neurarium/networks/neural_programmer.py",
    "tests/networks/test_neural_programmer.py",
)
HOPS = (
    "src/neurarium/layers/attention/structured_self.py",
    "tests/layers/test_structured_self_attention.py",
)
FORECASTS = ("src/neurarium/networks/forecaster.py", "tests/networks/test_forecaster.py")
DEEPAR = ("src/neurarium/networks/forecaster_deepar.py", "tests/networks/test_forecaster_deepar.py")
NBEATS = ("src/neurarium/networks/forecaster_nbeats.py", "tests/networks/test_forecaster_nbeats.py")

# name -> (file, tests, text, what stands there instead)
BROKEN: dict[str, tuple[str, str, str, str]] = {
    # rnn-elman
    "the state through W instead of its transpose": (
        f"{CELLS}/cells.py",
        AS_CELL,
        "u, state[0], self.weight_hh.t()",
        "u, state[0], self.weight_hh",
    ),
    "one of two biases forgotten": (
        f"{CELLS}/cells.py",
        AS_CELL,
        "self.weight_ih, self.bias_ih + self.bias_hh",
        "self.weight_ih, self.bias_ih",
    ),
    "Jordan's answer not squashed": (
        f"{CELLS}/cells.py",
        AS_CELL,
        "(self.out(F.linear(hidden, self.V, self.c)),)",
        "(F.linear(hidden, self.V, self.c),)",
    ),
    # rnn-heads
    "the mean over the padding too": (
        *HEADS,
        "h.sum(1) / length.clamp(min=1).unsqueeze(1)",
        "h.mean(1)",
    ),
    "attention that sees the padding": (
        *HEADS,
        "score.masked_fill(~real, torch.finfo(score.dtype).min)",
        "score",
    ),
    "the largest of padding too": (*HEADS, "h.masked_fill(~real, lowest)", "h"),
    "a generator told the truth when it runs free": (
        *HEADS,
        "target is None or not self.training else",
        "target is None else",
    ),
    # lstm and its variants
    "i and g exchanged": (f"{CELLS}/lstm.py", AS_CELL, 'in "ifgo" if', 'in "gfio" if'),
    "the output gate sees the old memory": (
        f"{CELLS}/lstm.py",
        AS_CELL,
        '        c = f * c + i * self._written(at["g"])\n        o = self._gate("o", at, c)',
        '        o = self._gate("o", at, c)\n        c = f * c + i * self._written(at["g"])',
    ),
    "coupled gates that are equal": (f"{CELLS}/lstm.py", AS_CELL, "f = 1 - i if", "f = i if"),
    "full recurrence without the forget gate's past": (
        f"{CELLS}/lstm.py",
        AS_CELL,
        "torch.cat([i, f, o], dim=-1)",
        "torch.cat([i, i, o], dim=-1)",
    ),
    "1997's squashing half as wide": (
        f"{CELLS}/lstm.py",
        AS_CELL,
        "2 * torch.tanh(g / 2)",
        "torch.tanh(g / 2)",
    ),
    "both forget biases set": (
        f"{CELLS}/lstm.py",
        AS_CELL,
        "(self.bias_hh, 0.0)",
        "(self.bias_hh, value)",
    ),
    "both forget biases set in torch's layer": (
        f"{CELLS}/scan.py",
        AS_LAYER,
        '("bias_hh", 0.0)',
        '("bias_hh", bias)',
    ),
    # ln-lstm
    "the memory read without its norm": (
        f"{CELLS}/lstm.py",
        AS_CELL,
        "c if self.norm_c is None else self.norm_c(c)",
        "c",
    ),
    "the norm of both products together": (
        f"{CELLS}/lstm.py",
        AS_CELL,
        "a = u + self.norm_h(F.linear(h, self.weight_hh))",
        "a = self.norm_h(u + F.linear(h, self.weight_hh))",
    ),
    # gru, mgu, mut1-3
    "the share kept and the share new exchanged": (
        f"{CELLS}/gated.py",
        AS_CELL,
        'torch.lerp(n, h, z) if self.keep == "z"',
        'torch.lerp(h, n, z) if self.keep == "z"',
    ),
    "reset after the product where before is asked": (
        f"{CELLS}/gated.py",
        AS_CELL,
        "fresh + F.linear(r * h, w, b)",
        "fresh + r * F.linear(h, w, b)",
    ),
    "a minimal gate that resets nothing": (
        f"{CELLS}/gated.py",
        AS_CELL,
        "F.linear(f * h, self.U)",
        "F.linear(h, self.U)",
    ),
    "MUT1 without its tanh of the input": (
        f"{CELLS}/gated.py",
        AS_CELL,
        "torch.tanh(self.widen(x))",
        "self.widen(x)",
    ),
    "MUT2's gates exchanged": (
        f"{CELLS}/gated.py",
        AS_CELL,
        "[update, self.widen(x), fresh]",
        "[self.widen(x), update, fresh]",
    ),
    "MUT3 sees the state as it is": (
        f"{CELLS}/gated.py",
        AS_CELL,
        "return torch.tanh(h)",
        "return h",
    ),
    # birnn, deep-rnn
    "backward from the padding": (
        f"{CELLS}/scan.py",
        AS_LAYER,
        "state = new if reals is None else _where(reals[t], new, state)",
        "state = new",
    ),
    "the backward summary at the last step": (
        f"{CELLS}/scan.py",
        AS_LAYER,
        "outputs[:, 0, half:]",
        "last[:, half:]",
    ),
    "a residual from the first layer on": (
        f"{CELLS}/scan.py",
        AS_LAYER,
        "x = out + x if self.residual and i else out",
        "x = out + x if self.residual and x.shape == out.shape else out",
    ),
    "a pyramid's length rounded down": (
        f"{CELLS}/scan.py",
        AS_LAYER,
        "length = -(-length // self.pyramid)",
        "length = length // self.pyramid",
    ),
    "a transition too many": (
        f"{CELLS}/scan.py",
        AS_LAYER,
        "range(transition - 1)",
        "range(transition)",
    ),
    # rnn-regularised
    "dropout drawn anew at each step": (
        f"{CELLS}/scan.py",
        AS_LAYER,
        "(state[0] * mask, *state[1:])",
        "(F.dropout(state[0], dropout), *state[1:])",
    ),
    "zoneout's expectation the wrong way round": (
        f"{CELLS}/scan.py",
        AS_LAYER,
        "torch.lerp(n, o, p)",
        "torch.lerp(o, n, p)",
    ),
    "zoneout of the new instead of the old": (
        f"{CELLS}/scan.py",
        AS_LAYER,
        "torch.rand_like(n) < p, o, n",
        "torch.rand_like(n) < p, n, o",
    ),
    "one zoneout for output and memory": (
        f"{CELLS}/scan.py",
        AS_LAYER,
        "zoneout[min(i, 1)]",
        "zoneout[0]",
    ),
    "dropped weights in evaluation": (
        "src/neurarium/layers/weight_drop.py",
        "tests/layers/test_weight_drop.py",
        "if not self.training or not self.p",
        "if not self.p",
    ),
    "weights dropped that are not recurrent": (
        "src/neurarium/layers/weight_drop.py",
        "tests/layers/test_weight_drop.py",
        "for name in self.dropped",
        "for name in weights",
    ),
    "changes from step to step, padding included": (
        *SLOPES,
        "(h[:, 1:] - h[:, :-1])[real[:, 1:]]",
        "(h[:, 1:] - h[:, :-1]).flatten(0, 1)",
    ),
    # irnn
    "one identity across all gates": (
        f"{CELLS}/initialize.py",
        MORE,
        "return weight.split(weight.shape[1])",
        "return (weight,)",
    ),
    "an IRNN that keeps its biases": (
        f"{CELLS}/initialize.py",
        MORE,
        "nn.init.zeros_(parameter)",
        "pass",
    ),
    # bptt
    "carried gradients": (
        *WINDOWS,
        "tuple(part.detach() for part in own) for own in state",
        "tuple(own) for own in state",
    ),
    "a window one stride too long": (
        *WINDOWS,
        "max(0, begin + stride - window)",
        "max(0, begin - window)",
    ),
    "states that are not carried": (*WINDOWS, "states[steps] if self.carry else None", "None"),
    "the memory's delta without the output gate": (
        *WINDOWS,
        "dc = dc + dh * o * (1 - read**2)",
        "dc = dc + dh * (1 - read**2)",
    ),
    "the memory's delta not forgotten": (*WINDOWS, "dg, do]), dc * f", "dg, do]), dc"),
    # rtrl
    "influences that are not carried": (
        *ONLINE,
        's + torch.einsum("bij,bj...->bi...", jacobian, influence[n])',
        "s",
    ),
    "influences of the step before last": (
        *ONLINE,
        "return past if gradient is None else gradient + past",
        "return past if gradient is None else gradient",
    ),
    # grad-flow
    "gradients from the first step on": (
        "src/neurarium/explain/gradient_through_time.py",
        "tests/explain/test_gradient_through_time.py",
        "for g in reversed(gradients)",
        "for g in gradients",
    ),
    # grad-clip
    "a price on vanishing alone, not its square": (
        *SLOPES,
        "(ratio.clamp(min=1e-30).sqrt() - 1).square()",
        "(ratio.clamp(min=1e-30).sqrt() - 1)",
    ),
    "the ratio of squared norms": (*SLOPES, "ratio.clamp(min=1e-30).sqrt() - 1", "ratio - 1"),
    "a price that moves the gradients before it": (
        *SLOPES,
        "stack([s[i] for s in states[:-1]]).detach()",
        "stack([s[i] for s in states[:-1]])",
    ),
    # sched-sampling
    "inverse sigmoid without its k": (*SAMPLING, "i / self.k - math.log(self.k)", "i / self.k"),
    "the share of one's own answers": (
        *SAMPLING,
        "decoder.forcing = self.epsilon(trainer.step)",
        "decoder.forcing = 1 - self.epsilon(trainer.step)",
    ),
    "one coin for all rows": (
        *HEADS[:1],
        SAMPLING[1],
        "torch.rand(len(x), 1, device=x.device) < self.forcing",
        "torch.rand(1, 1, device=x.device) < self.forcing",
    ),
    "a professor who teaches the critic's weights": (
        *PROFESSOR,
        "self._teach(teacher.detach(), own.detach())",
        "self._teach(teacher, own)",
    ),
    "a student who wants to be told apart": (
        *PROFESSOR,
        "seen, torch.ones_like(seen)",
        "seen, torch.zeros_like(seen)",
    ),
    # echo-state
    "the leak the wrong way round": (
        *ECHO,
        "torch.lerp(state[0], new, self.leak)",
        "torch.lerp(new, state[0], self.leak)",
    ),
    "no constant among what is read out": (
        *ECHO,
        "torch.ones_like(x[..., :1])",
        "torch.zeros_like(x[..., :1])",
    ),
    "the largest singular value for the spectral radius": (
        *ECHO,
        "torch.linalg.eigvals(self.weight.double()).abs().max()",
        "torch.linalg.svdvals(self.weight.double()).max()",
    ),
    "a washout one step too short": (*READOUT, ">= self.washout", ">= self.washout - 1"),
    "no ridge": (*READOUT, "self.xx + ridge", "self.xx"),
    # linear-recurrence
    "a scan that forgets half of the factors": (
        *LINEAR,
        "a = torch.cat([a[:, :gap], a[:, gap:] * a[:, :-gap]], dim=1)",
        "a = a",
    ),
    "minGRU's shares exchanged": (
        *LINEAR,
        "scan(torch.sigmoid(-z), torch.sigmoid(z) * fresh)",
        "scan(torch.sigmoid(z), torch.sigmoid(-z) * fresh)",
    ),
    "QRNN sees a step ahead": (*LINEAR, "(self.width - 1, 0)", "(self.width - 2, 1)"),
    "LRU without its normalization": (*LINEAR, "(1 - a.abs().square()).sqrt() * (x", "(x"),
    "S4D without zero-order hold": (
        *LINEAR,
        "torch.view_as_complex(self.C) * (a - 1) / A",
        "torch.view_as_complex(self.C)",
    ),
    # ctc
    "repetitions that are kept": (
        "src/neurarium/text/ctc.py",
        "tests/losses/test_ctc.py",
        "if not i or c != path[i - 1]]",
        "if True]",
    ),
    "a label said twice without a blank": (
        "src/neurarium/text/ctc.py",
        "tests/losses/test_ctc.py",
        "(in_blank if last else both) + p",
        "both + p",
    ),
    "CTC of all steps, padding included": (
        "src/neurarium/losses/ctc.py",
        "tests/losses/test_ctc.py",
        "length.long(), labels.long()",
        "full.long(), labels.long()",
    ),
    # siegelmann-sontag
    "a pop that leaves the top": (*THEORY, "4 * self.q - 2 * self.top - 1", "4 * self.q - 1"),
    "pushed zeros and ones exchanged": (
        *THEORY,
        "1: ({R + i: quarter}, 3 * quarter)",
        "1: ({R + i: quarter}, quarter)",
    ),
    # act
    "a remainder without the last step": (
        f"{CELLS}/adaptive.py",
        MORE,
        "costs.append(count + rest)",
        "costs.append(count)",
    ),
    "the flag of the first step at each": (
        f"{CELLS}/adaptive.py",
        MORE,
        "flag = torch.zeros_like(flag)",
        "pass",
    ),
    "halted rows that go on": (f"{CELLS}/adaptive.py", MORE, "torch.where(running, h, 0)", "h"),
    # neural-programmer
    "lesser is greater": (*PROGRAMS, "under = (table < pivots", "under = (table > pivots"),
    "and is or": (
        *PROGRAMS,
        'weight["and"][:, None] * torch.minimum',
        'weight["and"][:, None] * torch.maximum',
    ),
    "the difference two steps ago": (*PROGRAMS, "numbers[-3] if", "numbers[-2] if"),
    "pivots that see the padding": (
        *PROGRAMS,
        "scores = masks.fill(scores, (places >= 0)[..., None])",
        "pass",
    ),
    # self-attentive
    "a softmax with the padding": (*HOPS, "None if real is None else real[:, None]", "None"),
    "the norm, not its square": (
        *HOPS,
        "apart.square().sum((1, 2)).mean()",
        "apart.square().sum((1, 2)).sqrt().mean()",
    ),
    # forecasting
    "a forecast from the padding": (
        *FORECASTS,
        "series[rows, (length - 1).clamp(min=0)]",
        "series[:, -1]",
    ),
    "recursion from the first answer": (
        *FORECASTS,
        "answers.append(answers[-1] + self.out(h[:, 0]))",
        "answers.append(answers[0] + self.out(h[:, 0]))",
    ),
    "a pinball that is symmetric": (
        *FORECASTS,
        "F.relu(-error).mul(1 - q)",
        "F.relu(-error).mul(q)",
    ),
    "NLinear without its last value": (
        "src/neurarium/networks/forecaster_linear.py",
        "tests/networks/test_forecaster_linear.py",
        "return last.unsqueeze(2) + change",
        "return change",
    ),
    "DeepAR's scale without the 1": (*DEEPAR, "1 + past.abs().mean(1", "past.abs().mean(1"),
    "a negative binomial of another shape": (
        *DEEPAR,
        "F.softplus(second) / scale.sqrt()",
        "F.softplus(second)",
    ),
    "residuals that are not taken": (*NBEATS, "series = series - backcast", "series = series"),
    "a season of one phase": (
        *NBEATS,
        "torch.cat([turns.cos(), turns.sin()])",
        "torch.cat([turns.cos(), turns.cos()])",
    ),
    "MASE of one season for all": (
        "src/neurarium/metrics.py",
        "tests/test_metrics_forecasts.py",
        "series[season:] - series[:-season]",
        "series[1:] - series[:-1]",
    ),
}
