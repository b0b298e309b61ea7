# What the scripts of all runs share. `fail` ends the guest: the host learns why, and that it was no pass.

say() { echo "vm: $*" >&3; }
step() { say "step $*"; }
note() { say "note $*"; }

# Asks the host for something and waits until it is done.
ask() {
    say "ask $*"
    read -r answer <&3
    [ "$answer" = done ] || fail "the host did not do: $* ($answer)"
}

# The same for what is asked for often: the host does not tell of it.
poll() {
    say "poll $*"
    read -r answer <&3
    [ "$answer" = done ] || fail "$answer"
}

# Shows a file or a command's output on the console, where the host keeps it.
show() {
    echo "--- $1"
    shift
    "$@" 2>&1 | tail -n 60
    echo "---"
}

fail() {
    say "fail $*"
    show "multipath -ll" multipath -ll
    show "sessions" iscsiadm -m session -P 1
    sync_console
    # pvpanic tells QEMU, which ends with exit status 1.
    echo c >/proc/sysrq-trigger
    sleep 60
}

finish() {
    say "verdict passed"
    sync_console
    poweroff -f
    sleep 60
}

# Bytes that a serial line has not sent yet would be lost.
sync_console() { sleep 0.5; }

seconds() { cut -d. -f1 /proc/uptime; }

# wait_for SECONDS WHAT COMMAND…: until the command succeeds.
wait_for() {
    limit=$(($(seconds) + $1))
    what=$2
    shift 2
    until "$@"; do
        [ "$(seconds)" -lt "$limit" ] || fail "waited too long for $what"
        sleep 0.3
    done
}

start_udev() {
    # Names, and links below /dev/disk, as on a Debian: nothing here is told what the disks are called.
    /usr/lib/systemd/systemd-udevd --daemon
    udevadm trigger --action=add
    udevadm settle
}

start_network() {
    ip link set lo up
    for number in 0 1; do
        ip link set "eth$number" up
        ip addr add "10.0.$((number + 2)).15/24" dev "eth$number"
    done
}

start_initiator() {
    mkdir -p /etc/iscsi/nodes /etc/iscsi/send_targets /etc/iscsi/ifaces
    echo "InitiatorName=$INITIATOR" >/etc/iscsi/initiatorname.iscsi
    iscsid
}

login() {
    for portal in $PORTALS; do
        iscsiadm -m node -o new -T "$TARGET" -p "$portal" >/dev/null || fail "no record for $portal"
    done
    for portal in $PORTALS; do
        iscsiadm -m node -T "$TARGET" -p "$portal" --login || fail "no login at $portal"
    done
}

logout() {
    iscsiadm -m node -T "$TARGET" --logout || fail "no logout"
}

# The disks of a LUN, one a path: sda sdc
disks_of() {
    for disk in /sys/class/scsi_disk/*:"$1"/device/block/*; do
        [ ! -e "$disk" ] || basename "$disk"
    done
}

has_disks() { [ "$(disks_of "$1" | wc -l)" -eq "$2" ]; }

# What a LUN says of itself, in multipath's spelling: 3 and the NAA identifier.
wwid_of() {
    for disk in $(disks_of "$1"); do
        sed 's/^naa\./3/' "/sys/block/$disk/device/wwid"
        return
    done
}

active_paths() { multipathd show paths raw format "%w %t" 2>/dev/null | grep -c "^$1 *active" || true; }
has_paths() { [ "$(active_paths "$1")" -eq "$2" ]; }

start_multipath() {
    mkdir -p /etc/multipath
    multipathd
    for lun in $LUNS; do
        wait_for 20 "two disks for LUN $lun" has_disks "$lun" 2
    done
    for lun in $LUNS; do
        wwid=$(wwid_of "$lun")
        wait_for 30 "two paths to LUN $lun" has_paths "$wwid" 2
        wait_for 10 "the map of LUN $lun" test -b "/dev/mapper/$wwid"
    done
}

map_of() { echo "/dev/mapper/$(wwid_of "$1")"; }

# Reads and writes that a disk has completed, and discards.
completed() { awk '{ print $1 + $5 + $12 }' "/sys/block/$1/stat"; }
discards() { awk '{ print $12 }' "/sys/block/$1/stat"; }
# A disk's own count of flushes leaves out what multipath sends it; the map's does not.
flushes() { awk '{ print $16 }' "/sys/block/$(basename "$(readlink -f "$(map_of "$1")")")/stat"; }
