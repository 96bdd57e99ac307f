"""Stand-ins for the official provider plugins, attached to the engine over gRPC.

``aws`` records what it is asked for and synthesises the outputs; ``kubernetes`` applies every object to the API
server of the rehearsal, waits until it is ready and deletes it again. To the engine they are plugins.

What does not live here: the API server (``rehearsal.control_plane``).
"""
