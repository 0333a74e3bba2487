# SPDX-License-Identifier: Apache-2.0
"""The graphql dialect, against a server whose documents are read, judged and carried out by a real GraphQL library."""
import json
import os
import subprocess

import pytest
import graphql
from graphql import (GraphQLArgument, GraphQLField, GraphQLID, GraphQLInt, GraphQLList, GraphQLNonNull, GraphQLObjectType,
                     GraphQLSchema, GraphQLString)

from harness.gateway import JITNEY, PATIENT, TOP

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the library's own

CALLS = 60
USER = """query Who($id: ID!, $n: Int = 2) {
  user(id: $id) { ...Named friends(first: $n) { ...Named } } # a comment with } and $id
  again: user(id: $id) { id }
  ...Root
}
fragment Named on User { id name(prefix: "} { $id #") }
fragment Root on Query { kind: __typename }"""
TOOLS = {
    "user": {"operation": USER},
    "strict": {"operation": "query ($id: ID!) { strict(id: $id) { name } }"},
    "search": {"operation": "query ($words: [String!]!) { search(words: $words) }"},
    "put": {"operation": "mutation ($key: ID!) { put(key: $key) }", "annotations": {}},
    "touch": {"operation": "mutation ($key: ID!) { put(key: $key) }", "annotations": {"idempotent": True}},
}


def name_of(user, info, prefix=""):
    if user["id"].startswith("bad"):
        raise ValueError(f"{user['id']} has no name")
    return prefix + user["id"]


def strictly(root, info, id):
    if id.startswith("bad"):
        raise ValueError(f"{id} is not there")
    return {"id": id}


def schema(puts):
    # positions, since graphql-core 2 and 3 name them differently: a field's type, arguments, resolver
    text = GraphQLArgument(GraphQLNonNull(GraphQLID))
    words = GraphQLArgument(GraphQLNonNull(GraphQLList(GraphQLNonNull(GraphQLString))))
    user = GraphQLObjectType("User", lambda: {
        "id": GraphQLField(GraphQLID, None, lambda user, info: user["id"]),
        "name": GraphQLField(GraphQLString, {"prefix": GraphQLArgument(GraphQLString)}, name_of),
        "friends": GraphQLField(GraphQLList(user), {"first": GraphQLArgument(GraphQLInt)},
                                lambda user, info, first: [{"id": f"f{n}"} for n in range(first)])})
    query = GraphQLObjectType("Query", {
        "user": GraphQLField(user, {"id": text}, lambda root, info, id: None if id == "nobody" else {"id": id}),
        "strict": GraphQLField(GraphQLNonNull(user), {"id": text}, strictly),
        "search": GraphQLField(GraphQLList(GraphQLString), {"words": words}, lambda root, info, words: words)})
    put = GraphQLField(GraphQLString, {"key": text}, lambda root, info, key: puts.append(key) or key)
    return GraphQLSchema(query=query, mutation=GraphQLObjectType("Mutation", {"put": put}))


def carry_out(known, text, variables):
    """Its data, its errors, and whether nothing of it could be carried out; graphql-core 2 (Debian 12) and 3 (Debian 13)."""
    if not hasattr(graphql, "graphql_sync"):
        done = graphql.graphql(known, text, variables=variables)
        return done.data, [graphql.format_error(error) for error in done.errors or []], done.invalid
    try:
        errors = graphql.validate(known, graphql.parse(text))
    except graphql.GraphQLError as error:
        errors = [error]
    done = None if errors else graphql.graphql_sync(known, text, variable_values=variables)
    return done and done.data, [error.formatted for error in errors or done.errors or []], bool(errors)


class Server:
    """GraphQL over HTTP: 400 where nothing could be carried out, lists where they are switched on."""

    def __init__(self, lists):
        self.puts, self.lists = [], lists
        self.schema = schema(self.puts)

    def one(self, request):
        data, errors, invalid = carry_out(self.schema, request["query"], request.get("variables"))
        answer = {} if invalid else {"data": data}
        if errors:
            answer["errors"] = errors
        return answer, 400 if invalid else 200

    def __call__(self, delivery, wire):
        request = json.loads(delivery.body)
        typed = "application/graphql-response+json" in delivery.headers["accept"]
        if delivery.path != "/graphql" or not typed or (isinstance(request, list) and not self.lists):
            return wire.answer({"errors": [{"message": "not like this"}]}, 400)
        answers = [self.one(each) for each in (request if isinstance(request, list) else [request])]
        bodies = [body for body, _ in answers]
        return wire.answer(bodies if isinstance(request, list) else bodies[0], max(status for _, status in answers),
                           {"Content-Type": "application/graphql-response+json"})


def gateway_for(start, provider, lists=False, **settings):
    provider.behaviour = server = Server(lists)
    tools = {name: {"upstream": "graph", "annotations": {"read_only": True}, **tool} for name, tool in TOOLS.items()}
    gateway = start({"workers": 1, "tools": tools, "upstreams": {"graph": {
        "dialect": "graphql", "endpoints": [{"url": provider.url("/graphql")}], **PATIENT, "batch": {"in_flight": 1},
        **({"graphql": settings} if settings else {})}}})
    return gateway, server


def user_result(name, friends=2):
    prefix = "} { $id #"
    return {"user": {"id": name, "name": prefix + name,
                     "friends": [{"id": f"f{n}", "name": f"{prefix}f{n}"} for n in range(friends)]},
            "again": {"id": name}, "kind": "Query"}


@pytest.mark.parametrize("merge", ["alias", "array"])
def test_each_caller_gets_its_own_operations_answer(start, provider, call_all, merge):
    gateway, _ = gateway_for(start, provider, lists=True, merge=merge)
    calls = [("search", {"words": [f'w"{n}', "$id"]}) if n % 3 == 1 else
             ("user", {"id": f"bad{n}" if n % 10 == 5 else f'u"{n}', "n": n % 4}) for n in range(CALLS)]
    replies = call_all(gateway, calls)
    for n, reply in enumerate(replies):
        if n % 3 == 1:
            assert (reply.status, reply.json()) == (200, {"search": [f'w"{n}', "$id"]}), reply
        elif n % 10 == 5:
            said = reply.json()["upstream"]["error"]
            assert (reply.status, reply.json()["code"]) == (502, "tool_error"), reply
            assert f"bad{n} has no name" in reply.json()["detail"]
            assert [error["path"] for error in said["errors"]] == [["user", "name"]]
            assert said["data"]["again"] == {"id": f"bad{n}"}
        else:
            assert (reply.status, reply.json()) == (200, user_result(f'u"{n}', n % 4)), reply
    assert len(provider.deliveries) <= 1 + CALLS // 20 + 1
    assert {reply.header("x-batch-size") for reply in replies} >= {"20"}


def test_without_a_block_operations_are_merged_and_null_is_a_value(start, provider, call_all):
    gateway, _ = gateway_for(start, provider)
    replies = call_all(gateway, [("user", {"id": "nobody" if n == 5 else f"u{n}"}) for n in range(12)])
    assert [reply.status for reply in replies] == [200] * 12
    assert replies[5].json() == {"user": None, "again": None, "kind": "Query"}
    assert replies[6].json() == user_result("u6")
    assert len(provider.deliveries) <= 2  # the first may have been alone, all others are one document


@pytest.mark.parametrize("poison", [("strict", {"id": "bad"}), ("search", {"words": [None]})])
def test_one_call_that_spoils_the_document_spoils_no_other(start, provider, call_all, poison):
    gateway, _ = gateway_for(start, provider, max=20)
    calls = [("strict", {"id": f"s{n}"}) for n in range(19)] + [poison]
    replies = call_all(gateway, calls)
    assert [reply.json() for reply in replies[:19]] == [{"strict": {"name": f"s{n}"}} for n in range(19)]
    assert (replies[19].status, replies[19].json()["code"]) == (502, "tool_error"), replies[19]
    assert "errors" in replies[19].json()["upstream"]["error"]
    assert len(provider.deliveries) <= 2 + 2 + 5  # the lone first, the batch, log2(19) + 1 and the rest


def test_a_mutation_that_is_not_repeatable_travels_alone_and_once(start, provider, call_all):
    gateway, server = gateway_for(start, provider)
    replies = call_all(gateway, [("put", {"key": f"k{n}"}) for n in range(10)])
    assert [reply.json() for reply in replies] == [{"put": f"k{n}"} for n in range(10)]
    assert sorted(server.puts) == sorted(f"k{n}" for n in range(10))
    assert len(provider.deliveries) == 10


def test_mutations_that_are_idempotent_share_a_document_but_not_with_queries(start, provider, call_all):
    gateway, server = gateway_for(start, provider)
    calls = [("touch", {"key": f"k{n}"}) if n % 2 else ("strict", {"id": f"s{n}"}) for n in range(20)]
    replies = call_all(gateway, calls)
    assert [reply.status for reply in replies] == [200] * 20
    assert sorted(server.puts) == sorted(f"k{n}" for n in range(1, 20, 2))
    kinds = [json.loads(delivery.body)["query"] for delivery in provider.deliveries]
    assert not [each for each in kinds if "put" in each and "strict" in each]
    assert len(kinds) <= 4


def test_a_variable_that_is_missing_is_refused_before_anything_is_sent(start, provider):
    gateway, _ = gateway_for(start, provider)
    reply = gateway.call("user", {"n": 3})
    assert (reply.status, provider.deliveries) == (400, [])
    assert "argument 'id' is missing" in reply.json()["detail"]


@pytest.mark.parametrize("name", ["graphql", "key_list"])
def test_the_examples_are_good_configurations(name):
    done = subprocess.run([JITNEY, "check", "-c", TOP / "examples" / f"{name}.yaml"], capture_output=True, text=True,
                          env=os.environ, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
