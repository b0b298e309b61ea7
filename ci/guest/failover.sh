# The load of fsx.sh while paths are taken away and come back. Whatever happens to one path, the file system and the
# verifier see no error; each time both paths carry I/O again.
. /vm/load.sh

VERIFIER_JOURNAL=/tmp/journal

path_disks() { for lun in 0 1; do set -- $(disks_of "$lun"); echo "$1 $2"; done; }

# The disks behind the network of number 0 or 1, by the address that their session goes to.
disks_behind() {
    for session in /sys/class/iscsi_session/session*; do
        number=${session##*session}
        address=$(cat /sys/class/iscsi_connection/connection"$number":0/persistent_address)
        [ "$address" = "10.0.$(($1 + 2)).2" ] || continue
        for disk in "$session"/device/target*/*/block/*; do basename "$disk"; done
    done
}

states_of() { multipathd show paths raw format "%d %t" 2>/dev/null; }

# How many of the four paths are active.
active() { states_of | grep -c ' active' || true; }
has_active() { [ "$(active)" -eq "$1" ]; }
has_fewer() { [ "$(active)" -lt "$1" ]; }

remember() { for disk in $(disks_behind 0) $(disks_behind 1); do completed "$disk" >"/tmp/count.$disk"; done; }
has_grown() {
    for disk in "$@"; do
        [ "$(completed "$disk")" -ge "$(($(cat "/tmp/count.$disk") + 10))" ] || return 1
    done
}

unharmed() {
    ! load_has_failed || judge_load
    case $FS in
        ext4) grep -q ' /mnt ext4 rw' /proc/mounts ;;
        xfs) touch /mnt/alive ;;
    esac || fail "the file system is read-only now"
}

# carried_by WHAT DISK…: within 30 s each of them has completed 10 more commands.
carried_by() {
    what=$1
    shift
    remember
    wait_for 30 "$what" has_grown "$@"
    unharmed
}

# All four paths, and the load on each of them.
whole_again() {
    wait_for 60 "all paths to come back" has_active 4
    carried_by "both paths to carry I/O again" $(disks_behind 0) $(disks_behind 1)
    note "both paths carry I/O again"
}

# broken PATH: it is seen to fail, and the other one carries the load.
broken() {
    wait_for 30 "path $1 to be seen as failed" has_fewer 4
    carried_by "the other path to carry I/O" $(disks_behind $((1 - $1)))
    note "the other path carries I/O"
}

step "log in on both portals, two paths by multipath"
start_initiator
login
start_multipath
for number in 0 1; do
    note "network $number: $(disks_behind "$number" | tr '\n' ' ')"
    [ "$(disks_behind "$number" | wc -l)" -eq 2 ] || fail "network $number has not two disks"
done
make_file_system

# The load runs until it is told to stop, whatever time the faults take.
SECONDS_OF_LOAD=100000
VERIFIER_OPTIONS="--journal $VERIFIER_JOURNAL"
step "the load begins"
start_load
whole_again

# Each fault of $FAULTS, by its name; $path alternates.
fault_link() {
    step "round $round: the cable of network $path is pulled"
    ask unplug "$path"
    broken "$path"
    ask plug "$path"
    whole_again
}

fault_portal() {
    path=$((1 - path))
    step "round $round: portal $path is closed"
    ask close "$path"
    broken "$path"
    ask open "$path"
    whole_again
}

fault_reset() {
    step "round $round: connections are reset, first on one path, then on the other"
    ask reset 0
    sleep 1
    whole_again
    ask reset 1
    sleep 1
    whole_again
}

fault_slow() {
    step "round $round: portal $path is slow"
    ask slow "$path"
    sleep 3
    carried_by "the quick path to carry I/O" $(disks_behind $((1 - path)))
    ask fast "$path"
    whole_again
}

fault_kill() {
    step "round $round: the target is killed and started again"
    ask kill target
    sleep 4
    unharmed
    ask start target
    whole_again
}

fault_restart() {
    step "round $round: the target is stopped and started again, as for an upgrade"
    ask stop target
    sleep 1
    unharmed
    ask start target
    whole_again
}

# After the load.
fault_power() { :; }

round=0
while [ "$round" -lt "$ROUNDS" ]; do
    round=$((round + 1))
    path=$((round % 2))
    for fault in $FAULTS; do
        "fault_$fault"
    done
done

step "the load ends: no error reached it"
stop_load
judge_load

case " $FAULTS " in
    *" power "*)
        step "the target loses its power when all is flushed"
        umount /mnt || fail "/mnt is busy"
        for lun in 0 1; do
            dd if=/dev/null of="$(map_of "$lun")" conv=fsync,notrunc 2>/dev/null || fail "LUN $lun cannot be flushed"
        done
        ask kill target
        sleep 2
        ask start target
        wait_for 60 "all paths to come back" has_active 4
        ;;
esac

step "what was flushed is there (the verifier's journal)"
/vm/bin/test-blockdevice -d "$(map_of 1)" --verify-after-crash "$VERIFIER_JOURNAL" >/tmp/journal.log 2>&1 || {
    show "journal" cat /tmp/journal.log
    fail "the verifier: $(grep -m 1 FAULT /tmp/journal.log || tail -n 1 /tmp/journal.log)"
}
note "$(tail -n 1 /tmp/journal.log)"

step "unmount and check the file system"
check_file_system
step "log out"
multipath -F || fail "a map is in use"
killall multipathd
logout
