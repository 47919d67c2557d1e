from pathlib import Path

import pytest

from core.vault.choose import open_vault
from core.vault.keyfile_vault import KeyfileVault


def test_a_file_is_named_by_its_path(tmp_path: Path) -> None:
    vault = open_vault(f"file:{tmp_path}/node.vault.json", "merchant")

    assert isinstance(vault, KeyfileVault)
    vault.put("key", b"secret")
    assert (tmp_path / "node.vault.json").exists()


@pytest.mark.parametrize("spec", ["", "Keyring", "file:", "file:relative.json", "/path", "env:X"])
def test_any_other_word_is_refused(spec: str) -> None:
    with pytest.raises(ValueError, match=r"file"):
        open_vault(spec, "merchant")
