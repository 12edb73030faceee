"""Phase retrieval by gradient descent from a random start."""

import torch

from neurarium.recipes.reproduction import recipe


@recipe(
    source="Chen, Chi, Fan & Ma (2019), Math. Programming 176, arXiv:1803.07726, section 1",
    figure="share of signals recovered to 1e-5",
    expect=(1.0, 1.0),
    minutes=0.1,
    quick={"trials": 3},
)
def phase_retrieval(
    seed: int = 0, n: int = 100, trials: int = 10, steps: int = 500
) -> dict[str, float]:
    r"""A signal from the squares of its projections: no careful start is needed.

    $y_i = (a_i^\top x^*)^2$ with 10 n Gaussian $a_i$; gradient descent at rate 0.1 on
    $\frac{1}{4m} \sum_i ((a_i^\top x)^2 - y_i)^2$ from $x_0 \sim N(0, \lVert x^* \rVert^2 I / n)$
    finds $x^*$ or $-x^*$: for some ten steps it only turns, then the error shrinks by a constant
    factor a step. The paper proves it for almost every draw and shows it for $\lVert x^* \rVert =
    1$ in its figure 1 (n = 100, ..., 1000, m = 10 n, rate 0.1); a share of 1 is its theorem.
    """
    needed, errors = [], []
    for _ in range(trials):
        signal = torch.nn.functional.normalize(torch.randn(n, dtype=torch.float64), dim=0)
        a = torch.randn(10 * n, n, dtype=torch.float64)
        y = (a @ signal).square()
        x = torch.randn(n, dtype=torch.float64) / n**0.5
        history = []
        for _ in range(steps):
            z = a @ x
            x -= 0.1 * a.T @ ((z.square() - y) * z) / len(y)
            history.append(min((x - signal).norm(), (x + signal).norm()).item())
        errors.append(history[-1])
        needed.append(next((i + 1 for i, e in enumerate(history) if e < 1e-5), steps))
    return {
        "recovered": sum(error < 1e-5 for error in errors) / trials,
        "fewest steps to 1e-5": min(needed),
        "most steps to 1e-5": max(needed),
        "largest error": max(errors),
    }
