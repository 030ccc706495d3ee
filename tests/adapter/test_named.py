"""Several adapters of one model: which one it computes with, swaps in place, threads, copies, and every way back."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lieref
from lieref.adapter.folder import encode_adapter
from lieref.errors import BusyError, DomainError, DTypeError, LierefError, UnsupportedError, VerificationError
from lieref.model.head import NewHead
from lieref.model.identity import tensors_digest
from lieref.train.loss import CrossEntropy
from tests.model.nets import residual_net, saved

pytestmark = pytest.mark.filterwarnings("ignore::lieref.errors.LierefWarning")

X = np.random.default_rng(3).standard_normal((12, 3, 9, 8)).astype(np.float32)
Y = np.arange(12) % 5


def moved(model: lieref.Model, by: float) -> lieref.Model:
    for parameter in model.parameters().values():
        parameter += by
    return model


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(saved(residual_net(), tmp_path_factory.mktemp("net")))


@pytest.fixture(scope="module")
def folders(net: Path) -> dict[str, Path]:
    """Adapters of three kinds: two of one structure, one on other tensors, one with statistics, one with a head."""
    made = {
        "a": lieref.load(net).attach("liera", r=2, target_modules=["stem", "point"], seed=1),
        "b": lieref.load(net).attach("liera", r=2, target_modules=["stem", "point"], seed=2),
        "c": lieref.load(net).attach("lora", r=1, target_modules=["head"]),
        "s": lieref.load(net).attach("norm-stats").attach("bias"),
        "h": lieref.load(net).attach("lora", r=1, head=NewHead(["x", "y", "z"])),
    }
    made["s"].estimate_statistics(X + 1)
    for number, (name, model) in enumerate(made.items()):
        moved(model, 0.05 * (number + 1)).save_adapter(net.parent / name)
    return {name: net.parent / name for name in made}


def alone(net: Path, folder: Path) -> np.ndarray:
    return lieref.load(net).load_adapter(folder).predict(X)


@pytest.fixture
def model(net: Path, folders: dict[str, Path]) -> lieref.Model:
    model = lieref.load(net)
    for name, folder in folders.items():
        model.load_adapter(folder, name)
    return model


def test_each_is_what_it_is_alone_whatever_was_active_before(
    net: Path, folders: dict[str, Path], model: lieref.Model
) -> None:
    base, wanted = lieref.load(net).predict(X), {name: alone(net, folder) for name, folder in folders.items()}
    assert model.adapters == ("a", "b", "c", "s", "h")
    assert model.active_adapters == ["a"], "the first that comes"
    order = ["a", "b", "h", "s", "c", "a", "h", "c", "s", "b"]
    for name in order:
        assert model.set_adapter(name).active_adapters == [name]
        assert np.array_equal(model.predict(X), wanted[name]), name
        with model.disable_adapter() as same:
            assert same is model
            assert model.active_adapters == []
            assert np.array_equal(model.predict(X), base)
        assert np.array_equal(model.predict(X), wanted[name]), name
        assert encode_adapter(*model.adapter_state()) == encode_adapter(
            *lieref.load(net).load_adapter(folders[name]).adapter_state()
        )
    assert model.unload().adapters == ()
    assert np.array_equal(model.predict(X), base)


def test_names_of_the_outputs_come_and_go_with_the_adapter(net: Path, folders: dict[str, Path], tmp_path: Path) -> None:
    model = lieref.load(net)
    model.classes = ("p", "q", "r", "s", "t")
    named = lieref.load(net).load_adapter(folders["c"])
    named.classes = ("1", "2", "3", "4", "5")
    named.save_adapter(tmp_path / "c")
    for name, folder in {**folders, "c": tmp_path / "c"}.items():
        model.load_adapter(folder, name)
    for name, classes in (("c", "12345"), ("a", "pqrst"), ("h", "xyz"), ("c", "12345"), ("h", "xyz"), ("a", "pqrst")):
        assert model.set_adapter(name).classes == tuple(classes)
    model.set_adapter("h").delete_adapter("h")
    assert model.classes == tuple("pqrst")


def test_several_of_different_tensors_are_active_together(
    net: Path, folders: dict[str, Path], model: lieref.Model
) -> None:
    both = lieref.load(net).load_adapter(folders["a"])
    want = {t: v for f in ("a", "c") for t, v in lieref.load(net).load_adapter(folders[f]).adapted_tensors().items()}
    model.set_adapter(["a", "c"])
    found = model.adapted_tensors()
    assert found.keys() == want.keys()
    assert all(np.array_equal(found[name], value) for name, value in want.items())
    with pytest.raises(DomainError, match="one adapter must be active; got a, c"):
        model.attach("bias")
    moved(model, 0.25)
    grads = model.loss_and_grad(X, Y, CrossEntropy())[2]
    assert grads.keys() == {f"{t}:lora_{x}" for t in ("stem.weight", "point.weight", "head.weight") for x in "ab"}
    model.set_adapter("a")
    assert np.array_equal(model.predict(X), moved(both, 0.25).predict(X))
    assert list(model.parameters()) == list(both.parameters())
    model.delete_adapter("a").set_adapter("c")
    assert np.array_equal(model.predict(X), moved(lieref.load(net).load_adapter(folders["c"]), 0.25).predict(X))


def test_one_of_several_can_be_deleted(model: lieref.Model, net: Path, folders: dict[str, Path]) -> None:
    model.set_adapter(["a", "c"]).delete_adapter("a")
    assert model.active_adapters == ["c"]
    assert np.array_equal(model.predict(X), alone(net, folders["c"]))
    model.delete_adapter("c")
    assert model.active_adapters == []
    assert np.array_equal(model.predict(X), lieref.load(net).predict(X))
    with pytest.raises(DomainError, match="attach: an adapter must be active"):
        model.attach("bias")


def test_what_has_no_name_is_the_default(net: Path, folders: dict[str, Path]) -> None:
    model = moved(lieref.load(net).attach("scale"), 0.1)
    scaled = model.predict(X)
    assert model.active_adapters == ["default"]
    model.load_adapter(folders["a"], "a")
    assert np.array_equal(model.predict(X), scaled), "a later one is not active before it is asked for"
    model.set_adapter("a")
    assert np.array_equal(model.set_adapter("default").predict(X), scaled)
    model.load_adapter(folders["b"])
    assert (model.adapters, model.active_adapters) == (("default", "a"), ["default"])
    assert np.array_equal(model.predict(X), alone(net, folders["b"]))
    assert np.array_equal(model.set_adapter("a").predict(X), alone(net, folders["a"]))


def test_a_new_adapter_beside_a_trained_one(net: Path, folders: dict[str, Path]) -> None:
    model = lieref.load(net).load_adapter(folders["a"], "a")
    before = model.predict(X)
    assert model.add_adapter("new", "lora", r=1, seed=4).active_adapters == ["a"]
    assert np.array_equal(model.predict(X), before)
    model.set_adapter("new")
    assert np.array_equal(model.predict(X), lieref.load(net).predict(X))
    twin = lieref.load(net).attach("lora", r=1, seed=4)
    for one in (model, twin):
        lieref.fit(one, X, Y, epochs=1, batch_size=6, seed=0)
    assert np.array_equal(model.predict(X), twin.predict(X))
    assert np.array_equal(model.set_adapter("a").predict(X), before)
    model.add_adapter("other classes", "lora", r=1, head=NewHead(["u", "v"])).set_adapter("other classes")
    assert model.predict(X).shape == (12, 2)
    assert model.classes == ("u", "v")
    assert model.set_adapter("a").classes is None


@pytest.mark.parametrize("name", ["a", "c", "s", "h"])
def test_merged_weights_and_the_way_back(net: Path, folders: dict[str, Path], model: lieref.Model, name: str) -> None:
    want = lieref.load(net).load_adapter(folders[name]).merge_and_unload().predict(X)
    before, base = model.set_adapter(name).predict(X), tensors_digest(model.graph.initializers)
    state = encode_adapter(*model.adapter_state())
    for _ in range(3):
        model.merge_adapter()
        assert model.merged_adapters == [name]
        assert np.array_equal(model.predict(X), want)
        assert not model.parameters()
        with model.disable_adapter():
            assert np.array_equal(model.predict(X), lieref.load(net).predict(X))
        assert np.array_equal(model.predict(X), want)
        assert np.array_equal(model.unmerge_adapter().predict(X), before)
        assert model.merged_adapters == []
    assert encode_adapter(*model.adapter_state()) == state
    assert tensors_digest(model.graph.initializers) == base
    model.merge_adapter(["b"])
    want = lieref.load(net).load_adapter(folders["b"]).merge_and_unload().predict(X)
    assert np.array_equal(model.predict(X), want)
    assert np.array_equal(model.merge_and_unload().predict(X), want)
    assert model.adapters == ()


def test_a_base_that_was_written_into_is_found(model: lieref.Model) -> None:
    weight = model.merge_adapter().graph.initializers["stem.weight"]
    weight.flags.writeable = True
    weight[0] += 1
    with pytest.raises(VerificationError, match="unmerge_adapter: the base must be what it was"):
        model.unmerge_adapter()


MERGED: dict[str, Callable[[lieref.Model, Path], Any]] = {
    "fit": lambda model, folder: lieref.fit(model, X, Y, epochs=1),
    "attach": lambda model, folder: model.attach("bias"),
    "set_adapter": lambda model, folder: model.set_adapter("b"),
    "delete_adapter": lambda model, folder: model.delete_adapter("b"),
    "load_adapter": lambda model, folder: model.load_adapter(folder / "b"),
    "hotswap_adapter": lambda model, folder: model.hotswap_adapter(folder / "b", "a"),
    "add_adapter": lambda model, folder: model.add_adapter("n", "bias"),
    "save_adapter": lambda model, folder: model.save_adapter(folder / "n"),
    "merge_adapter": lambda model, folder: model.merge_adapter(),
    "save": lambda model, folder: model.save(folder / "n.onnx"),
    "add_weighted_adapter": lambda model, folder: model.add_weighted_adapter(["a", "b"], [1.0, 1.0], "n"),
}


@pytest.mark.parametrize("change", MERGED)
def test_what_is_merged_or_disabled_stays_as_it_is(
    net: Path, model: lieref.Model, folders: dict[str, Path], change: str
) -> None:
    before = model.predict(X)
    model.merge_adapter()
    with pytest.raises(DomainError, match="fit: `model` must have a method attached" if change == "fit" else "merge"):
        MERGED[change](model, net.parent)
    model.unmerge_adapter()
    if change != "save":
        words = "^fit: .*attached" if change == "fit" else rf"^{change}: .*inside disable_adapter"
        with model.disable_adapter(), pytest.raises(DomainError, match=words):
            MERGED[change](model, net.parent)
    assert model.active_adapters == ["a"]
    assert np.array_equal(model.predict(X), before)
    assert not (net.parent / "n").exists()
    assert not (net.parent / "n.onnx").exists()


def test_an_error_inside_leaves_the_adapter_active(model: lieref.Model) -> None:
    before = model.predict(X)
    with pytest.raises(ValueError, match="mine"), model.disable_adapter():
        raise ValueError("mine")
    assert np.array_equal(model.predict(X), before)
    with model.disable_adapter(), pytest.raises(DomainError, match="unload"):
        model.unload()
    assert np.array_equal(model.predict(X), before)


@pytest.mark.parametrize("active", ["a", "c", ["a", "c"]])
def test_numbers_are_swapped_in_place_and_nothing_is_compiled(
    net: Path, folders: dict[str, Path], model: lieref.Model, active: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.set_adapter(active)
    model.predict(X)
    model.loss_and_grad(X, Y, CrossEntropy())
    parameters, sites, want = model.parameters(), {**model.sites}, alone(net, folders["b"])

    def refused(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("compiled again")

    monkeypatch.setattr("lieref.model.backend.compile_graph", refused)
    model.hotswap_adapter(folders["b"], "a")
    assert model.sites == sites
    assert all(np.shares_memory(array, parameters[name]) for name, array in model.parameters().items())
    model.loss_and_grad(X, Y, CrossEntropy())
    if active == "a":
        assert np.array_equal(model.predict(X), want)
        model.set_adapter("b").loss_and_grad(X, Y, CrossEntropy())
    model.predict(X)
    assert np.array_equal(model.set_adapter("a").predict(X), model.set_adapter("b").predict(X))


def test_another_structure_is_swapped_in_and_said(net: Path, folders: dict[str, Path], model: lieref.Model) -> None:
    for name in ("c", "s", "h", "a"):
        with pytest.warns(
            lieref.errors.LierefWarning, match="^hotswap_adapter: a has other tensors, methods or shapes"
        ):
            model.hotswap_adapter(folders[name], "a")
        assert model.active_adapters == ["a"]
        assert np.array_equal(model.predict(X), alone(net, folders[name]))
    with pytest.raises(DomainError, match=r"among the adapters, a, b, c, s, h; got 'z'"):
        model.hotswap_adapter(folders["a"], "z")


def test_one_adapter_of_several(net: Path, folders: dict[str, Path], model: lieref.Model, tmp_path: Path) -> None:
    """Named or from folders; the order of the first acting first; it is trained further, saved, merged and swapped."""
    assert model.add_weighted_adapter(["a", "b"], [1.0, 1.0], "sum").active_adapters == ["a"]
    model.add_weighted_adapter(["a", "b"], [1.0, 1.0], "both", "product").set_adapter("both")
    adapted, base = model.adapted_tensors(), model.graph.initializers
    for tensor, value in adapted.items():
        factors = [lieref.load(net).load_adapter(folders[n]).adapted_tensors()[tensor] / base[tensor] for n in "ab"]
        np.testing.assert_allclose(value, base[tensor] * factors[0] * factors[1], rtol=1e-5)
    assert {name: f.shape for name, f in model.parameters().items()}["stem.weight:lora_a"][0] == 4
    both = model.predict(X)
    np.testing.assert_allclose(model.set_adapter("sum").predict(X), both, rtol=1e-5)
    other = lieref.load(net).add_weighted_adapter([folders["a"], folders["b"]], [1.0, 1.0], combination_type="product")
    assert (other.adapters, other.active_adapters) == (("default",), ["default"])
    assert np.array_equal(other.predict(X), both)
    other.save_adapter(tmp_path / "both")
    again = lieref.load(net).load_adapter(tmp_path / "both")
    assert np.array_equal(again.predict(X), both)
    lieref.fit(again, X, Y, epochs=1, batch_size=6, seed=0)
    assert not np.array_equal(again.predict(X), both)
    np.testing.assert_allclose(other.merge_and_unload().predict(X), both, rtol=1e-5, atol=1e-6)
    model.set_adapter("a").add_weighted_adapter(["a", "c"], [0.25, 0.75], "mean", "geodesic_mean").set_adapter("mean")
    quarter = {t: base[t] * np.exp(0.25 * np.log(v / base[t])) for t, v in
               lieref.load(net).load_adapter(folders["a"]).adapted_tensors().items()}  # fmt: skip
    for tensor, value in quarter.items():  # the identity counts where an adapter has nothing
        np.testing.assert_allclose(model.adapted_tensors()[tensor], value, rtol=1e-5)


@pytest.mark.parametrize("kind", ["product", "geodesic_mean", "exp_sum"])
def test_rotations_multiply_and_have_a_mean(net: Path, tmp_path: Path, kind: str) -> None:
    model = lieref.load(net).add_adapter("one", "so", r=1, target_modules=["stem", "point"], seed=1)
    model.add_adapter("two", "so", r=1, target_modules=["point", "head"], seed=2)
    for name in ("one", "two"):
        moved(model.set_adapter(name), 0.2)
    model.add_weighted_adapter(["one", "two"], [0.5, 0.5], "n", kind).set_adapter("n")
    assert set(model.sites) == {"stem.weight", "point.weight", "head.weight"}
    for tensor, value in model.adapted_tensors().items():
        before = model.graph.initializers[tensor]
        for now, then in ((value, before),):  # every singular value stays
            flat = (now.reshape(len(now), -1), then.reshape(len(then), -1))
            spectra = [np.linalg.svd(each, compute_uv=False) for each in flat]
            np.testing.assert_allclose(*spectra, rtol=1e-5)
    model.save_adapter(tmp_path / "n")
    assert np.array_equal(lieref.load(net).load_adapter(tmp_path / "n").predict(X), model.predict(X))


BAD: dict[str, tuple[type[LierefError], str, Callable[[lieref.Model, Path], Any]]] = {
    "taken": (DomainError, "must be a new name; got 'a'", lambda m, f: m.load_adapter(f / "b", "a")),
    "taken by the new": (DomainError, "must be a new name; got 'b'", lambda m, f: m.add_adapter("b", "bias")),
    "empty": (DomainError, "must be a new name; got ''", lambda m, f: m.add_adapter("", "bias")),
    "no text": (DTypeError, "must be text; got 3", lambda m, f: m.load_adapter(f / "b", 3)),
    "unknown": (DomainError, "among the adapters, a, b, c, s, h; got 'z'", lambda m, f: m.set_adapter("z")),
    "unknown number": (DTypeError, "must be text; got 3", lambda m, f: m.set_adapter([3])),
    "none": (DomainError, "one or more names", lambda m, f: m.set_adapter([])),
    "twice": (DomainError, "each once", lambda m, f: m.set_adapter(["a", "a"])),
    "deleted": (DomainError, "got 'z'", lambda m, f: m.delete_adapter("z")),
    "one tensor": (DomainError, r"a and b share stem\.weight", lambda m, f: m.set_adapter(["a", "b"])),
    "a head": (UnsupportedError, "h has one", lambda m, f: m.set_adapter(["a", "h"])),
    "not merged": (DomainError, "must be merged; none is", lambda m, f: m.unmerge_adapter()),
    "method": (DomainError, "unknown|must be", lambda m, f: m.add_adapter("n", "no-such-method")),
    "weighted name": (DomainError, "new name; got 'b'", lambda m, f: m.add_weighted_adapter(["a"], [1.0], "b")),
    "weighted part": (DomainError, "got 'z'", lambda m, f: m.add_weighted_adapter(["a", "z"], [1.0, 1.0], "n")),
    "weighted number": (DomainError, "`weights` must match", lambda m, f: m.add_weighted_adapter(["a"], [], "n")),
    "weighted head": (UnsupportedError, "no new head", lambda m, f: m.add_weighted_adapter(["a", "h"], [1, 1], "n")),
    "weighted mean": (UnsupportedError, "no stat", lambda m, f: m.add_weighted_adapter(["a", "s"], [1, 1], "n", "cat")),
    "weighted type": (DomainError, "combination_type", lambda m, f: m.add_weighted_adapter(["a"], [1], "n", "mean")),
    "weighted density": (
        DomainError,
        "`density` must come with a combination_type; got 0.5",
        lambda m, f: m.add_weighted_adapter(["a"], [1], "n", density=0.5),
    ),
    "weighted where": (
        DomainError,
        r"density.*ties.*\(for the tensor ",
        lambda m, f: m.add_weighted_adapter(["a", "b"], [1, 1], "n", "ties"),
    ),
    "weighted seed": (DomainError, "seed", lambda m, f: m.add_weighted_adapter(["a"], [1], "n", "cat", seed=-1)),
    "folder": (LierefError, "folder", lambda m, f: m.load_adapter(f / "absent", "n")),
    "swap": (LierefError, "folder", lambda m, f: m.hotswap_adapter(f / "absent", "a")),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused_changes_nothing(model: lieref.Model, net: Path, case: str) -> None:
    kind, words, call = BAD[case]
    before, state = model.predict(X), (model.adapters, model.active_adapters)
    with pytest.raises(kind, match=words):
        call(model, net.parent)
    assert (model.adapters, model.active_adapters) == state
    assert np.array_equal(model.predict(X), before)


def test_adapters_that_say_different_things_are_not_active_together(net: Path, folders: dict[str, Path]) -> None:
    model = lieref.load(net).load_adapter(folders["a"], "a")
    model.classes = ("p", "q", "r", "s", "t")
    model.load_adapter(folders["c"], "c").set_adapter("c").classes = ("1", "2", "3", "4", "5")
    with pytest.raises(UnsupportedError, match="must agree on their classes"):
        model.set_adapter(["a", "c"])


def test_merging_needs_something(net: Path) -> None:
    with pytest.raises(DomainError, match="merge_adapter: an adapter must be active; none is"):
        lieref.load(net).merge_adapter()


COPIES: dict[str, Callable[[lieref.Model], lieref.Model]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("merged", [False, True])
def test_copies_carry_all_of_them(
    net: Path, folders: dict[str, Path], model: lieref.Model, how: str, merged: bool
) -> None:
    want = {name: alone(net, folder) for name, folder in folders.items()}
    model.set_adapter("h")
    if merged:
        model.merge_adapter()
    twin = COPIES[how](model)
    assert (twin.adapters, twin.active_adapters) == (model.adapters, ["h"])
    assert np.array_equal(twin.predict(X), model.predict(X))
    if merged:
        twin.unmerge_adapter()
    for name, output in want.items():
        assert np.array_equal(twin.set_adapter(name).predict(X), output), name
        assert type(twin.parameters()) is type(lieref.load(net).load_adapter(folders[name]).parameters())
        moved(twin, 0.5)
    if merged:
        model.unmerge_adapter()
    for name, output in want.items():
        assert np.array_equal(model.set_adapter(name).predict(X), output), "its factors are its own"
    with model.disable_adapter():
        twin = COPIES[how](model)
    assert np.array_equal(twin.predict(X), lieref.load(net).predict(X))
    assert np.array_equal(twin.set_adapter("a").predict(X), want["a"])


def test_other_threads_see_one_adapter_or_the_other(net: Path, folders: dict[str, Path], model: lieref.Model) -> None:
    """Ways to change, one after the other, while three threads predict; every answer is one of the whole adapters'."""
    known = [alone(net, folders[name])[:3] for name in ("a", "b", "c", "s")] + [lieref.load(net).predict(X[:3])]
    known.append(lieref.load(net).load_adapter(folders["a"]).merge_and_unload().predict(X[:3]))
    stop = threading.Event()

    def caller() -> int:
        wrong = 0
        while not stop.is_set():
            found = model.predict(X[:3])
            wrong += not any(np.array_equal(found, each) for each in known)
        return wrong

    with ThreadPoolExecutor(3) as pool:
        found = [pool.submit(caller) for _ in range(3)]
        try:
            for _ in range(12):
                model.set_adapter("b").set_adapter("s").set_adapter("a")
                model.hotswap_adapter(folders["b"], "a").hotswap_adapter(folders["c"], "a")
                model.hotswap_adapter(folders["a"], "a").merge_adapter().unmerge_adapter()
                with model.disable_adapter():
                    model.predict(X[:3])
        finally:
            stop.set()
        assert [future.result() for future in found] == [0, 0, 0]


@pytest.mark.parametrize("change", [name for name in MERGED if name not in ("save", "fit")])
def test_one_thread_at_a_time_changes(model: lieref.Model, net: Path, change: str) -> None:
    with model.disable_adapter(), ThreadPoolExecutor(1) as pool:
        with pytest.raises(BusyError, match="another thread is in disable_adapter"):
            pool.submit(MERGED[change], model, net.parent).result()
