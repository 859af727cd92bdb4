"""iNatSounds for ``datasets`` 3, which still runs loading scripts; ``datasets`` 4 and later use the package itself.

load_dataset("loading_script/inatsounds.py", "aves", streaming=True, trust_remote_code=True, source="path/to/archives")
"""

# datasets 3 reads these lines one by one: one module a line, nothing in brackets
import hf_inatsounds.archives.fetch
import hf_inatsounds.data.builder
import hf_inatsounds.data.prepared
import hf_inatsounds.schema

_NAMES = ("all", *hf_inatsounds.schema.SUPERCATEGORIES, "evaluation", "annotations")


class INatSoundsScript(hf_inatsounds.data.builder.INatSounds):
    """The package's builder with the names that ``datasets`` wants to know beforehand.

    Args:
        source: "official", a folder with the archives or the unpacked tree, or a base URL.
        splits: the splits to make; None for all that the source has.
    """

    BUILDER_CONFIGS = [hf_inatsounds.data.builder.INatSoundsConfig(name=name) for name in _NAMES]  # noqa: RUF012
    DEFAULT_CONFIG_NAME = "all"

    def __init__(self, *args, source="official", **kwargs):
        found = hf_inatsounds.archives.fetch.Source.parse(source)
        splits = kwargs.get("splits") or hf_inatsounds.data.builder.all_splits(found)
        # the state is part of the cache's name: a source that changed is read again
        state = hf_inatsounds.data.prepared.prepared_state(found, splits)
        super().__init__(*args, source=found.root, state=state, **kwargs)
