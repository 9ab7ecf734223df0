"""The checks of annotations on which all other tests rely: on in the first calls of a function, in every test anew."""

import pytest
import shape_checks
import torch
from jaxtyping import Float, TypeCheckError, jaxtyped
from shape_checks import CALLS
from torch import Tensor

from lightning_pz.autoencoder.error_sums import ErrorSums

checked = jaxtyped(typechecker=shape_checks.check)
Pair = Float[Tensor, "2"]


@checked
def plain(pair: Pair) -> Pair:
    return pair.repeat(len(pair) // 2 or 1)


class Kinds:
    @torch.no_grad()
    @checked
    def method(self, pair: Pair) -> None: ...

    @classmethod
    @checked
    def of_class(cls, pair: Pair) -> None: ...

    @staticmethod
    @checked
    def static(pair: Pair) -> None: ...


FUNCTIONS = [plain, Kinds().method, Kinds.of_class, Kinds.static]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_first_calls_of_a_test_are_checked_and_no_more(function):
    for _ in range(CALLS - 1):
        function(torch.zeros(2))
    with pytest.raises(TypeCheckError):
        function(torch.zeros(3))
    for _ in range(2):
        function(torch.zeros(2))
    function(torch.zeros(3))
    shape_checks.begin()
    with pytest.raises(TypeCheckError):
        function(torch.zeros(3))


def test_what_is_returned_is_checked():
    with pytest.raises(TypeCheckError, match="return value"):

        @checked
        def longer(pair: Pair) -> Pair:
            return pair.repeat(2)

        longer(torch.zeros(2))


def test_the_package_is_checked():
    with pytest.raises(TypeCheckError):
        ErrorSums().add_policies(torch.zeros(2, 3), torch.zeros(4))
