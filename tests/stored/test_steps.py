"""What the decorator of a step does for every step, shown by toy steps; and the session's settings."""

from __future__ import annotations

import inspect
import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from anndata import AnnData
from tests.helpers import assert_unchanged

import lava_sc as lava
from lava_sc.stored import fields as fields_module
from lava_sc.stored.registry import STEPS, Step
from lava_sc.stored.steps import Result, column_step, step

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AnnData | None]:
    """A step ``toy`` with one field, which keeps what its function was called with in ``calls``."""
    monkeypatch.setitem(STEPS, "toy", Step("toy", builds_on=None, fields={"total": "uns"}))  # type: ignore[arg-type]
    monkeypatch.setitem(STEPS, "later", Step("later", builds_on="toy", fields={"double": "uns"}))  # type: ignore[arg-type]
    monkeypatch.setitem(fields_module._STEP_OF, "total", "toy")
    monkeypatch.setitem(fields_module._STEP_OF, "double", "later")
    calls: list[dict[str, Any]] = []

    @step("toy")  # type: ignore[arg-type]
    def toy(
        adata: AnnData,
        scale: float = 1.0,
        *,
        size: int | None = None,
        names: Any = None,
        rng: Any = 0,
        n_jobs: int | None = None,
        key_added: str = "lava",
        copy: bool = False,
    ) -> Result:
        """Add up.

        Parameters
        ----------
        adata
            Data.
        scale, size, names
            Whatever.
        rng
        n_jobs
        key_added
        copy
        """
        calls.append({"adata": adata, "n_jobs": n_jobs, "rng": rng})
        if scale < 0:
            msg = "below 0"
            raise ValueError(msg)
        return Result({"total": scale * float(adata.X.sum())}, {"size": 7})

    toy.calls = calls  # type: ignore[attr-defined]
    return toy


def data() -> AnnData:
    return AnnData(np.ones((3, 2), dtype=np.float32))


def test_fields_and_all_arguments_are_stored(toy: Any) -> None:
    adata = data()
    assert toy(adata, 2.0, names=["a", "b"], rng=5, n_jobs=1) is None
    assert adata.uns["lava"]["total"] == 12
    params = adata.uns["lava"]["params"]["toy"]
    np.testing.assert_array_equal(params.pop("names"), ["a", "b"])
    assert params == {"scale": 2.0, "size": 7, "rng": 5}  # what was chosen in place of None; not where and how


def test_a_generator_is_kept_as_its_state_before_the_step(toy: Any) -> None:
    adata, rng = data(), np.random.default_rng(3)
    rng.random(4)
    toy(adata, rng=rng)
    again = np.random.default_rng()
    again.bit_generator.state = json.loads(adata.uns["lava"]["params"]["toy"]["rng"])
    assert again.random() == rng.random()


def test_a_copy_is_changed_and_given_back(toy: Any) -> None:
    adata = data()
    before = adata.copy()
    changed = toy(adata, copy=True)
    assert changed.uns["lava"]["total"] == 6
    assert_unchanged(adata, before)
    assert toy.calls[0]["adata"] is adata  # computed before anything is copied


def test_an_error_leaves_the_object_as_it_was(toy: Any) -> None:
    adata = data()
    toy(adata)
    before = adata.copy()
    with pytest.raises(ValueError, match="below 0"):
        toy(adata, -1.0)
    assert_unchanged(adata, before)


def test_what_builds_on_it_is_dropped(toy: Any) -> None:
    adata = data()
    toy(adata)
    fields_module.store(adata, "lava", "later", {"double": 12.0}, {})  # type: ignore[arg-type,dict-item]
    toy(adata, 3.0)
    assert "double" not in adata.uns["lava"]
    assert adata.uns["lava"]["total"] == 18


@pytest.mark.parametrize(
    ("first", "options", "error", "message"),
    [
        (None, {}, TypeError, "Found NoneType as first argument"),
        ("data", {"n_jobs": 0}, ValueError, "Found n_jobs=0"),
        ("data", {"key_added": "a/b"}, ValueError, "Found key 'a/b'"),
        ("data", {"unknown": 1}, TypeError, "unexpected keyword argument 'unknown'"),
    ],
)
def test_what_every_step_refuses_before_it_computes(
    toy: Any, first: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        toy(data() if first else None, **options)
    assert not toy.calls


def test_threads_of_the_settings_unless_told_otherwise(toy: Any) -> None:
    with lava.settings.override(n_jobs=3):
        toy(data())
        toy(data(), n_jobs=2)
    toy(data())
    assert [call["n_jobs"] for call in toy.calls] == [3, 2, None]


def test_help_shows_the_public_signature_and_every_parameter_described(toy: Any) -> None:
    signature = inspect.signature(toy)
    assert signature.return_annotation == "AnnData | None"
    assert list(signature.parameters)[-2:] == ["key_added", "copy"]
    assert "Number of threads" in toy.__doc__
    assert "Return a changed copy" in toy.__doc__


def test_a_column_is_written_to_an_object_of_its_own() -> None:
    @column_step("obs")
    def count(adata: AnnData, *, key_added: str = "n", copy: bool = False) -> Any:
        """Count."""
        return np.arange(adata.n_obs)

    whole = data()
    whole.uns["n"] = "a note that has the name of the column"
    view = whole[:2]
    count(view)
    assert view.obs["n"].tolist() == [0, 1]
    assert "n" not in whole.obs


def test_a_parameter_without_any_description_is_an_error() -> None:
    from lava_sc._docs import document_parameters

    def function(strange: int) -> None:
        """Do.

        Parameters
        ----------
        strange
        """

    with pytest.raises(KeyError, match="strange"):
        document_parameters(function)


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_jobs", 0), ("n_jobs", True), ("device", "tpu"), ("progress", 1), ("verbosity", 9), ("client", 3)],
)
def test_settings_refuse_what_they_cannot_be(name: str, value: object) -> None:
    before = repr(lava.settings)
    with pytest.raises(ValueError, match=rf"^Found settings\.{name}={value!r}, expected .*; change it\.$"):
        setattr(lava.settings, name, value)
    assert repr(lava.settings) == before


def test_no_other_settings() -> None:
    with pytest.raises(AttributeError, match=r"^Found setting 'njobs', expected one of n_jobs, "):
        lava.settings.njobs = 3  # type: ignore[attr-defined]


def test_overridden_settings_come_back_after_an_error() -> None:
    def fail() -> None:
        with lava.settings.override(n_jobs=2, verbosity=4):
            assert (lava.settings.n_jobs, lava.settings.verbosity) == (2, "debug")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (lava.settings.n_jobs, lava.settings.verbosity) == (None, "warning")


def test_warnings_of_the_log_are_seen_and_information_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Without any logging that is set up, as in a notebook or script."""
    root, logger = logging.getLogger(), logging.getLogger("lava_sc.of.a.test")
    handlers, root.handlers = root.handlers, []
    try:
        logger.warning("seen")
        logger.info("not seen")
        with lava.settings.override(verbosity="info"):
            logger.info("seen as well")
        with lava.settings.override(verbosity="error"):
            logger.warning("not seen either")
        root.addHandler(logging.NullHandler())
        logger.warning("left to the handlers of the program")
    finally:
        root.handlers = handlers
    assert capsys.readouterr().err.splitlines() == ["seen", "seen as well"]
