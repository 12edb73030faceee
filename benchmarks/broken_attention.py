"""Family 15, broken: what is replaced in which file, and the tests that must notice."""

LAYERS = "src/neurarium/layers/attention"
AS_LAYER, AS_HEADS = "tests/layers/test_attention.py", "tests/layers/test_attention_heads.py"
ATTEND = (f"{LAYERS}/attend.py", AS_LAYER)
SCORES = (f"{LAYERS}/scores.py", AS_LAYER)
MASKS = ("src/neurarium/layers/masks.py", AS_HEADS)
NORMALIZERS = (f"{LAYERS}/normalizers.py", AS_LAYER)
LUONG = (f"{LAYERS}/luong.py", AS_LAYER)
CHAIN = (f"{LAYERS}/structured.py", AS_LAYER)
HEADS = (f"{LAYERS}/multi_head.py", AS_HEADS)
LINEAR = (f"{LAYERS}/linear.py", AS_HEADS)
PLACES = ("src/neurarium/layers/positions.py", "tests/layers/test_positions.py")
TRANSFORMER = "tests/networks/test_transformer.py"
EXPERTS = ("src/neurarium/layers/feedforward.py", TRANSFORMER)
GPT = ("src/neurarium/networks/gpt.py", TRANSFORMER)
BERT = ("src/neurarium/networks/bert.py", "tests/networks/test_bert.py")
ELMO = ("src/neurarium/networks/elmo.py", "tests/networks/test_elmo.py")
MIX = ("src/neurarium/layers/scalar_mix.py", "tests/networks/test_elmo.py")
SEGMENTS = ("src/neurarium/networks/transformer_xl.py", "tests/networks/test_transformer_xl.py")
RELATIVE = (f"{LAYERS}/relative.py", "tests/networks/test_xlnet.py")
GUESSES = ("src/neurarium/objectives/language.py", "tests/objectives/test_language.py")
DECODE = ("src/neurarium/text/decode.py", "tests/text/test_decode.py")
RATES = ("src/neurarium/training/fine_tuning.py", "tests/training/test_fine_tuning.py")
UNFREEZE = (
    "src/neurarium/training/callbacks/gradual_unfreeze.py", "tests/training/test_fine_tuning.py"
)  # fmt: skip
ASKED = ("src/neurarium/networks/sequence.py", "tests/networks/test_sequence.py")

# name -> (file, tests, text, what stands there instead)
BROKEN: dict[str, tuple[str, str, str, str]] = {
    # attend
    "hidden values that reach the sum": (*ATTEND, "_without_hidden(values, mask)", "values"),
    "hidden weights that stay": (*ATTEND, "weights.masked_fill(~mask, 0)", "weights"),
    "a fused kernel without its scale": (*ATTEND, "            scale=scale,\n", ""),
    "weights after dropout": (
        *ATTEND,
        "used @ values, weights if return_weights",
        "used @ values, used if return_weights",
    ),
    "a scale by the width itself": (*SCORES, "1 / math.sqrt(features)", "1 / features"),
    "additive without its tanh": (*SCORES, "self.v(torch.tanh(hidden))", "self.v(hidden)"),
    # masks
    "causal that hides itself": (*MASKS, "ago >= 0 if width is None", "ago > 0 if width is None"),
    "a window a place too wide": (*MASKS, "(ago <= width)", "(ago <= width + 1)"),
    "queries that are the first places": (*MASKS, "[:, None] + (keys - queries)", "[:, None]"),
    "orders taken for ranks": (*MASKS, "rank = order.argsort(-1)", "rank = order"),
    "torch's masks the same way round": (*MASKS, "    return ~mask\n", "    return mask\n"),
    # normalizers and hard attention
    "sparsemax by the wrong support": (
        *NORMALIZERS,
        "(ranked > threshold)",
        "(ranked >= threshold - 1)",
    ),
    "entmax without its square": (*NORMALIZERS, ".clamp(min=0).square()", ".clamp(min=0)"),
    "hard attention without its baseline": (
        *NORMALIZERS,
        "(log_likelihood - self.baseline).detach()",
        "log_likelihood.detach() * 0",
    ),
    "a baseline that forgets nothing": (*NORMALIZERS, "1 - self.decay", "self.decay"),
    # luong
    "a bell twice as wide": (*LUONG, "2 * max(self.window / 2, 0.5)", "2 * max(self.window, 0.5)"),
    "a window on one side": (*LUONG, "away.abs() <= self.window", "away <= self.window"),
    "a context without the state": (
        *LUONG,
        "torch.cat([context, states], -1)",
        "torch.cat([context, context], -1)",
    ),
    "the first state asks": (
        *ASKED,
        "last = self.recurrent.summary(h, length).unsqueeze(1)",
        "last = h[:, :1]",
    ),
    # structured
    "a chain without transitions": (
        *CHAIN,
        "ahead[..., :, None] + self.transitions + unary",
        "ahead[..., :, None] + unary",
    ),
    "the likeliest labels by own scores": (
        *CHAIN,
        "(best[..., :, None] + self.transitions).max(-2)",
        "(best[..., :, None] + 0 * self.transitions).max(-2)",
    ),
    # multi-head, linear
    "a cache that counts places anew": (
        *HEADS,
        "self.rotary(query, before), self.rotary(keys, before)",
        "self.rotary(query), self.rotary(keys)",
    ),
    "linear attention that sees the future": (
        *LINEAR,
        "(query @ keys.mT).tril()",
        "(query @ keys.mT)",
    ),
    "linear attention that forgets the sums": (*LINEAR, "sums + state[1]", "sums"),
    # positions
    "a rotation the other way for one half": (
        *PLACES,
        "first * sin + second * cos",
        "second * cos - first * sin",
    ),
    "ALiBi that prefers the far": (
        *PLACES,
        "_scaled(query, keys) - (self.slopes",
        "_scaled(query, keys) + (self.slopes",
    ),
    "ALiBi's slopes from 0": (*PLACES, "torch.arange(1, heads + 1)", "torch.arange(heads)"),
    "relative values of the other side": (*PLACES, "ahead = -_distances", "ahead = _distances"),
    # transformers
    "experts all of one weight": (
        *EXPERTS,
        "gates = kept.softmax(-1) if",
        "gates = kept.softmax(-1) * 0 + 0.5 if",
    ),
    "a balance of assignments alone": (
        *EXPERTS,
        "(assigned * shares.mean(0)).sum()",
        "(assigned * assigned).sum()",
    ),
    "residual weights as large as others": (
        *GPT,
        "0.02 / math.sqrt(2 * len(self.decoder.blocks))",
        "0.02",
    ),
    "a memory with a gradient": (*SEGMENTS, "self._last(seen).detach()", "self._last(seen)"),
    "a memory of the first steps": (
        *SEGMENTS,
        "rows[:, max(0, rows.shape[1] - self.memory) :]",
        "rows[:, : self.memory]",
    ),
    "segments the other way round": (
        *RELATIVE,
        "kinds[..., 1:], kinds[..., :1]",
        "kinds[..., :1], kinds[..., 1:]",
    ),
    # elmo
    "a backward model that is not turned": (
        *ELMO,
        "self._run(self.backward, _turned(x, length))",
        "self._run(self.backward, x)",
    ),
    "padding turned too": (
        *ELMO,
        "torch.where(place <= last, last - place, place)",
        "place.flip(1)",
    ),
    "a mix without gamma": (*MIX, "self.gamma * torch", "torch"),
    # objectives
    "masks that fall on special tokens": (
        *GUESSES,
        "(draw < p) & ~torch.isin(tokens, never)",
        "(draw < p)",
    ),
    "no token left as it is": (
        *GUESSES,
        "chosen & (how < mix[0]), mask",
        "chosen & (how < 1), mask",
    ),
    "a loss on all tokens": (*GUESSES, "torch.where(chosen, tokens, -100)", "tokens"),
    # decoding
    "a nucleus without its last token": (
        *DECODE,
        "beyond = (before >= top_p)",
        "beyond = (before + ranked.softmax(-1) >= top_p)",
    ),
    "a length counted by 6": (
        *DECODE,
        "return ((5 + length) / 6) ** alpha",
        "return ((6 + length) / 6) ** alpha",
    ),
    "coverage without its limit": (*DECODE, ".clamp(max=1).log()", ".log()"),
    "a beam that keeps the old states": (
        *DECODE,
        "_pick(state, source.flatten(), batch * width)",
        "state",
    ),
    # ulmfit
    "lower layers that learn faster": (*RATES, "lr / factor ** (last - i)", "lr / factor**i"),
    "the first layer thaws first": (
        *UNFREEZE,
        "enumerate(reversed(self._groups))",
        "enumerate(self._groups)",
    ),
}
