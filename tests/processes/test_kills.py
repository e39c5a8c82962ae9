"""Worker processes that are killed, stopped, or left without a queue: nothing is lost, nothing done is done again."""

from __future__ import annotations

import os
import signal
from collections import Counter
from functools import partial

import psutil
import pytest

from executions.queue import LISTEN_SECONDS
from tests.plugins.stack import signal_all, tree, wait_until
from tests.stack_driver import Installation, Started, download, is_running
from tests.stubs.watched_stub import WatchedStub
from tests.stubs.web_stub import Page

pytestmark = [pytest.mark.slow, pytest.mark.processes]
NAMES = ("a", "b", "c")
#: Of both worker processes of ``fragile`` together.
THREADS = 16


def counting_workflow(installation: Installation, web: WatchedStub) -> str:
    """Three tasks in a row, each of which asks for a page that nobody else asks for."""
    return installation.workflow(*(download(name, web.url("/counted/{{execution.id}}/") + name) for name in NAMES))


def path_of(execution: str, task: str) -> str:
    return f"/counted/{execution}/{task}"


def has_asked(web: WatchedStub, times: int, path: str = "") -> bool:
    """Whether there were so many requests, of all paths or of one."""
    return (web.count(path) if path else len(web.requests)) >= times


def assert_each_ran_once(web: WatchedStub, executions: list[Started]) -> None:
    assert web.counts() == Counter(path_of(one.id, name) for one in executions for name in NAMES)


def test_kill_9_of_every_worker_while_50_executions_run(fragile: Installation, web: WatchedStub) -> None:
    web.delay = 0.25
    workflow = counting_workflow(fragile, web)
    executions = [fragile.start(workflow) for _ in range(50)]
    wait_until(lambda: len(web.requests) >= 70, timeout=30, what="the work is in full swing")
    fragile.stack.kill_workers()
    before, asked = fragile.tasks(executions), web.counts()
    done = {key for key, (status, _, _) in before.items() if status == "COMPLETED"}
    torn = {key for key, (status, _, _) in before.items() if status == "RUNNING"}
    assert len(done) >= 20
    assert len(torn) >= 5
    assert len(done) + len(torn) < 150
    fragile.expire_leases()
    fragile.stack.restart()
    fragile.all_end(executions)
    assert fragile.statuses(executions) == {"COMPLETED"}
    after, counts = fragile.tasks(executions), web.counts()
    assert len(after) == 150
    for one in executions:
        for name in NAMES:
            key, count = (one.id, name), counts[path_of(one.id, name)]
            expected = ("COMPLETED", 2, 1) if key in torn else ("COMPLETED", 1, 0)
            assert after[key] == expected, key
            assert count in ({1, 2} if key in torn else {1}), key
            if key in done:
                assert count == asked[path_of(*key)], f"{key} was done and was asked for again"
    assert sum(counts.values()) <= 150 + len(torn)


def test_kill_9_of_one_worker_process_after_the_other(fragile: Installation, web: WatchedStub) -> None:
    web.delay = 0.3
    workflow = counting_workflow(fragile, web)
    executions = [fragile.start(workflow) for _ in range(40)]
    for number, place in enumerate((1, 0, 1, 0), start=1):
        wait_until(partial(has_asked, web, 15 * number), timeout=30, what="work goes on")
        fragile.kill_one_worker(place)
    fragile.all_end(executions)
    assert fragile.statuses(executions) == {"COMPLETED"}
    counts = web.counts()
    for (execution, name), (status, attempt, lost) in fragile.tasks(executions).items():
        assert status == "COMPLETED"
        assert lost == attempt - 1
        assert 1 <= counts[path_of(execution, name)] <= attempt


@pytest.mark.parametrize("place", [0, 1])
def test_an_idle_process_that_hangs_holds_up_nothing(fragile: Installation, place: int) -> None:
    """Those after it leave it a head start, and no more: they do not wait for their next look without a bell."""
    wait_until(lambda: len(fragile.worker_pids) == 2, timeout=15, what="both processes are there")
    workflow = fragile.workflow({"name": "a", "type": "text.static", "inputs": {"text": "x"}})
    hanging = fragile.worker_pids[place : place + 1]
    fragile.pause(hanging)
    try:
        for _ in range(3):
            assert fragile.end_of(fragile.start(workflow), timeout=LISTEN_SECONDS * 0.8)["status"] == "COMPLETED"
    finally:
        signal_all(hanging, signal.SIGCONT)


def test_kill_9_of_the_parent_leaves_no_orphans(fragile: Installation) -> None:
    # Another test may have killed the workers before: they are ready when both processes are there.
    wait_until(lambda: len(fragile.stack.pids("worker")) == 3, timeout=15, what="the worker processes are there")
    parent, *children = (psutil.Process(pid) for pid in fragile.stack.pids("worker"))
    parent.kill()
    fragile.stack.processes["worker"].wait()
    wait_until(
        lambda: not any(is_running(child) for child in children), timeout=15, what="the worker processes are gone"
    )


def test_sigterm_lets_tasks_finish_or_gives_them_back(fragile: Installation, web: WatchedStub) -> None:
    web.delay = 4
    pages = [web.url("/held/page"), web.url("/counted/b"), web.url("/counted/c")]
    quick = fragile.run(*(download(name, url) for name, url in zip(NAMES, pages, strict=True)))
    stuck = fragile.run(download("page", web.script("/stuck", [Page(delay=30), Page(body=b"<p>here</p>")])))
    harmful = {"name": "send", "type": "http.request", "inputs": {"url": web.url("/watched/post"), "method": "POST"}}
    sending = fragile.run(harmful)
    wait_until(lambda: len(web.requests) == 3, timeout=15, what="all three run")
    parent = fragile.stack.processes["worker"]
    processes = tree(parent.pid)
    parent.terminate()
    web.release()
    assert parent.wait(25) == 0
    assert not any(is_running(process) for process in processes)
    now = fragile.tasks([quick, stuck, sending])
    assert now[quick.id, "a"] == ("COMPLETED", 1, 0)
    assert now.get((quick.id, "b"), ("COMPLETED", 1, 0)) == ("COMPLETED", 1, 0)  # the signal may take a moment
    assert (quick.id, "c") not in now
    assert now[stuck.id, "page"] == ("PENDING", 1, 0)
    assert now[sending.id, "send"] == ("FAILED", 1, 0)
    assert fragile.state(sending)["error"]["code"] == "worker_lost"
    pids = ", ".join(str(process.pid) for process in processes)
    assert fragile.sql(f"SELECT count(*) FROM executions_worker WHERE pid IN ({pids})") == [(0,)]
    fragile.stack.restart()
    assert fragile.end_of(quick)["status"] == fragile.end_of(stuck)["status"] == "COMPLETED"
    once = ("/held/page", "/counted/b", "/counted/c", "/watched/post")
    assert web.counts() == {"/stuck": 2} | dict.fromkeys(once, 1)
    assert fragile.tasks([stuck])[stuck.id, "page"] == ("COMPLETED", 2, 0)


def test_a_task_that_kills_its_worker_three_times_fails_and_its_neighbours_go_on(
    fragile: Installation, web: WatchedStub
) -> None:
    poison = fragile.run(download("page", web.url("/watched/poison")))
    for number in (1, 2, 3):
        wait_until(partial(has_asked, web, number, "/watched/poison"), timeout=20, what="it runs")
        owner = f"SELECT w.pid FROM executions_worker w JOIN executions_taskrun t ON t.worker = w.id WHERE t.execution_id = '{poison.id}'"
        ((pid,),) = fragile.sql(owner)
        neighbour = fragile.run(download("page", web.url(f"/counted/{number}")))
        assert fragile.end_of(neighbour)["status"] == "COMPLETED"
        fragile.kill_one_worker(fragile.worker_pids.index(pid))
    ended = fragile.end_of(poison)
    assert (ended["status"], ended["error"]["code"], ended["error"]["task"]) == ("FAILED", "worker_lost", "page")
    assert [attempt["number"] for attempt in ended["tasks"][0]["attempts"]] == [1, 2, 3]
    assert web.count("/watched/poison") == 3


@pytest.mark.parametrize("again", [False, True], ids=["every bell lost", "every job again and again"])
def test_bells_may_be_lost_and_jobs_come_twice(fragile: Installation, web: WatchedStub, *, again: bool) -> None:
    """The bell rings while nobody is there; and what is in work is made due once more, over and over."""
    workflow = counting_workflow(fragile, web)
    fragile.stack.kill_workers()
    executions = [fragile.start(workflow) for _ in range(20)]
    assert fragile.sql("SELECT count(*) FROM django_q_ormq") == [(0,)]  # the rows of the executions are the jobs
    fragile.stack.restart()
    while again and fragile.alive(executions):
        fragile.expire_waits()
    fragile.all_end(executions)
    assert fragile.statuses(executions) == {"COMPLETED"}
    assert_each_ran_once(web, executions)
    assert set(fragile.tasks(executions).values()) == {("COMPLETED", 1, 0)}


def test_waiting_for_a_retry_holds_no_thread(fragile: Installation, web: WatchedStub) -> None:
    """More executions wait than there are threads."""
    again = {"retry": {"attempts": 1, "delay": 3600}}
    workflow = fragile.workflow(download("page", web.url("/status?code=503"), **again))
    waiting = [fragile.start(workflow) for _ in range(THREADS + 4)]
    wait_until(lambda: len(web.requests) == len(waiting), timeout=30, what="all have failed once")
    assert fragile.end_of(fragile.run(download("page", web.url("/counted/x"))), timeout=5)["status"] == "COMPLETED"
    wait_until(
        lambda: set(fragile.tasks(waiting).values()) == {("WAITING", 1, 0)}, timeout=10, what="all wait for their retry"
    )
    state = fragile.state(waiting[0])
    assert (state["status"], state["waiting_for"]["for"]) == ("RUNNING", "retry")


def test_ctrl_c_to_the_whole_group_ends_it_cleanly(fragile: Installation, web: WatchedStub) -> None:
    """What the running tasks give is committed before their worker goes."""
    workflow = fragile.workflow(download("page", web.url("/held/page")))
    executions = [fragile.start(workflow) for _ in range(THREADS - 2)]
    wait_until(lambda: web.now == len(executions), timeout=20, what="all run")
    processes = tree(fragile.stack.processes["worker"].pid)
    for process in processes:
        os.kill(process.pid, signal.SIGINT)
    web.release()
    assert fragile.stack.processes["worker"].wait(15) == 0
    assert not any(is_running(process) for process in processes)
    assert fragile.statuses(executions) == {"COMPLETED"}
    assert set(fragile.tasks(executions).values()) == {("COMPLETED", 1, 0)}


def test_cut_database_connections_lose_nothing(fragile: Installation, web: WatchedStub) -> None:
    if not fragile.stack.environment["DATABASE_URL"]:
        pytest.skip("SQLite has no server that could cut its connections")
    web.delay = 0.2
    workflow = counting_workflow(fragile, web)
    executions = [fragile.start(workflow) for _ in range(20)]
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    for number in range(1, 6):
        wait_until(partial(has_asked, web, 8 * number), timeout=30, what="work goes on")
        fragile.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
    fragile.all_end(executions)
    assert fragile.statuses(executions) == {"COMPLETED"}
    counts = web.counts()
    for (execution, name), (status, attempt, lost) in fragile.tasks(executions).items():
        assert (status, lost) == ("COMPLETED", attempt - 1)
        assert 1 <= counts[path_of(execution, name)] <= attempt
    assert len(fragile.worker_pids) == 2
    wait_until(
        lambda: fragile.stack.request("GET", "/readyz").status_code == 200, timeout=10, what="the web server is ready"
    )
