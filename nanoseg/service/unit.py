"""The systemd unit of the service, as docker/nanoseg.service holds it.

Every directive is known to systemd 249 (JetPack 6) and 255 (JetPack 7). docs/systemd.md says why each is there.
"""

from __future__ import annotations

from collections.abc import Sequence

NAME = "nanoseg.service"
EXECUTABLE = "/opt/nanoseg/bin/nanoseg"
GROUPS = ("video", "render")  # own the cameras and the GPU
CONFIG, TOKEN = "/etc/nanoseg/nanoseg.toml", "/etc/nanoseg/token"
STATE = "/var/lib/nanoseg"  # %S/nanoseg
BUNDLES = f"{STATE}/bundles"

# Of a Jetson's GPU and decoders, as NVIDIA's runtime hands them to a container; their drivers' group names differ.
_NODES = """
nvmap nvsciipc host1x-fence v4l2-nvdec v4l2-nvenc
nvgpu/igpu0/as nvgpu/igpu0/channel nvgpu/igpu0/ctrl nvgpu/igpu0/ctxsw nvgpu/igpu0/dbg nvgpu/igpu0/nvsched
nvgpu/igpu0/nvsched_ctrl_fifo nvgpu/igpu0/power nvgpu/igpu0/prof nvgpu/igpu0/prof-ctx nvgpu/igpu0/prof-dev
nvgpu/igpu0/sched nvgpu/igpu0/tsg
nvhost-as-gpu nvhost-ctrl nvhost-ctrl-gpu nvhost-ctxsw-gpu nvhost-dbg-gpu nvhost-gpu nvhost-nvsched-gpu
nvhost-nvsched_ctrl_fifo-gpu nvhost-power-gpu nvhost-prof-ctx-gpu nvhost-prof-dev-gpu nvhost-prof-gpu nvhost-sched-gpu
nvhost-tsg-gpu nvhost-msenc nvhost-nvdec nvhost-nvdec1 nvhost-nvenc nvhost-nvjpg nvhost-nvjpg1 nvhost-ofa nvhost-vic
"""

_TEXT = """\
[Unit]
Description=nanoseg: instance segmentation of cameras
Wants=network-online.target
After=network-online.target nvargus-daemon.service
# The socket of a restarted nvargus-daemon is another one, and a CSI camera is seen through it.
PartOf=nvargus-daemon.service
StartLimitIntervalSec=1h
StartLimitBurst=30

[Service]
Type=notify
# The daemon of CSI cameras listens some time after it has started; until then its socket is none, or that of the last.
ExecStartPre=-+/bin/sh -c 'n=0; while systemctl -q is-active nvargus-daemon && [ $n -lt 20 ] && \\
  ! grep -q " /tmp/argus_socket$" /proc/net/unix; do sleep 0.5; n=$((n+1)); done'
ExecStart={executable} serve --config {config}
ExecReload=/bin/kill -HUP $MAINPID
SuccessExitStatus=143
# A first start may build engines.
TimeoutStartSec=15min
TimeoutStopSec=40s
TimeoutAbortSec=10s
WatchdogSec=30s
Restart=always
RestartSec=10s
# A configuration that is wrong, or a library that is missing, is no better the next time.
RestartPreventExitStatus=2 6

DynamicUser=yes
User=nanoseg
{groups}StateDirectory=nanoseg
StateDirectoryMode=0750
CacheDirectory=nanoseg
CacheDirectoryMode=0750
WorkingDirectory=%S/nanoseg
UMask=0077
Environment=HOME=%S/nanoseg XDG_CACHE_HOME=%C/nanoseg CUDA_CACHE_PATH=%C/nanoseg/cuda
Environment=NANOSEG_ENGINES=%S/nanoseg/engines NANOSEG_BUNDLES=%S/nanoseg/bundles
# Where the watchdog aborts, the journal has what each thread was at.
Environment=PYTHONFAULTHANDLER=1
LimitCORE=0
LoadCredential=token:{token}

NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateMounts=yes
BindReadOnlyPaths=-/tmp/argus_socket
ProtectProc=invisible
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM

PrivateDevices=no
DevicePolicy=closed
DeviceAllow=char-video4linux rw
DeviceAllow=char-media rw
DeviceAllow=char-drm rw
DeviceAllow=char-nvidia* rw
DeviceAllow=char-nvhost* rw
DeviceAllow=char-*.gpu rw
{nodes}
[Install]
WantedBy=multi-user.target
"""


def unit_text(
    executable: str = EXECUTABLE, config: str = CONFIG, token: str = TOKEN, groups: Sequence[str] = GROUPS
) -> str:
    """Return the unit.

    Args:
        executable: absolute path of the nanoseg that it starts; as the others without spaces and `%`.
        config: absolute path of the configuration.
        token: absolute path of the file with the bearer token.
        groups: those of GROUPS that this machine has; an unknown group would keep the unit from starting.
    """
    return _TEXT.format(
        executable=executable,
        config=config,
        token=token,
        groups=f"SupplementaryGroups={' '.join(groups)}\n" if groups else "",
        nodes="".join(f"DeviceAllow=/dev/{node} rw\n" for node in _NODES.split()),
    )
