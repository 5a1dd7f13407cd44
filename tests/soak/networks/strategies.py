"""Networks by the strategies that the tests of plans and of generated C draw from."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from rnnpool_mcu.ir.graph import Graph
from tests.graphs import graphs
from tests.imported_graphs import imported_graphs
from tests.soak.networks.network import Drawn, network
from tests.streaming_graphs import streaming_graphs

STRATEGIES = (graphs(max_side=14, max_layers=5), imported_graphs(), streaming_graphs())


def strategy_networks(seed: int, count: int) -> Drawn:
    """So many networks, from the strategies in turn."""
    made: list[Graph] = []

    @seeded(seed)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(STRATEGIES[seed % len(STRATEGIES)])
    def collect(graph: Graph) -> None:
        made.append(graph)

    collect()
    return Drawn([network("chains", seed * 1000 + i, graph) for i, graph in enumerate(made[:count])])
