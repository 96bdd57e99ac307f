"""The recording engine: run a component or a program, then assert exactly what it asked for.

    def test_the_bucket_is_private(engine):
        recording = engine.run(lambda: ModelStore("store", ModelStoreArgs(...)))
        assert recording.one("aws:s3/bucket:Bucket").props["..."] == ...

``recording.resources`` are sorted by URN; each has ``type``, ``name``, ``props`` (inputs, camelCase), ``outputs``,
``parent``, ``dependencies``, ``property_dependencies``, ``protect``, ``ignore_changes``, ``deleted_with``,
``secret_keys`` and more; ``recording.component_outputs`` is URN -> registered outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from infra.recording import Recording, record


class Engine:
    """Runs code under the SDK's mocks with synthesised outputs; every run is fresh."""

    def run(
        self, build: Callable[[], object], *, preview: bool = False, config: Mapping[str, str] | None = None
    ) -> Recording:
        """Run ``build`` inside a stack named ``test`` and return what was registered."""

        def program() -> None:
            build()

        return record(program, preview=preview, config=config)
