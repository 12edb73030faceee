"""Parameter servers: what they compute, and the bytes that leave each machine."""

import pytest
import torch

from neurarium.training.distributed import ParameterServer


def exchanged(server, chunks):
    """A server after one exchange of so many chunks of one entry, and M in bytes."""
    server.chunk = 1
    server.average([[torch.ones(chunks)] for _ in range(server.workers)])
    return server, 4 * chunks


@pytest.mark.parametrize("server", [ParameterServer(3), ParameterServer(3, 2, chunk=4)])
def test_the_answer_is_the_mean(server):
    generator = torch.Generator().manual_seed(0)
    gradients = [[torch.randn(s, generator=generator) for s in ((3, 4), (5,))] for _ in range(3)]
    found = server.average(gradients)
    expected = [torch.stack(own).mean(0) for own in zip(*gradients, strict=True)]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_workers_that_serve_send_what_a_ring_does(n):
    server, size = exchanged(ParameterServer(n), 6 * n)
    assert server.sent == server.received == [2 * (n - 1) / n * size] * n
    assert server.time == 2 * (n - 1) / n


@pytest.mark.parametrize(("n", "k"), [(4, 1), (4, 2), (4, 4), (2, 4)])
def test_separate_servers_are_as_slow_as_the_fuller_side(n, k):
    server, size = exchanged(ParameterServer(n, k, colocated=False), 8 * k)
    assert server.sent == [size] * n + [n / k * size] * k
    assert max(server.sent) / size == server.time == max(1, n / k)


@pytest.mark.parametrize(("n", "k"), [(4, 1), (4, 2), (3, 2), (8, 3), (4, 4)])
def test_spare_machines_load_all_alike(n, k):
    # n^2 + kn - 2k chunks divide evenly: n - k for each worker, 2(n - 1) for each spare machine.
    chunks = n * n + k * n - 2 * k
    server, size = exchanged(ParameterServer(n, k), chunks)
    expected = 2 * n * (n - 1) / chunks
    assert server.place(chunks).count(0) == n - k
    assert server.place(chunks).count(n) == 2 * (n - 1)
    assert [bytes_ / size for bytes_ in server.sent] == pytest.approx([expected] * (n + k))
    assert server.time == pytest.approx(expected)


def test_as_many_spare_machines_as_workers_take_the_time_of_sending_once():
    assert ParameterServer(6, 6).time == 1
    assert ParameterServer(6, 0).time == 2 * 5 / 6
    assert ParameterServer(1).time == 0
    assert exchanged(ParameterServer(1), 4)[0].sent == [0]


def test_chunks_in_the_layers_order_go_round():
    assert ParameterServer(3).place(7) == [0, 1, 2, 0, 1, 2, 0]


def test_refusals(unchecked):
    with pytest.raises(ValueError, match="without servers the workers must serve"):
        ParameterServer(2, colocated=False)
    with pytest.raises(ValueError, match="workers >= 1"):
        ParameterServer(0)
    with pytest.raises(ValueError, match="gradients of 2 workers, got 1"):
        ParameterServer(2).average([[torch.ones(1)]])
