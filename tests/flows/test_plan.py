from flows.plan import plan
from flows.repro import parse_graph


def test_a_data_set_with_a_variants_name_is_none_of_the_variants_own() -> None:
    graph = {
        "download@streets": (),
        "shard@streets": ("download@streets",),
        "train@streets": ("shard@streets",),
        "evaluate@streets": ("shard@streets", "train@streets"),
        "anchors@streets": ("shard@streets",),
        "gate@streets": ("evaluate@streets",),
        "report": ("evaluate@streets", "anchors@streets"),
        "register": ("gate@streets", "report"),
    }
    split = plan(graph)
    assert split.before == ("download@streets", "shard@streets", "anchors@streets")
    assert split.variants == {"streets": ("train@streets", "evaluate@streets", "gate@streets")}
    assert split.after == ("report", "register")


def test_a_variant_that_needs_another_variant_runs_after_it() -> None:
    graph = {
        "train@a": (),
        "train@b": ("train@a",),
        "evaluate@a": ("train@a",),
        "evaluate@b": ("train@b",),
    }
    split = plan(graph)
    assert split.variants == {"a": ("train@a", "evaluate@a")}
    assert split.after == ("train@b", "evaluate@b")


def test_every_target_is_in_exactly_one_part() -> None:
    graph = {"s": (), "train@a": ("s",), "compare@a": ("train@a", "train@b"), "train@b": ("s",), "all": ("train@a",)}
    graph = {name: graph[name] for name in ("s", "train@a", "train@b", "compare@a", "all")}
    split = plan(graph)
    parts = [*split.before, *(target for targets in split.variants.values() for target in targets), *split.after]
    assert sorted(parts) == sorted(graph)
    assert split.after == ("compare@a", "all")


def test_the_graph_is_read_in_an_order_in_which_dependencies_come_first() -> None:
    lines = ["strict digraph {", '"c";', '"b";', '"a";', '"a" -> "b";', '"b" -> "c";', "}"]
    graph = parse_graph(lines)
    assert list(graph) == ["a", "b", "c"]
    assert graph["c"] == ("b",)
