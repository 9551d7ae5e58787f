"""Node's server of Socket.IO, with the operations of `socket_io_conformance abuse`."""

from example_server import ExampleServer


class NodeServer(ExampleServer):
    """`with NodeServer(path of node_server.mjs, ADAPTER, REDIS) as server`: reports its address as the examples do."""

    def __init__(self, script, *arguments):
        super().__init__(script)
        self.command = ["node", str(script), *arguments]
