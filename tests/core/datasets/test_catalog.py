from core.datasets.catalog import ENTRIES
from core.spec.catalog import KINDS, kind_of


def test_every_data_set_of_a_spec_has_an_entry() -> None:
    assert set(ENTRIES) == {kind_of(member) for member in KINDS["dataset"]}
    assert all(kind == entry.kind for kind, entry in ENTRIES.items())


def test_an_entry_that_is_not_built_in_can_be_prepared() -> None:
    for entry in ENTRIES.values():
        if not entry.built_in:
            assert entry.keys
            assert len(entry.content) == 64
            assert 1 <= entry.required <= len(entry.originals)
