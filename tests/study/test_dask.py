"""A study on a cluster: joblib's Dask backend in place of processes of this machine."""

import os

import pytest

from neurarium.study import study

distributed = pytest.importorskip("distributed", reason='needs: pip install "neurarium[cluster]"')


def worker(seed=0, kind=1.0):
    return {"figure": kind + 0.1 * seed * seed, "process": float(os.getpid())}


@pytest.mark.cluster
@pytest.mark.filterwarnings("default")
def test_a_local_cluster_runs_the_trials_and_the_table_is_the_same():
    import joblib

    vary = {"kind": [1.0, 2.0]}
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        found = study(worker, vary, seeds=4, workers=2)
    here = study(worker, vary, seeds=4, workers=1)
    assert found.values("1") == here.values("1")
    assert found.values("2") == here.values("2")
    processes = {outcome.scores["process"] for outcome in found.outcomes.values()}
    assert os.getpid() not in processes
    assert 1 <= len(processes) <= 2
