"""A provider for terraform that makes nothing: it knows the arguments of terraform-schema.json, takes everything that
fits them, and keeps what it was asked to make. It speaks Terraform's plugin protocol, version 5."""

import json
import os
import threading
from concurrent import futures

import grpc
import msgpack

UNKNOWN = msgpack.ExtType(0, b"\x00")
SET, LIST = 3, 2


def number(value):
    """A number as protocol buffers write it."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(tag, value):
    if isinstance(value, int):
        return number(tag << 3) + number(value) if value else b""
    value = value.encode() if isinstance(value, str) else value
    return number(tag << 3 | 2) + number(len(value)) + value


def fields(data):
    """The last value of each field of a message."""
    found, at = {}, 0

    def read():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = read()
        value = read()
        if key & 7 == 2:
            at += value
            value = data[at - value : at]
        found[key >> 3] = value
    return found


def block(schema, top=False):
    """The message Schema.Block."""
    out = b""
    for name, known in schema.items():
        is_required, is_computed = known.get("required", False), known.get("computed", False)
        if "block" in known and not is_computed:
            out += field(3, field(1, name) + field(2, block(known["block"])) + field(3, SET if known.get("set") else LIST)
                         + field(4, int(is_required)) + field(5, known.get("most", 0)))
        else:
            out += field(2, field(1, name) + field(2, json.dumps(kind(known))) + field(4, int(is_required))
                         + field(5, int(not is_required and not is_computed)) + field(6, int(may_be_unknown(known))) + field(10, int(known.get("write_only", False))))
    if top and "id" not in schema:
        out += field(2, field(1, "id") + field(2, '"string"') + field(5, 1) + field(6, 1))
    return out


def kind(known):
    if "block" in known:
        return ["set" if known.get("set") else "list", ["object", {name: kind(inner) for name, inner in known["block"].items()}]]
    return known.get("type", "string")


def may_be_unknown(known):
    return bool(known.get("computed") or known.get("else") == "computed")


def value_in(message):
    """What a DynamicValue holds."""
    found = fields(message)
    return msgpack.unpackb(found[1], strict_map_key=False) if 1 in found else json.loads(found.get(2, b"null"))


def holding(value):
    return field(1, msgpack.packb(value))


class Provider:
    """Serves on loopback until the process ends."""

    def __init__(self, schema):
        self.schema, self.made, self.lock = schema, {}, threading.Lock()
        calls = {"GetSchema": self.get_schema, "PrepareProviderConfig": lambda call: field(1, call.get(1, b"")),
                 "ValidateResourceTypeConfig": lambda call: b"", "Configure": lambda call: b"", "GetResourceIdentitySchemas": lambda call: b"",
                 "UpgradeResourceState": lambda call: field(1, field(2, fields(call[3]).get(1, b"null"))),
                 "ReadResource": lambda call: field(1, call[2]), "PlanResourceChange": self.plan, "ApplyResourceChange": self.apply, "Stop": lambda call: b""}
        handlers = {name: grpc.unary_unary_rpc_method_handler(lambda data, _, answer=answer: answer(fields(data))) for name, answer in calls.items()}
        self.server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[grpc.method_handlers_generic_handler("tfplugin5.Provider", handlers)])
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def attached(self):
        """For TF_REATTACH_PROVIDERS."""
        where = {"Protocol": "grpc", "ProtocolVersion": 5, "Pid": os.getpid(), "Test": True, "Addr": {"Network": "tcp", "String": f"127.0.0.1:{self.port}"}}
        return json.dumps({"hashicorp/google": where})

    def get_schema(self, _):
        whole = lambda schema: field(2, block(schema, top=True))
        return field(1, field(2, b"")) + b"".join(field(2, field(1, name) + field(2, whole(schema))) for name, schema in self.schema.items())

    def attributes(self, resource):
        return {**{"id": {"else": "computed"}}, **self.schema[resource]}.items()

    def plan(self, call):
        new = value_in(call[3])
        for name, known in self.attributes(call[1].decode()) if new is not None else []:
            if known.get("write_only"):
                new[name] = None
            elif may_be_unknown(known) and new.get(name) is None:
                new[name] = UNKNOWN
        return field(1, holding(new)) + field(5, 1)

    def apply(self, call):
        resource, new = call[1].decode(), value_in(call[3])
        for name, known in self.attributes(resource) if new is not None else []:
            if isinstance(new.get(name), msgpack.ExtType):
                new[name] = self.made_up(resource, name, kind(known), new)
        if new is not None:
            with self.lock:
                self.made.setdefault(resource, []).append(new)
        return field(1, holding(new)) + field(4, 1)

    @staticmethod
    def made_up(resource, name, what, new):
        if isinstance(what, list):
            return {} if what[0] == "map" else []
        if what != "string":
            return False if what == "bool" else 0
        if name == "member":
            return f"serviceAccount:{new['account_id']}@test-project-1.iam.gserviceaccount.com"
        return f"{resource}/{new['role_id']}" if "role_id" in new else f"{resource}/{name}"
