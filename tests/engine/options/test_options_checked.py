"""What `run` refuses before anything is made: one clear error each, which names the option and the value."""

from __future__ import annotations

import pytest

from labrt.engine.options import Options
from labrt.errors import InvalidInput

WRONG = [
    ({"cap_add": "NET_ADMIN"}, "cap_add='NET_ADMIN' is no list"),
    # security
    ({"cap_add": ["NET_ADMN"]}, "no such capability: 'NET_ADMN'"),
    ({"cap_drop": ["everything"]}, "no such capability"),
    ({"cap_add": ["ALL"], "cap_drop": ["ALL"]}, "--cap-add ALL and --cap-drop ALL"),
    ({"privileged": True, "cap_drop": ["all"]}, "--privileged and --cap-drop ALL"),
    ({"security_opt": ["nonsense"]}, "--security-opt 'nonsense' is not known"),
    ({"security_opt": ["no-new-privileges=perhaps"]}, "perhaps"),
    ({"security_opt": ["seccomp"]}, "--security-opt 'seccomp'"),
    ({"security_opt": ["label=type:svirt_t"]}, "label=disable"),
    ({"security_opt": ["systempaths=confined"]}, "systempaths=unconfined"),
    ({"security_opt": ["writable-cgroups"], "cgroupns": "host"}, "--cgroupns host"),
    ({"group_add": ["a,b"]}, "--group-add 'a,b'"),
    # namespaces
    ({"ipc": "shared"}, "--ipc 'shared' is not known"),
    ({"ipc": "container:"}, "--ipc 'container:'"),
    ({"pid": "shareable"}, "--pid 'shareable'"),
    ({"uts": "container:x"}, "--uts 'container:x'"),
    ({"cgroupns": "none"}, "--cgroupns 'none'"),
    ({"userns": "private"}, "--userns 'private'"),
    ({"uts": "host", "hostname": "box"}, "--hostname with --uts host"),
    ({"uts": "host", "domainname": "box"}, "--domainname with --uts host"),
    ({"name": "me", "pid": "container:me"}, "is this container itself"),
    ({"ipc": "container:x", "sysctl": ["kernel.msgmax=1"]}, "--sysctl with --ipc container:x"),
    # mounts
    ({"volumes": ["/a:/x", "/b:/x/"]}, "two mounts on /x"),
    ({"volumes": ["/a:/x"], "tmpfs": ["/x"]}, "two mounts on /x"),
    ({"volumes": ["/a:/proc/self"]}, "'/proc/self' cannot be mounted on"),
    ({"volumes": ["/a:/x:ro,rw"]}, "contradict"),
    ({"volumes": ["/a:/x:rslave,shared"]}, "contradict"),
    ({"volumes": ["/a:/x:nocopy"]}, "leave out nocopy"),
    ({"volumes": ["name:/x:rslave"]}, "a volume has no propagation"),
    ({"tmpfs": ["x"]}, "'x' cannot be mounted on"),
    ({"tmpfs": ["/x:size"]}, "there is no option 'size'"),
    ({"tmpfs": ["/x:size=1m,huge=always"]}, "there is no option 'huge=always'"),
    ({"mount": ["type=bind,dst=/x"]}, "the source '' is not absolute"),
    ({"mount": ["type=bind,src=/nowhere/at/all,dst=/x"]}, "/nowhere/at/all does not exist"),
    ({"mount": ["type=nfs,dst=/x"]}, "there is no type 'nfs'"),
    ({"mount": ["type=tmpfs,src=/a,dst=/x"]}, "memory has no source"),
    ({"mount": ["type=tmpfs,dst=/x,tmpfs-mode=999"]}, "tmpfs-mode=999"),
    ({"mount": ["type=tmpfs,dst=/x,tmpfs-size=lots"]}, "'lots' is no size"),
    ({"mount": ["type=tmpfs,dst=/x,volume-nocopy"]}, "'volume-nocopy' says nothing of a tmpfs"),
    ({"mount": ["type=volume,src=../x,dst=/x"]}, "'../x' is no volume's name"),
    ({"mount": ["type=bind,src=/etc,dst=/x,bind-propagation=wide"]}, "bind-propagation=wide"),
    ({"mount": ["type=bind,src=/etc,dst=/x,readonly=perhaps"]}, "neither true nor false"),
    ({"mount": ["type=bind,src=/etc,dst"]}, "'dst' has no value"),
    ({"mount": ['"type=bind']}, "not understood"),
    ({"mount": ["src=name"]}, "'' cannot be mounted on"),
    ({"volumes_from": [":ro"]}, "--volumes-from ':ro'"),
    ({"volumes_from": ["x:wide"]}, "--volumes-from 'x:wide'"),
    ({"shm_size": "0"}, "--shm-size 0"),
    ({"shm_size": "1m", "ipc": "host"}, "--shm-size with --ipc host"),
    # devices
    ({"device": ["dev/null"]}, "--device 'dev/null'"),
    ({"device": ["/dev/null:/a:rwx"]}, "'rwx' is no access"),
    ({"device": ["/dev/null:/a/../b"]}, "not understood"),
    ({"device": ["/a:/b:r:w"]}, "not understood"),
    ({"device_cgroup_rule": ["c 1:3"]}, "--device-cgroup-rule 'c 1:3'"),
    ({"device_cgroup_rule": ["d 1:3 r"]}, "--device-cgroup-rule"),
    # resources
    ({"memory": "64m", "memory_reservation": "65m"}, "--memory-reservation 65m: --memory is 64m"),
    ({"memory_swappiness": 101}, "--memory-swappiness 101"),
    ({"oom_score_adj": 1001}, "--oom-score-adj 1001"),
    ({"cpus": 0.5, "cpu_quota": 50_000}, "--cpus with --cpu-period or --cpu-quota"),
    ({"cpu_period": 999}, "--cpu-period 999"),
    ({"cpu_quota": 999}, "--cpu-quota 999"),
    ({"cpu_shares": 1}, "--cpu-shares 1"),
    ({"cpuset_cpus": "0,9999"}, "--cpuset-cpus 0,9999: there is no 9999"),
    ({"cpuset_cpus": "all"}, "'all' is no list"),
    ({"cpuset_mems": "99"}, "--cpuset-mems 99"),
    ({"blkio_weight": 5}, "--blkio-weight 5"),
    ({"blkio_weight_device": ["/dev/sda:5"]}, "/dev/sda:5: out of range"),
    ({"device_read_bps": ["sda:1m"]}, "--device-read-bps 'sda:1m'"),
    ({"device_write_iops": ["/dev/sda:0"]}, "nothing is no limit"),
    ({"device_write_iops": ["/dev/sda:1m"]}, "'1m' is no number"),
    ({"cgroup_parent": "/a/../b"}, "--cgroup-parent '/a/../b'"),
    ({"cgroup_parent": "/"}, "--cgroup-parent '/'"),
    ({"ulimit": ["files=1"]}, "no limit is called 'files'"),
    ({"ulimit": ["nofile=2:1"]}, "soft is above hard"),
    ({"ulimit": ["nofile=-1:1"]}, "soft is above hard"),
    ({"ulimit": ["nofile=few"]}, "'few' is no number"),
    ({"sysctl": ["net.ipv4.ip_forward"]}, "--sysctl 'net.ipv4.ip_forward'"),
    ({"sysctl": ["net/../kernel/x=1"]}, "not understood"),
    # /etc
    ({"add_host": ["box"]}, "--add-host 'box'"),
    ({"add_host": ["box:nowhere"]}, "'nowhere' is no IP address"),
    ({"add_host": ["box:host-gateway"], "network": "none"}, "no way to it"),
    ({"add_host": ["a b:1.2.3.4"]}, "not understood"),
    ({"dns": ["one.one"]}, "--dns 'one.one' is no IP address"),
    ({"dns_search": ["a b"]}, "--dns-search 'a b'"),
    ({"dns_option": ["x\nnameserver 1.2.3.4"]}, "--dns-option"),
    ({"domainname": "x" * 65}, "too long"),
    # records
    ({"restart": "sometimes"}, "--restart 'sometimes'"),
    ({"restart": "always:3"}, "--restart 'always:3'"),
    ({"restart": "on-failure:few"}, "on-failure:few"),
    ({"restart": "always", "remove": True}, "--restart always and --rm"),
    ({"log_driver": "syslog"}, "--log-driver 'syslog'"),
    ({"log_opt": ["max-age=1d"]}, "'max-age' is not known"),
    ({"log_opt": ["max-file=0", "max-size=1m"]}, "max-file=0"),
    ({"log_opt": ["max-file=3"]}, "max-file without max-size"),
    ({"log_opt": ["max-size=much"]}, "'much' is no size"),
    ({"stop_signal": "STOPPED"}, "no signal is called 'STOPPED'"),
    ({"stop_timeout": -2}, "--stop-timeout -2"),
    ({"health_interval": "soon"}, "--health-interval 'soon' is no duration"),
    ({"health_timeout": "1us"}, "--health-timeout 1us: too short"),
    ({"health_retries": -1}, "--health-retries -1"),
    ({"no_healthcheck": True, "health_cmd": "true"}, "--no-healthcheck and --health-"),
    ({"expose": ["http"]}, "--expose 'http'"),
    ({"expose": ["90-80"]}, "--expose '90-80'"),
    ({"expose": ["80/quic"]}, "80/quic"),
    ({"annotation": ["org.labrt.join.pid=x"]}, "org.labrt. is labrt's own"),
    ({"annotation": ["=x"]}, "no key"),
    ({"runtime": "runsc"}, "--runtime 'runsc'"),
    # init
    ({"init": True, "pid": "host"}, "--init with --pid host"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "words"), WRONG, ids=[str(given) for given, _ in WRONG])
def test_refused_by_name(given, words):
    with pytest.raises(InvalidInput) as caught:
        Options("busybox", **given)
    assert words in str(caught.value)
    assert caught.value.remedy, "what shall one do?"


def test_nothing_given_needs_no_module():
    """`labrt run IMAGE` is not to wait for the import of what nobody asked for."""
    assert not list(Options("busybox").subjects())
    assert [subject.__name__.rpartition(".")[2] for subject in Options("busybox", memory="64m").subjects()] == [
        "resources"
    ]


def test_every_option_belongs_to_a_subject_or_to_all():
    from labrt.engine.options.model import FIELDS, SUBJECTS

    common = {
        "image", "command", "name", "env", "workdir", "user", "hostname", "read_only", "entrypoint", "network",
        "platform", "pull", "interactive", "tty", "remove", "console_size",
    }  # fmt: skip
    known = {field for fields in SUBJECTS.values() for field in fields}
    assert set(FIELDS) == common | known


def test_a_value():
    one = Options("busybox", ("sh",), memory="64m", tty=False)
    assert repr(one) == "Options(memory='64m', image='busybox', command=('sh',))"
    assert (one.memory, one.cpus, one.command) == ("64m", None, ("sh",))
    other = one.replace(cpus=0.5)
    assert (other.memory, other.cpus, one.cpus) == ("64m", 0.5, None)
    with pytest.raises(AttributeError, match="options do not change"):
        one.memory = "65m"
    with pytest.raises(InvalidInput, match="there is no option cap_ad .did you mean cap_add?"):
        Options("busybox", cap_ad=["CHOWN"])
