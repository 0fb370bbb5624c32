"""Where a model is written to: what stands there, who may read it, and what a killed writer leaves.

Nodes are made in temporary folders; nothing of the system's is touched.
"""

import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from rae_fast import RAE, persistence

X = np.random.default_rng(0).standard_normal((6, 4, 3))


@pytest.fixture(scope="module")
def model():
    return RAE(3, max_iter=2, random_state=0).fit(X)


def make(kind, path):
    """A node of our own that is no regular file."""
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        os.chdir(path.parent)  # names of sockets are short
        with socket.socket(socket.AF_UNIX) as node:
            node.bind(path.name)
    else:
        try:
            os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("only root makes devices")


@pytest.mark.parametrize("by_link", [False, True])
@pytest.mark.parametrize("kind", ["FIFO", "folder", "socket", "device"])
def test_only_regular_files_are_replaced_or_read(kind, by_link, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    node = path = tmp_path / "node"
    make(kind, node)
    if by_link:
        path = tmp_path / "link"
        path.symlink_to(node)
    before = os.lstat(node)
    for call in (model.save, RAE.load, lambda path: RAE(3, max_iter=1, checkpoint=path).fit(X)):
        with pytest.raises(ValueError, match=rf"{path.name}.* (is a {kind}, not a regular file|must name a file)"):
            call(path)
    after = os.lstat(node)
    assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (before.st_ino, before.st_mode, before.st_mtime_ns)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted({"node", path.name})


def test_what_takes_a_file_s_place_meanwhile_is_seen(model, tmp_path, monkeypatch):
    """Between the look at a path and its opening."""
    path = tmp_path / "model"
    model.save(path)
    real = os.stat(path)
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(persistence.os, "stat", lambda *_, **__: real)
    with pytest.raises(ValueError, match="a FIFO, not a regular file"):
        RAE.load(path)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o400])
def test_a_file_keeps_its_permissions_and_owner(mode, model, tmp_path):
    path = tmp_path / "model"
    model.save(path)
    path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(path, 12345, 23456)
    before = path.stat()
    model.save(path)
    RAE(3, max_iter=1, random_state=0, checkpoint=path).fit(X)
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


def test_another_group_may_read_no_more_than_everybody(model, tmp_path, monkeypatch):
    """Where the group cannot be kept, as for a member of none of the file's."""
    path = tmp_path / "model"
    model.save(path)
    path.chmod(0o664)

    def not_allowed(*_):
        raise PermissionError(errno.EPERM, "not allowed")

    monkeypatch.setattr(os, "fchown", not_allowed)
    model.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    path.chmod(0o660)
    model.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_system_without_permissions_is_no_error(model, tmp_path, monkeypatch):
    def not_here(*_):
        raise PermissionError(errno.EPERM, "not on this file system")

    model.save(tmp_path / "model")
    monkeypatch.setattr(os, "fchown", not_here)
    monkeypatch.setattr(os, "fchmod", not_here)
    model.save(tmp_path / "model")
    assert RAE.load(tmp_path / "model").n_iter_ == 2
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o600


def test_a_private_file_is_never_open_to_others(model, tmp_path, monkeypatch):
    path = tmp_path / "model"
    model.save(path)
    path.chmod(0o600)
    modes, sync = [], os.fsync

    def look(descriptor):
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    model.save(path)
    assert modes[0] == 0o600


def test_new_files_follow_the_umask(model, tmp_path):
    before = os.umask(0o027)
    try:
        model.save(tmp_path / "model")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o640


def test_other_names_of_a_file_keep_the_old_content(model, tmp_path):
    """A file is replaced whole, which is what a hard link cannot follow; a symbolic one can."""
    model.save(tmp_path / "model")
    os.link(tmp_path / "model", tmp_path / "hard")
    (tmp_path / "soft").symlink_to("model")
    before = (tmp_path / "hard").read_bytes()
    RAE(3, max_iter=3, random_state=0).fit(X).save(tmp_path / "soft")
    assert (tmp_path / "hard").read_bytes() == before != (tmp_path / "model").read_bytes()
    assert (tmp_path / "soft").is_symlink()


@pytest.mark.parametrize("what", ["open", "sync"])
def test_a_folder_that_cannot_be_synced_is_no_error(what, model, tmp_path, monkeypatch):
    """Network and user file systems; folders that one may write to but not read."""
    open_, sync = os.open, os.fsync

    def fail_to_open(path, flags, *args, **kwargs):
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "not for reading", str(path))
        return open_(path, flags, *args, **kwargs)

    def fail_to_sync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not on this file system")
        sync(descriptor)

    if what == "open":
        monkeypatch.setattr(os, "open", fail_to_open)
    else:
        monkeypatch.setattr(os, "fsync", fail_to_sync)
    model.save(tmp_path / "model")
    fit = RAE(3, max_iter=2, random_state=0, checkpoint=tmp_path / "fit").fit(X)
    monkeypatch.undo()
    for name in ("model", "fit"):
        np.testing.assert_array_equal(RAE.load(tmp_path / name).theta_, fit.theta_)


@pytest.mark.parametrize("code, refused", [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True),
                                           (errno.ENOSPC, True)])
def test_a_file_system_without_sync_is_no_error_and_a_failing_one_is(code, refused, model, tmp_path, monkeypatch):
    path = tmp_path / "model"

    def fail(_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    if refused:
        with pytest.raises(OSError, match="model'$") as caught:
            model.save(path)
        assert caught.value.errno == code and list(tmp_path.iterdir()) == []
    else:
        model.save(path)
        assert RAE.load(path).n_iter_ == 2


@pytest.mark.parametrize("name", ["a" * 255, "ü" * 127, "字" * 85])
def test_a_name_as_long_as_a_file_system_takes(name, model, tmp_path):
    model.save(tmp_path / name)
    assert RAE.load(tmp_path / name).n_iter_ == 2
    assert [p.name for p in tmp_path.iterdir()] == [name]
    with pytest.raises(OSError) as caught:
        model.save(tmp_path / (name + "aaa"))
    assert caught.value.filename == str(tmp_path / (name + "aaa"))


@pytest.mark.parametrize("call", ["save", "load"])
def test_errors_name_the_path_that_was_given(call, model, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        getattr(model, call)(tmp_path / "none" / "model")
    assert caught.value.filename == str(tmp_path / "none" / "model")


def test_what_killed_writers_left_is_swept(model, tmp_path):
    """A process that dies in the midst of a save, of one target; others' files are left alone."""
    code = f"""
        import os, signal
        import numpy as np
        from rae_fast import RAE
        model = RAE(3, max_iter=1, random_state=0).fit(np.zeros((2, 3, 3)))
        def die(*_):
            os.kill(os.getpid(), signal.SIGKILL)
        os.replace = die
        model.save({str(tmp_path / "model")!r})
    """
    for _ in range(3):
        died = subprocess.run([sys.executable, "-c", textwrap.dedent(code)])
        assert died.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1  # each sweeps what the one before left
    theirs = [tmp_path / ".other.part", tmp_path / "mine.part", tmp_path / ".model.part"]
    for path in theirs:
        path.touch()
    model.save(tmp_path / "another")
    assert len(list(tmp_path.iterdir())) == 5
    model.save(tmp_path / "model")
    assert sorted(tmp_path.iterdir()) == sorted([*theirs, tmp_path / "another", tmp_path / "model"])


def test_a_file_that_is_being_written_is_not_swept(model, tmp_path, monkeypatch):
    """Two writers of one target at the same time: both end well, and one of the files is there, whole."""
    replace, inner = os.replace, []

    def meanwhile(source, target):
        if not inner:
            inner.append(source)
            model.save(tmp_path / "model")  # another writer, which sweeps
            assert os.path.exists(source)
        replace(source, target)

    monkeypatch.setattr(os, "replace", meanwhile)
    model.save(tmp_path / "model")
    assert RAE.load(tmp_path / "model").n_iter_ == 2 and [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_relative_checkpoint_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    RAE(3, max_iter=3, report_every=1, checkpoint="fit", checkpoint_seconds=0, random_state=0,
        callbacks=lambda _: os.chdir(tmp_path / "elsewhere")).fit(X)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["elsewhere", "fit"]
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert RAE.load(tmp_path / "fit").n_iter_ == 3
