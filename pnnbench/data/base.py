"""What a data set is: a name, the shape of its inputs, its classes, and how it is read."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pnnbench.errors import UserError, kind_word, own_code

if TYPE_CHECKING:
    from pnnbench.data.arrays import Arrays


_UNSTATED = object()


class _Read:
    """Attribute that is read from the arrays unless a class says it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: DataSet | None, owner: type) -> Any:
        return self if instance is None else getattr(instance.arrays(), self.name)


class DataSet:
    """A data set that workloads may be trained and measured on.

    A subclass has a `load`. It states ``input_shape`` and ``n_classes`` as class attributes where
    they are known, so that nothing is read to build a network; else they are taken from the arrays.
    One object is made of a class in each process: `resolve_data` gives the same one again.

    Attributes:
        name: Name of the set, shown on boards; that of the class unless it is stated.
        input_shape: Shape of one input, such as (1, 28, 28).
        n_classes: Number of classes, at least 2; None for real-valued targets.
        balanced: Whether the classes count as equally frequent, so that guessing reaches
            1 / ``n_classes``; if not, it is the share of the most frequent one.
        mixed: Whether `load` gives each part in an order of which any head or tail is a fair
            sample, so that it stays; if not, `read` mixes the parts, always in the same way.
        ordered: Whether the parts keep the order of their publishers although it is none; of a
            part of the tests a sample is taken then, see `Arrays.some_tests`.
        copies: Whether copies of other contents go by its name, such as one coded with loss; the
            records of one are not wrong where another is at hand.
        takes: What stands behind the name and a colon, such as ``PATH``; nothing for most sets.
        argument: What stands there, the one argument of the class.
    """

    name: str = ""
    input_shape: tuple[int, ...] = cast(Any, _Read())
    n_classes: int | None = cast(Any, _Read())
    balanced: ClassVar[bool] = False
    mixed: bool = False
    ordered: ClassVar[bool] = False
    copies: bool = False
    takes: ClassVar[str] = ""
    argument: str = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in vars(cls) and not cls.name:
            cls.name = cls.__name__

    def load(self, root: str | Path | None = None, download: bool = False) -> Arrays:
        """Reads the set.

        Args:
            root: Data folder, for sets that need files; None for the default place.
            download: Whether missing files may be downloaded.

        Returns:
            The set, with its fingerprint.

        Raises:
            UserError: If files are missing, damaged or cannot be downloaded.
        """
        raise NotImplementedError

    def fetch(self, root: str | Path | None = None) -> Path | None:
        """Downloads the set's files if they are not there, and checks every one.

        Args:
            root: Data folder; None for the default place.

        Returns:
            The data folder; None for a set that needs no files, as here.
        """
        return None

    def source(self) -> type:
        """The class whose code decides the contents, for the digest of a job's sources."""
        return type(self)

    def maker(self) -> type:
        """The class that `pnnbench.data.resolve_data` makes the set of; here that of `source`."""
        return self.source()

    def arrays(self, root: str | Path | None = None) -> Arrays:
        """What `read` gives, once for each data folder.

        Args:
            root: Data folder. None takes what was read already, whatever the folder, else the
                default place.
        """
        kept: dict[str | None, Arrays] = self.__dict__.setdefault("_kept", {})
        key = None if root is None else str(root)
        if key is None and kept:
            return next(reversed(kept.values()))
        if key not in kept:
            kept[key] = self.read(root)
        return kept[key]

    def read(self, root: str | Path | None = None, download: bool = False) -> Arrays:
        """Calls `load`, and mixes the items of each part if they are not.

        Args:
            root: As for `load`.
            download: As for `load`.

        Returns:
            The set, with its fingerprint.

        Raises:
            UserError: As `load`, or if it fails in another way; it says what went wrong.
        """
        from pnnbench.data.arrays import Arrays

        try:
            inspect.signature(self.load).bind(root, download)
        except TypeError:
            raise UserError(
                f"load of the data set {self.name!r} takes {inspect.signature(self.load)}",
                allowed="load takes (root, download)",
                next_step="def load(self, root=None, download=False):",
            ) from None
        advice = "mend the data set, or the files that it reads"
        with own_code(f"data {self.name!r} cannot be read", advice):
            found = self.load(root, download)
        if not isinstance(found, Arrays):
            raise UserError(
                f"load() of the data set {self.name!r} gives {kind_word(found)}",
                allowed="pnnbench.data.Arrays",
            )
        for name in ("input_shape", "n_classes"):
            stated, loaded = self._stated(name), getattr(found, name)
            if stated is not _UNSTATED and stated != loaded:
                raise UserError(
                    f"the data set {self.name!r} states {name} = {stated!r}, and loads {loaded!r}",
                    next_step=f"state {name} = {loaded!r}, or leave it away: it is read then",
                )
        return found if self.mixed or self.ordered else found.mixed()

    def _stated(self, name: str) -> Any:
        """What the class or the object states of an attribute; `_UNSTATED` where it is read."""
        found = inspect.getattr_static(self, name)
        if isinstance(found, (_Read, property)) or hasattr(type(found), "__get__"):
            return _UNSTATED
        return tuple(found) if isinstance(found, (list, tuple)) else found

    def originals(self, root: str | Path | None = None) -> Arrays:
        """The arrays of which some may be in training and in the tests; here those of `arrays`.

        Args:
            root: As for `arrays`.
        """
        return self.arrays(root)

    def constant_score(self) -> float:
        """What one answer for all inputs reaches, learnt from the training targets.

        Returns:
            For classes the share of the test targets that are of the most frequent training class;
            for real values the mean square of the test targets around the training mean.
        """
        from pnnbench.data.guessing import error_of_mean

        found = self.arrays()
        train, test = found.train_targets, found.test_targets
        if found.n_classes is None:
            return error_of_mean(train, test)
        return float((test == train.bincount().argmax()).double().mean())
