"""The family tree."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from sa_mlops.plots.lineage import Edge, Node, Place, layout, lineage_tree
from sa_mlops.plots.style import Floats

NODES = [
    Node("1", "1"),
    Node("2", "2", "forgets 1"),
    Node("3", "3", "forgets 7"),
    Node("4", "4", marked=True),
]
EDGES = [Edge("1", "2"), Edge("1", "3"), Edge("3", "4")]


class TestLayout:
    def test_a_generation_is_a_column_and_a_leaf_a_row(self) -> None:
        assert layout(NODES, EDGES) == {
            "1": Place(0, 0),
            "2": Place(1, 0),
            "3": Place(1, 1),
            "4": Place(2, 1),
        }

    def test_no_two_nodes_share_a_place(self) -> None:
        nodes = [Node(str(i), str(i)) for i in range(15)]
        edges = [Edge(str((i - 1) // 2), str(i)) for i in range(1, 15)]
        assert len(set(layout(nodes, edges).values())) == 15

    def test_separate_trees_do_not_overlap(self) -> None:
        assert layout([Node("a", ""), Node("b", "")], []) == {"a": Place(0, 0), "b": Place(0, 1)}

    def test_nothing_has_no_places(self) -> None:
        assert layout([], []) == {}

    def test_a_chain_longer_than_the_stack_is_laid_out(self) -> None:
        nodes = [Node(str(i), "") for i in range(5000)]
        edges = [Edge(str(i), str(i + 1)) for i in range(4999)]
        assert layout(nodes, edges)["4999"] == Place(4999, 0)

    @pytest.mark.parametrize(
        ("edges", "reason"),
        [
            ([Edge("1", "9")], "unknown node"),
            ([Edge("9", "1")], "unknown node"),
            ([Edge("1", "2"), Edge("3", "2")], "two parents"),
            ([Edge("1", "2"), Edge("2", "1")], "ring"),
            ([Edge("1", "1")], "ring"),
        ],
        ids=["unknown child", "unknown parent", "two parents", "ring", "its own parent"],
    )
    def test_a_graph_that_is_no_tree_is_refused(self, edges: list[Edge], reason: str) -> None:
        with pytest.raises(ValueError, match=reason):
            layout(NODES, edges)


class TestTree:
    def test_it_is_drawn(self, render: Callable[[Figure], Floats]) -> None:
        assert len(np.unique(render(lineage_tree(NODES, EDGES, title="Versions")))) > 20

    def test_every_version_is_named(self) -> None:
        texts = [t.get_text() for t in lineage_tree(NODES, EDGES, title="").axes[0].texts]
        assert texts == ["1", "2\nforgets 1", "3\nforgets 7", "4"]

    def test_every_edge_is_drawn(self) -> None:
        assert len(lineage_tree(NODES, EDGES, title="").axes[0].lines) == len(EDGES)

    def test_formulas_in_a_label_are_text(self, render: Callable[[Figure], Floats]) -> None:
        assert render(lineage_tree([Node("1", "run $\\frac{1$", "$x")], [], title="")).size

    def test_a_tree_of_nothing_is_an_empty_picture(self, render: Callable[[Figure], Floats]) -> None:
        assert render(lineage_tree([], [], title="No versions yet")).size
