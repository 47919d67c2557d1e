import pytest

from core.vault.port import VaultError, checked_name


def test_codes_are_unique_and_every_error_says_who_has_to_act() -> None:
    kinds = VaultError.__subclasses__()

    assert len({kind.code for kind in kinds}) == len(kinds) == 5
    assert {kind.whose for kind in kinds} == {"operator", "system"}


def test_an_error_reads_as_what_was_found_and_what_to_do() -> None:
    error = VaultError.__subclasses__()[0]("It is gone.", "Bring it back.")

    assert str(error) == "It is gone. Bring it back."
    assert (error.detail, error.advice) == ("It is gone.", "Bring it back.")


@pytest.mark.parametrize("name", ["a", "signing-key", "a.b_c-9", "0", "a" * 64])
def test_names_that_every_vault_can_keep(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "-a", "a/b", "a b", "a\n", "\u00e9", "a" * 65])
def test_names_that_some_vault_could_not_keep(name: str) -> None:
    with pytest.raises(ValueError, match="not a vault name"):
        checked_name(name)
