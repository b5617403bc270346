"""Who is gone, as a process sees it that is left."""

import signal
import socket
import subprocess
import sys
import types

import jax
import pytest
from program import ROOT

from vlm_games import host_watch, hosts
from vlm_games.host_watch import EXIT_LOST, LOST, NOTICE, SIGN, STOPPED, Watch

BEATS = 45.0


class Left(Exception):
    """In place of the end of the process: (status, who is gone)."""


class Store(dict):
    """What processes told; this one is host 1 of three."""

    silent, patience = False, BEATS

    def blocking_key_value_get(self, key, milliseconds):
        assert milliseconds == 1000 * self.patience
        if self.silent:
            raise jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED")

    def key_value_set(self, key, text, allow_overwrite):
        self[key] = text

    def key_value_dir_get(self, folder):
        return [(k, v) for k, v in self.items() if k.startswith(folder + "/")]

    def tell(self, word: str, host: int, text: str = "") -> None:
        self[f"{hosts.ROOM}/{word}/{host}"] = text


@pytest.fixture
def store(monkeypatch):
    found = Store()
    state = types.SimpleNamespace(
        client=found,
        process_id=1,
        num_processes=3,
        coordinator_address="127.0.0.1:1",
    )
    monkeypatch.setattr(hosts.distributed, "global_state", state)
    monkeypatch.setattr(hosts, "index", lambda: 1)
    monkeypatch.setattr(hosts, "count", lambda: 3)

    def leave(status, lost=()):
        host_watch._ending.release()
        raise Left(status, list(lost))

    monkeypatch.setattr(host_watch, "leave", leave)
    return found


@pytest.fixture
def watch(store):
    return Watch(lambda: store.tell("heard", 1), lambda: "it is kept", BEATS)


def ends(look, *arguments) -> tuple:
    with pytest.raises(Left) as end:
        look(*arguments)
    return end.value.args


def test_a_host_that_gives_no_new_sign_is_gone(store, watch, capsys):
    for number in range(44):
        store.tell(SIGN, 0, str(number))
        store.tell(SIGN, 2, str(number))
        watch._look(1.0)
    assert store[f"{hosts.ROOM}/{SIGN}/1"]
    for number in range(44):
        store.tell(SIGN, 0, f"more {number}")
        watch._look(1.0)
    store.tell(SIGN, 0, "last")
    assert ends(watch._look, 1.0) == (EXIT_LOST, [2])
    told = capsys.readouterr().err
    assert "host 1 stops, since host 2 of 3 is gone" in told
    assert "no sign of life for 45 s" in told
    assert told.endswith("it is kept\n")
    assert store[f"{hosts.ROOM}/{LOST}/1"].startswith("2:")


def test_others_believe_who_missed_it_first(store, watch):
    store.tell(LOST, 0, "2:no sign of life for 45 s")
    assert ends(watch._look, 1.0) == (EXIT_LOST, [2])


def test_who_stopped_on_an_error_is_followed(store, watch, capsys):
    store.tell(STOPPED, 2)
    assert ends(watch._look, 1.0) == (1, [])
    assert "since host 2 did" in capsys.readouterr().err


def test_notice_is_heard_once(store, watch):
    store.tell(NOTICE, 0)
    watch._look(1.0)
    del store[f"{hosts.ROOM}/heard/1"]
    watch._look(1.0)
    assert f"{hosts.ROOM}/heard/1" not in store


def test_where_a_collective_failed_few_seconds_of_silence_are_enough(
    store, watch
):
    watch.suspect()  # does not wait: the thread was not started
    store.patience = host_watch.SUSPECT
    for number in range(4):
        store.tell(SIGN, 0, str(number))
        watch._look(1.0)
    store.tell(SIGN, 0, "last")
    assert ends(watch._look, 1.0) == (EXIT_LOST, [2])


def test_a_store_that_does_not_answer_is_host_0_gone(
    store, watch, monkeypatch, capsys
):
    store.silent = True
    monkeypatch.setattr(host_watch, "LISTEN", 0.01)
    assert ends(watch.run) == (EXIT_LOST, [0])
    assert "host 0 of 3 is gone (it does not answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (jax.errors.JaxRuntimeError("UNAVAILABLE\nmore"), EXIT_LOST),
        (TimeoutError("UNAVAILABLE\nmore"), EXIT_LOST),
        (OSError("full"), 1),
    ],
    ids=("JAX's", "Orbax's", "one's own"),
)
def test_where_hosts_meet_an_error_may_be_anothers(
    store, watch, capsys, error, status
):
    watch.suspect = lambda: watch.give_up([0], "it is gone")
    assert ends(host_watch._stop, error, watch)[0] == status
    asked = "looks for who is gone: UNAVAILABLE\n" in capsys.readouterr().err
    assert asked == (status == EXIT_LOST)


@pytest.mark.parametrize("listening", [True, False])
def test_an_abort_is_host_0s_only_if_its_port_is_closed(store, listening):
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = f"127.0.0.1:{server.getsockname()[1]}"
        hosts.distributed.global_state.coordinator_address = where
        if not listening:
            server.close()
        assert host_watch._reached() == listening


ABORTS = """
import os, types
from vlm_games import host_watch, hosts
hosts.index, hosts.count = lambda: 1, lambda: 3
hosts.distributed.global_state.coordinator_address = "127.0.0.1:1"
host_watch.leave = lambda status, lost: os._exit(status)
host_watch.Watch.start = lambda watch: None
host_watch._stop = lambda error, watch: os.abort()
for where in ("within", "while an error is looked into", "outside"):
    child = os.fork()
    if not child:
        with host_watch.together(None, str):
            if where == "within":
                os.abort()
            if where != "outside":
                raise ValueError
        os.abort()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_an_abort_by_jax_ends_with_our_words_and_code():
    done = subprocess.run(
        [sys.executable, "-c", ABORTS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    codes = [EXIT_LOST, EXIT_LOST, -signal.SIGABRT]
    assert done.stdout.split() == list(map(str, codes))
    assert done.stderr.count("host 0 of 3 is gone (its port is closed)") == 2
